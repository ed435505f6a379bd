#include "model/gguf_reader.h"

#include <inttypes.h>
#include <string.h>

uint64_t dhole__gguf_load(const uint8_t *p, size_t bytes)
{
    uint64_t x = 0;

    for (size_t i = bytes; i-- > 0;)
        x = x << 8 | p[i];
    return x;
}

size_t dhole__gguf_type_bytes(enum dhole__gguf_type type)
{
    switch (type) {
#define BYTES(code, value, name, bytes) \
    case DHOLE__GGUF_##code: return bytes;
        DHOLE__GGUF_TYPE_MAP(BYTES)
#undef BYTES
    }
    return 0;
}

const char *dhole__gguf_type_name(enum dhole__gguf_type type)
{
    switch (type) {
#define NAME(code, value, name, bytes) \
    case DHOLE__GGUF_##code: return name;
        DHOLE__GGUF_TYPE_MAP(NAME)
#undef NAME
    }
    return "unknown";
}

dhole_err dhole__take(struct dhole__reader *r, uint64_t n, const char *what, const uint8_t **out)
{
    if (n > r->size - r->pos)
        return dhole__fail(DHOLE_ERR_FORMAT,
                           "truncated: %s at byte %zu takes %" PRIu64
                           " bytes, but the file ends at byte %zu",
                           what, r->pos, n, r->size);
    *out = r->data + r->pos;
    r->pos += (size_t)n;
    return DHOLE_OK;
}

dhole_err dhole__take_number(struct dhole__reader *r, size_t bytes, const char *what, uint64_t *out)
{
    const uint8_t *p = NULL;
    dhole_err err = dhole__take(r, bytes, what, &p);

    if (!err)
        *out = dhole__gguf_load(p, bytes);
    return err;
}

dhole_err dhole__take_string(struct dhole__reader *r, const char *what,
                             struct dhole__gguf_string *out)
{
    const uint8_t *p = NULL;
    uint64_t length = 0;
    dhole_err err = dhole__take_number(r, 8, what, &length);

    if (!err)
        err = dhole__take(r, length, what, &p);
    if (!err)
        *out = (struct dhole__gguf_string){(const char *)p, (size_t)length};
    return err;
}

dhole_err dhole__take_name(struct dhole__reader *r, size_t max, const char *what,
                           struct dhole__gguf_string *out)
{
    size_t at = r->pos;
    dhole_err err = dhole__take_string(r, what, out);

    if (err)
        return err;
    if (out->length == 0 || out->length > max)
        return dhole__fail(DHOLE_ERR_FORMAT, "%s at byte %zu has %zu bytes, 1 to %zu are allowed",
                           what, at, out->length, max);
    for (size_t i = 0; i < out->length; i++)
        if (out->data[i] < ' ' || out->data[i] > '~')
            return dhole__fail(DHOLE_ERR_FORMAT,
                               "%s at byte %zu holds the byte 0x%02x, which is not printable", what,
                               at, (unsigned char)out->data[i]);
    return DHOLE_OK;
}

dhole_err dhole__take_type(struct dhole__reader *r, const char *what, enum dhole__gguf_type *out)
{
    size_t at = r->pos;
    uint64_t type = 0;
    dhole_err err = dhole__take_number(r, 4, what, &type);

    if (err)
        return err;
    if (type > DHOLE__GGUF_F64)
        return dhole__fail(DHOLE_ERR_FORMAT, "%s at byte %zu is %" PRIu64 ", unknown to GGUF", what,
                           at, type);
    *out = (enum dhole__gguf_type)type;
    return DHOLE_OK;
}

dhole_err dhole__take_count(struct dhole__reader *r, const char *what, size_t max, size_t smallest,
                            size_t *out)
{
    uint64_t count = 0;
    dhole_err err = dhole__take_number(r, 8, what, &count);

    if (err)
        return err;
    if (count > max)
        return dhole__fail(DHOLE_ERR_FORMAT, "%s is %" PRIu64 ", at most %zu are allowed", what,
                           count, max);
    if (count > (r->size - r->pos) / smallest)
        return dhole__fail(DHOLE_ERR_FORMAT,
                           "truncated: %s is %" PRIu64 ", more than a file of %zu bytes can hold",
                           what, count, r->size);
    *out = (size_t)count;
    return DHOLE_OK;
}
