/* Element types of the collectives; the list and order are MLX's. */
#ifndef DHOLE_DTYPE_H
#define DHOLE_DTYPE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(code, value, name, bytes per element). The values are part of the ABI and
 * of the wire format. */
#define DHOLE_DTYPE_MAP(X)     \
    X(BOOL, 0, "bool", 1)      \
    X(U8, 1, "uint8", 1)       \
    X(U16, 2, "uint16", 2)     \
    X(U32, 3, "uint32", 4)     \
    X(U64, 4, "uint64", 8)     \
    X(I8, 5, "int8", 1)        \
    X(I16, 6, "int16", 2)      \
    X(I32, 7, "int32", 4)      \
    X(I64, 8, "int64", 8)      \
    X(F16, 9, "float16", 2)    \
    X(F32, 10, "float32", 4)   \
    X(F64, 11, "float64", 8)   \
    X(BF16, 12, "bfloat16", 2) \
    X(C64, 13, "complex64", 8)

typedef enum dhole_dtype {
#define DHOLE_DTYPE_ENUM(code, value, name, size) DHOLE_##code = (value),
    DHOLE_DTYPE_MAP(DHOLE_DTYPE_ENUM)
#undef DHOLE_DTYPE_ENUM
} dhole_dtype;

/* Bytes per element; 0 when dtype is not one of the list. */
size_t dhole_dtype_size(dhole_dtype dtype);

/* Name as in MLX, such as "float32"; "?" when dtype is not one of the list. */
const char *dhole_dtype_name(dhole_dtype dtype);

#ifdef __cplusplus
}
#endif
#endif
