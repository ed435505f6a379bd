#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[dhole__message_max];

const char *dhole_error_name(dhole_err err)
{
    switch (err) {
#define NAME(code, value, text) \
    case DHOLE_##code: return "DHOLE_" #code;
        DHOLE_ERR_MAP(NAME)
#undef NAME
    }
    return "DHOLE_ERR_?";
}

const char *dhole_error_text(dhole_err err)
{
    switch (err) {
#define TEXT(code, value, text) \
    case DHOLE_##code: return text;
        DHOLE_ERR_MAP(TEXT)
#undef TEXT
    }
    return "unknown error";
}

const char *dhole_error_message(void)
{
    return message;
}

/* Bytes of the printable character at `at` (RFC 3629), 0 when there is none. */
static int character(const unsigned char *at)
{
    static const uint32_t least[] = {0, 0, 0xa0, 0x800, 0x10000}; /* after the controls of C1 */
    int n = *at >= 0xf0 ? 4 : *at >= 0xe0 ? 3 : 2;
    uint32_t code = *at & (0xffU >> (n + 1));

    if (*at < 0x80)
        return *at >= ' ' && *at != 0x7f;
    for (int i = 1; i < n; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (at[i] & 0x3fU);
    }
    return *at >= 0xc2 && *at < 0xf8 && code >= least[n] && code >> 11 != 0xd800 >> 11 &&
                   code <= 0x10ffff
               ? n
               : 0;
}

void dhole__disarm(char *text)
{
    while (*text != '\0') {
        int n = character((const unsigned char *)text);
        if (n == 0)
            *text = '?';
        text += n > 0 ? n : 1;
    }
}

/* Formats into a second buffer first, as an argument may be the old message. */
static void set_message(const char *format, va_list args, const char *tail)
{
    char text[dhole__message_max];
    int n = vsnprintf(text, sizeof text, format, args);

    if (n < 0)
        n = 0;
    if ((size_t)n >= sizeof text)
        n = sizeof text - 1;
    if (tail != NULL)
        snprintf(text + n, sizeof text - (size_t)n, ": %s", tail);
    dhole__disarm(text);
    memcpy(message, text, sizeof text);
}

dhole_err dhole__fail(dhole_err err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    set_message(format, args, NULL);
    va_end(args);
    return err;
}

dhole_err dhole__fail_errno(dhole_err err, const char *format, ...)
{
    const char *text = strerror(errno);
    va_list args;

    va_start(args, format);
    set_message(format, args, text);
    va_end(args);
    return err;
}

dhole_err dhole__fail_nomem(size_t bytes, const char *what)
{
    return dhole__fail(DHOLE_ERR_NOMEM, "no memory: %zu bytes for %s", bytes, what);
}

void dhole__message_save(char text[static dhole__message_max])
{
    memcpy(text, message, dhole__message_max);
}

void dhole__message_restore(const char text[static dhole__message_max])
{
    memcpy(message, text, dhole__message_max);
}

dhole_err dhole__fail_in(dhole_err err, const char *format, ...)
{
    char old[dhole__message_max];
    va_list args;

    memcpy(old, message, sizeof old);
    va_start(args, format);
    set_message(format, args, old);
    va_end(args);
    return err;
}
