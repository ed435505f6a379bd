/* Element-wise reductions, the same bits on every machine.
 *
 * Integers wrap. bool is a byte, non-zero is true, results are 0 or 1; its sum and max are
 * "or", its min "and". Floating point rounds to nearest even, in the default environment. A NaN
 * operand wins max and min, a NaN result is always the positive quiet NaN without payload, and
 * -0 < +0; so max and min depend neither on the order of operands nor on that of folding. c64 is
 * summed by component and ordered by real part, then imaginary part; a NaN in either makes both
 * parts of the result NaN.
 *
 * Buffers need no alignment. Nothing here allocates. */
#ifndef DHOLE_REDUCE_REDUCE_H
#define DHOLE_REDUCE_REDUCE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "dhole/dtype.h"

enum dhole__op { DHOLE__SUM, DHOLE__MAX, DHOLE__MIN };

/* "sum", "max", "min"; "?" when op is not one of them. */
const char *dhole__op_name(enum dhole__op op);

/* True for every operation on every type of dtype.h. */
bool dhole__reduce_supported(enum dhole__op op, dhole_dtype dtype);

/* out[i] = op(a[i], b[i]). out may be a or b, and must not overlap them otherwise.
 * DHOLE_ERR_UNSUPPORTED when op or dtype is unknown. */
DHOLE__MUST_CHECK dhole_err dhole__reduce(enum dhole__op op, dhole_dtype dtype, const void *a,
                                          const void *b, void *out, size_t count);

/* out[i] = sources[0][i] op ... op sources[n - 1][i], from left to right, n >= 1. Sums of f16 and
 * bf16 are taken in f32 and rounded once. out may be any one of the sources, and must not overlap
 * them otherwise; the sources may be the same. n = 1 copies. */
DHOLE__MUST_CHECK dhole_err dhole__reduce_many(enum dhole__op op, dhole_dtype dtype,
                                               const void *const *sources, int n, void *out,
                                               size_t count);

/* dhole__reduce_many in two steps, for sources that come in several sets: each set gives partial
 * results of dhole__reduce_partial_size bytes each, and those give the results. Sums of f16 and
 * bf16 have f32 partials, aligned as such, and are rounded once, in the second step. Here out may
 * not overlap the sources or partials. */
size_t dhole__reduce_partial_size(enum dhole__op op, dhole_dtype dtype);
DHOLE__MUST_CHECK dhole_err dhole__reduce_partial(enum dhole__op op, dhole_dtype dtype,
                                                  const void *const *sources, int n, void *out,
                                                  size_t count);
DHOLE__MUST_CHECK dhole_err dhole__reduce_partials(enum dhole__op op, dhole_dtype dtype,
                                                   const void *const *partials, int n, void *out,
                                                   size_t count);

#endif
