/* Makes a stream of bytes valid UTF-8: holds back a sequence until it is complete, and
 * replaces what is none by U+FFFD (the "maximal subpart" way of the Unicode Standard, section
 * 3.9). */
#ifndef DHOLE_CLI_UTF8_H
#define DHOLE_CLI_UTF8_H

#include "base/buf.h"

/* Starts as {0}. */
struct dhole__utf8 {
    unsigned char held[4]; /* the beginning of a sequence */
    size_t count;
};

/* Appends what n more bytes complete. */
DHOLE__MUST_CHECK dhole_err dhole__utf8_feed(struct dhole__utf8 *utf8, const char *bytes, size_t n,
                                             struct dhole__buf *out);

/* At the end of the stream: what is held back is not going to be completed. */
DHOLE__MUST_CHECK dhole_err dhole__utf8_end(struct dhole__utf8 *utf8, struct dhole__buf *out);

#endif
