#include "cli/utf8.h"

#include <stdbool.h>
#include <string.h>

/* Bytes in the sequence that `first` begins; 0 when none begins so. */
static size_t sequence_length(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first < 0xe0)
        return 2;
    if (first >= 0xe0 && first < 0xf0)
        return 3;
    if (first >= 0xf0 && first < 0xf5)
        return 4;
    return 0;
}

/* Whether s[n - 1] may follow what is before it: the second byte has narrower limits
 * that keep out overlong forms, surrogates and what is beyond U+10FFFF. */
static bool may_follow(const unsigned char *s, size_t n)
{
    unsigned char low = 0x80, high = 0xbf;

    if (n == 2) {
        switch (s[0]) {
        case 0xe0: low = 0xa0; break;
        case 0xed: high = 0x9f; break;
        case 0xf0: low = 0x90; break;
        case 0xf4: high = 0x8f; break;
        }
    }
    return s[n - 1] >= low && s[n - 1] <= high;
}

static dhole_err replace(struct dhole__buf *out)
{
    return dhole__buf_add(out, "\xef\xbf\xbd", 3);
}

static dhole_err feed_byte(struct dhole__utf8 *u, unsigned char byte, struct dhole__buf *out)
{
    dhole_err err = DHOLE_OK;

    u->held[u->count++] = byte;
    if (u->count > 1 && !may_follow(u->held, u->count)) {
        u->held[0] = byte;
        u->count = 1;
        err = replace(out);
    }
    if (err == DHOLE_OK && sequence_length(u->held[0]) == 0) {
        u->count = 0;
        err = replace(out);
    }
    if (err == DHOLE_OK && u->count > 0 && u->count == sequence_length(u->held[0])) {
        err = dhole__buf_add(out, u->held, u->count);
        u->count = 0;
    }
    return err;
}

dhole_err dhole__utf8_feed(struct dhole__utf8 *u, const char *bytes, size_t n,
                           struct dhole__buf *out)
{
    for (size_t i = 0; i < n; i++) {
        dhole_err err = feed_byte(u, (unsigned char)bytes[i], out);
        if (err)
            return err;
    }
    return DHOLE_OK;
}

dhole_err dhole__utf8_end(struct dhole__utf8 *u, struct dhole__buf *out)
{
    if (u->count == 0)
        return DHOLE_OK;
    u->count = 0;
    return replace(out);
}
