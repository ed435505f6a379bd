/* What ranks put into collectives, and what must come out. */
#ifndef TEST_CONFORMANCE_DATA_H
#define TEST_CONFORMANCE_DATA_H

#include <stddef.h>

#include "dhole/dtype.h"
#include "reduce/reduce.h"

/* count whole numbers of at most 8 bits as elements of dtype, different for each rank and seed.
 * Their sums over ranks are exact in f32, so no order of summation shows; in bf16 they round. */
void fill_numbers(dhole_dtype dtype, int rank, unsigned seed, void *data, size_t count);

/* Any bit patterns, NaN and infinity among them. */
void fill_anything(dhole_dtype dtype, int rank, unsigned seed, void *data, size_t count);

typedef void fill_function(dhole_dtype dtype, int rank, unsigned seed, void *data, size_t count);

/* Index of the first element of `out` that is not the reduction over `size` ranks of what `fill`
 * gave them; count when all are right. */
size_t first_wrong(enum dhole__op op, dhole_dtype dtype, int size, unsigned seed,
                   fill_function *fill, const void *out, size_t count);

#endif
