#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/os.h"
#include "cli/cli.h"
#include "cli/doctor.h"
#include "dhole/version.h"

static const char *text_of(const json_t *finding, const char *key)
{
    return json_string_value(json_object_get(finding, key));
}

static void print_finding(const json_t *finding)
{
    const char *subject = text_of(finding, "subject"), *mend = text_of(finding, "mend");

    printf("%-8s %-9s %s%s%s\n", text_of(finding, "severity"), text_of(finding, "about"),
           subject != NULL ? subject : "", subject != NULL ? ": " : "", text_of(finding, "text"));
    if (mend != NULL)
        printf("%-18s   mend: %s\n", "", mend);
}

static void print_text(const struct dhole__doctor *d, const struct utsname *system,
                       const char *host)
{
    size_t i;
    const json_t *finding;

    printf("dhole %s on %s: %s %s %s, %d processors\n\n", dhole_version(), host, system->sysname,
           system->release, system->machine, dhole__cpu_count());
    json_array_foreach(d->findings, i, finding) print_finding(finding);
    printf("\n%s group can form here, backend %s\n", d->has_problem ? "No" : "A", d->backend);
}

static bool print_json(const struct dhole__doctor *d, const struct utsname *system,
                       const char *host)
{
    json_t *machine = json_pack("{s:o, s:s, s:s, s:s, s:i}", "host", dhole__doctor_string(host),
                                "system", system->sysname, "release", system->release, "processor",
                                system->machine, "processors", dhole__cpu_count());
    json_t *root =
        json_pack("{s:s, s:o, s:s, s:i, s:i, s:b, s:O, s:O, s:O, s:O}", "version", dhole_version(),
                  "machine", machine, "backend", d->backend, "rank", d->rank, "ranks", d->ranks,
                  "can_form", !d->has_problem, "findings", d->findings, "devices", d->devices,
                  "peers", d->peers, "pairs", d->pairs);
    bool ok = root != NULL && json_dumpf(root, stdout, 0) == 0 && putchar('\n') != EOF;

    json_decref(root);
    return ok;
}

bool dhole__doctor_print(const struct dhole__doctor *d)
{
    struct utsname system = {.sysname = "?"};
    char host[256] = "?";
    bool ok = true;

    uname(&system);
    gethostname(host, sizeof host - 1);
    if (d->json)
        ok = print_json(d, &system, host);
    else
        print_text(d, &system, host);
    return dhole__flush_stdout() && ok;
}
