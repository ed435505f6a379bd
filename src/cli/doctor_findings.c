#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/doctor.h"

static const char *const severities[] = {"ok", "note", "problem"};

json_t *dhole__doctor_string(const char *text)
{
    char plain[dhole__message_max + 64];
    json_t *string = text != NULL ? json_string(text) : json_null();

    if (string != NULL)
        return string;
    snprintf(plain, sizeof plain, "%s", text);
    for (char *p = plain; *p != '\0'; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    return json_string(plain);
}

void dhole__doctor_say(struct dhole__doctor *d, enum dhole__severity severity, const char *about,
                       const char *subject, const char *mend, const char *format, ...)
{
    char text[dhole__message_max + 64];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    json_array_append_new(
        d->findings, json_pack("{s:s, s:s, s:o, s:o, s:o}", "severity", severities[severity],
                               "about", about, "subject", dhole__doctor_string(subject), "text",
                               dhole__doctor_string(text), "mend", dhole__doctor_string(mend)));
    d->has_problem = d->has_problem || severity == DHOLE__FINDING_PROBLEM;
}

void dhole__doctor_say_error(struct dhole__doctor *d, enum dhole__severity severity,
                             const char *about, const char *subject, const char *mend)
{
    dhole__doctor_say(d, severity, about, subject, mend, "%s", dhole_error_message());
}

enum dhole__severity dhole__doctor_without_rdma(const struct dhole__doctor *d)
{
    return strncmp(d->backend, "jaccl", 5) == 0 ? DHOLE__FINDING_PROBLEM : DHOLE__FINDING_NOTE;
}
