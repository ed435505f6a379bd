/* What a reduction must give, one element at a time and written without any trick: values as
 * doubles, rounding by ldexp and rint. */
#ifndef TEST_REDUCE_REFERENCE_H
#define TEST_REDUCE_REFERENCE_H

#include <stdint.h>

#include "dhole/dtype.h"
#include "reduce/reduce.h"

/* A binary floating-point format of 16 bits. */
struct format {
    int mantissa_bits; /* stored */
    int bias;
    uint16_t infinity, nan;
};

extern const struct format format_f16, format_bf16;

double reference_decode(const struct format *format, uint16_t bits);

/* To nearest, ties to even. */
uint16_t reference_encode(const struct format *format, double value);

/* *out = op(*a, *b), one element of dtype. */
void reference_reduce(enum dhole__op op, dhole_dtype dtype, const void *a, const void *b,
                      void *out);

/* *out = sources[0][index] op ...; one element, sums of 16-bit floats rounded once. */
void reference_many(enum dhole__op op, dhole_dtype dtype, const void *const *sources, int n,
                    size_t index, void *out);

/* Fills n elements of dtype with random values, among them every kind of special one. */
void fill_elements(dhole_dtype dtype, void *data, size_t n, unsigned long long *seed);

#endif
