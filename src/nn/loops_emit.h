/* Where the products of a matmul go. */
#ifndef DHOLE_NN_LOOPS_EMIT_H
#define DHOLE_NN_LOOPS_EMIT_H

#include <string.h>

#include "nn/kernels.h"
#include "nn/loops_vector.h"

/* Adding and subtracting it rounds a double to a multiple of 2^-24. */
static const double grid = 0x1.8p28;

/* Takes finished partial products to rows row.. of a token. */
INLINE void emit(const struct dhole__matmul *m, size_t token, size_t row, const float *part,
                 size_t count)
{
    size_t at = token * m->stride + row;

    if (m->total == NULL)
        memcpy(m->y + at, part, count * sizeof *part);
    else
        for (size_t i = 0; i < count; i++)
            m->total[at + i] += ((double)part[i] + grid) - grid;
}

/* The same for LANES rows. */
INLINE void emit_lanes(const struct dhole__matmul *m, size_t token, size_t row, vf part)
{
    size_t at = token * m->stride + row;

    if (m->total == NULL) {
        store(m->y + at, part);
        return;
    }
    vd half[2] = {low_half(part), high_half(part)};
    UNROLL
    for (size_t i = 0; i < 2; i++) {
        double *to = m->total + at + i * LANES / 2;
        vd total;
        memcpy(&total, to, sizeof total);
        total += (half[i] + grid) - grid;
        memcpy(to, &total, sizeof total);
    }
}

#endif
