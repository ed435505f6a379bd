/* The GGUF container, versions 2 and 3 in little-endian order: metadata and tensor views,
 * every count, offset and length checked against the file before it is used. Format:
 * https://github.com/ggml-org/ggml/blob/master/docs/gguf.md */
#ifndef DHOLE_MODEL_GGUF_H
#define DHOLE_MODEL_GGUF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "model/tensor.h"

/* Values are the file format's. X(code, value, name, bytes; 0 when that varies). */
#define DHOLE__GGUF_TYPE_MAP(X) \
    X(U8, 0, "uint8", 1)        \
    X(I8, 1, "int8", 1)         \
    X(U16, 2, "uint16", 2)      \
    X(I16, 3, "int16", 2)       \
    X(U32, 4, "uint32", 4)      \
    X(I32, 5, "int32", 4)       \
    X(F32, 6, "float32", 4)     \
    X(BOOL, 7, "bool", 1)       \
    X(STRING, 8, "string", 0)   \
    X(ARRAY, 9, "array", 0)     \
    X(U64, 10, "uint64", 8)     \
    X(I64, 11, "int64", 8)      \
    X(F64, 12, "float64", 8)

enum dhole__gguf_type {
#define DHOLE__GGUF_TYPE_ENUM(code, value, name, bytes) DHOLE__GGUF_##code = (value),
    DHOLE__GGUF_TYPE_MAP(DHOLE__GGUF_TYPE_ENUM)
#undef DHOLE__GGUF_TYPE_ENUM
};

enum dhole__gguf_need { DHOLE__GGUF_OPTIONAL, DHOLE__GGUF_REQUIRED };

/* Bytes in the file, not NUL-terminated. */
struct dhole__gguf_string {
    const char *data;
    size_t length;
};

struct dhole__gguf_array {
    size_t count;
    const uint8_t *data;
};

struct dhole__gguf;

/* Maps a regular file and checks it: DHOLE_ERR_FORMAT says what is wrong and at which
 * byte, DHOLE_ERR_UNSUPPORTED names the version or tensor type that we do not read. */
DHOLE__MUST_CHECK dhole_err dhole__gguf_open(const char *path, struct dhole__gguf **out);

/* The same over memory that stays the caller's and outlives the result; aligned to 8
 * bytes. */
DHOLE__MUST_CHECK dhole_err dhole__gguf_open_memory(const void *data, size_t size,
                                                    struct dhole__gguf **out);

/* NULL is allowed. */
void dhole__gguf_close(struct dhole__gguf *gguf);

/* The file up to the end of the tensor list. */
void dhole__gguf_header(const struct dhole__gguf *gguf, const void **data, size_t *size);
size_t dhole__gguf_file_size(const struct dhole__gguf *gguf);

/* Metadata by key. A missing key is DHOLE_ERR_FORMAT when it is required and else leaves
 * *out as it was; a value of another type or outside the range is DHOLE_ERR_FORMAT. */
bool dhole__gguf_has(const struct dhole__gguf *gguf, const char *key);
DHOLE__MUST_CHECK dhole_err dhole__gguf_int(const struct dhole__gguf *gguf, const char *key,
                                            enum dhole__gguf_need need, int min, int max, int *out);
DHOLE__MUST_CHECK dhole_err dhole__gguf_float(const struct dhole__gguf *gguf, const char *key,
                                              enum dhole__gguf_need need, float *out);
DHOLE__MUST_CHECK dhole_err dhole__gguf_bool(const struct dhole__gguf *gguf, const char *key,
                                             enum dhole__gguf_need need, bool *out);
DHOLE__MUST_CHECK dhole_err dhole__gguf_text(const struct dhole__gguf *gguf, const char *key,
                                             enum dhole__gguf_need need,
                                             struct dhole__gguf_string *out);
DHOLE__MUST_CHECK dhole_err dhole__gguf_elements(const struct dhole__gguf *gguf, const char *key,
                                                 enum dhole__gguf_need need,
                                                 enum dhole__gguf_type type,
                                                 struct dhole__gguf_array *out);

/* Takes the next string off an array of strings that has one left. */
struct dhole__gguf_string dhole__gguf_next_string(struct dhole__gguf_array *array);

/* Whether the string is exactly `text`. */
bool dhole__gguf_string_is(struct dhole__gguf_string string, const char *text);

/* The string for a message: what is not printable becomes '?', a long one is cut. */
enum { dhole__gguf_shown_size = 64 };
const char *dhole__gguf_shown(struct dhole__gguf_string string,
                              char buf[static dhole__gguf_shown_size]);

/* The tensors in the order of their data, 0 <= i < count. */
size_t dhole__gguf_tensor_count(const struct dhole__gguf *gguf);
const struct dhole__tensor *dhole__gguf_tensor(const struct dhole__gguf *gguf, size_t i);

#endif
