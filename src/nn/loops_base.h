/* What the files kernels_*.c need before they define their vectors. */
#ifndef DHOLE_NN_LOOPS_BASE_H
#define DHOLE_NN_LOOPS_BASE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A loop's registers are arrays, and its shape is given by constant arguments: both need inlining
 * and unrolling for certain. */
#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 64")
#endif

INLINE size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

INLINE uint16_t u16_at(const void *p)
{
    uint16_t x;

    memcpy(&x, p, sizeof x);
    return x;
}

INLINE int32_t i32_at(const void *p)
{
    int32_t x;

    memcpy(&x, p, sizeof x);
    return x;
}

#endif
