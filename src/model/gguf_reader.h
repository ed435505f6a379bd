/* Takes the fields of a model file's header one after the other, never beyond its end. Each
 * function fails with DHOLE_ERR_FORMAT and says `what` it wanted at which byte. */
#ifndef DHOLE_MODEL_GGUF_READER_H
#define DHOLE_MODEL_GGUF_READER_H

#include "model/gguf.h"

struct dhole__reader {
    const uint8_t *data;
    size_t size, pos;
};

DHOLE__MUST_CHECK dhole_err dhole__take(struct dhole__reader *r, uint64_t n, const char *what,
                                        const uint8_t **out);

/* A little-endian number of at most 8 bytes. */
DHOLE__MUST_CHECK dhole_err dhole__take_number(struct dhole__reader *r, size_t bytes,
                                               const char *what, uint64_t *out);

DHOLE__MUST_CHECK dhole_err dhole__take_string(struct dhole__reader *r, const char *what,
                                               struct dhole__gguf_string *out);

/* A string of 1 to `max` printable characters, as it ends up in messages. */
DHOLE__MUST_CHECK dhole_err dhole__take_name(struct dhole__reader *r, size_t max, const char *what,
                                             struct dhole__gguf_string *out);

DHOLE__MUST_CHECK dhole_err dhole__take_type(struct dhole__reader *r, const char *what,
                                             enum dhole__gguf_type *out);

/* A number of things, at most `max`, that take up at least `smallest` bytes each. */
DHOLE__MUST_CHECK dhole_err dhole__take_count(struct dhole__reader *r, const char *what, size_t max,
                                              size_t smallest, size_t *out);

uint64_t dhole__gguf_load(const uint8_t *p, size_t bytes);

/* Of one value; 0 for a string or an array. */
size_t dhole__gguf_type_bytes(enum dhole__gguf_type type);
const char *dhole__gguf_type_name(enum dhole__gguf_type type);

#endif
