/* A growing byte buffer with a hard maximum, for whatever a peer or a file can
 * size (method: curl's dynbuf). */
#ifndef DHOLE_BASE_BUF_H
#define DHOLE_BASE_BUF_H

#include <stdint.h>

#include "base/error.h"

struct dhole__buf {
    uint8_t *data;
    size_t len;
    size_t capacity;
    size_t max;
};

/* Holds at most `max` bytes; allocates nothing yet. */
void dhole__buf_init(struct dhole__buf *buf, size_t max);

/* Appends n bytes; src may be NULL, then the bytes are left unset for the
 * caller to fill. DHOLE_ERR_LIMIT beyond the maximum, DHOLE_ERR_NOMEM; the
 * content is unchanged on failure. */
DHOLE__MUST_CHECK dhole_err dhole__buf_add(struct dhole__buf *buf, const void *src, size_t n);

/* Drops the first n bytes, n <= len. */
void dhole__buf_drop(struct dhole__buf *buf, size_t n);

/* Wipes and frees the content; the buffer can be used again. */
void dhole__buf_free(struct dhole__buf *buf);

#endif
