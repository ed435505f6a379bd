#include "base/buf.h"

#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "base/sys.h"

enum { first_capacity = 256 };

void dhole__buf_init(struct dhole__buf *buf, size_t max)
{
    *buf = (struct dhole__buf){.max = max};
}

/* Moves to a fresh block instead of realloc, so that no copy of a secret stays
 * behind unwiped. */
static dhole_err grow(struct dhole__buf *buf, size_t need)
{
    size_t capacity = buf->capacity ? buf->capacity : first_capacity;
    uint8_t *data;

    while (capacity < need)
        capacity = capacity > buf->max / 2 ? buf->max : capacity * 2;
    data = dhole__sys.malloc(capacity);
    if (data == NULL)
        return dhole__fail_nomem(capacity, "a buffer");
    if (buf->data != NULL) {
        memcpy(data, buf->data, buf->len);
        dhole__wipe(buf->data, buf->capacity);
        free(buf->data);
    }
    buf->data = data;
    buf->capacity = capacity;
    return DHOLE_OK;
}

dhole_err dhole__buf_add(struct dhole__buf *buf, const void *src, size_t n)
{
    if (n > buf->max - buf->len)
        return dhole__fail(DHOLE_ERR_LIMIT, "%zu bytes more than the %zu that are allowed here",
                           n - (buf->max - buf->len), buf->max);
    if (buf->len + n > buf->capacity) {
        dhole_err err = grow(buf, buf->len + n);
        if (err)
            return err;
    }
    if (src != NULL && n > 0)
        memcpy(buf->data + buf->len, src, n);
    buf->len += n;
    return DHOLE_OK;
}

void dhole__buf_drop(struct dhole__buf *buf, size_t n)
{
    buf->len -= n;
    if (buf->len > 0)
        memmove(buf->data, buf->data + n, buf->len);
}

void dhole__buf_free(struct dhole__buf *buf)
{
    if (buf->data != NULL)
        dhole__wipe(buf->data, buf->capacity);
    free(buf->data);
    dhole__buf_init(buf, buf->max);
}
