/* A tensor as it lies in a model file: a view, never a copy. */
#ifndef DHOLE_MODEL_TENSOR_H
#define DHOLE_MODEL_TENSOR_H

#include <stddef.h>
#include <stdint.h>

/* Values are GGUF's. X(code, value, name, elements per block, bytes per block). */
#define DHOLE__TTYPE_MAP(X)    \
    X(F32, 0, "F32", 1, 4)     \
    X(F16, 1, "F16", 1, 2)     \
    X(Q4_0, 2, "Q4_0", 32, 18) \
    X(Q4_1, 3, "Q4_1", 32, 20) \
    X(Q8_0, 8, "Q8_0", 32, 34) \
    X(BF16, 30, "BF16", 1, 2)

enum dhole__ttype {
#define DHOLE__TTYPE_ENUM(code, value, name, elements, bytes) DHOLE__##code = (value),
    DHOLE__TTYPE_MAP(DHOLE__TTYPE_ENUM)
#undef DHOLE__TTYPE_ENUM
};

/* NULL / 0 for a type that is not of the list. */
const char *dhole__ttype_name(enum dhole__ttype type);
size_t dhole__ttype_elements(enum dhole__ttype type);
size_t dhole__ttype_bytes(enum dhole__ttype type);

/* shape[0] is the innermost, contiguous dimension: a weight that maps n_in to n_out
 * has shape {n_in, n_out}, and row r starts at data + r * (bytes of n_in elements). */
struct dhole__tensor {
    const char *name;
    enum dhole__ttype type;
    int dims;
    uint64_t shape[4]; /* unused ones are 1 */
    const void *data;  /* in the mapped file; aligned to 32 bytes in well-made files, not in all */
    size_t bytes;
};

#endif
