/* Where the products of a matmul go. */
#ifndef DHOLE_NN_LOOPS_EMIT_H
#define DHOLE_NN_LOOPS_EMIT_H

#include <string.h>

#include "nn/kernels.h"
#include "nn/loops_vector.h"

INLINE double to_grid(float x)
{
    return ((double)x + 0x1.8p28) - 0x1.8p28;
}

/* Takes `count` finished partial products from part[] to rows row.. of a token. */
INLINE void emit(const struct dhole__matmul *m, size_t token, size_t row, const float *part,
                 size_t count)
{
    size_t at = token * m->stride + row;

    if (m->total == NULL)
        memcpy(m->y + at, part, count * sizeof *part);
    else
        for (size_t i = 0; i < count; i++)
            m->total[at + i] += to_grid(part[i]);
}

#endif
