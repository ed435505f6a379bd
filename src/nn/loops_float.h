/* Products with float weights; see kernels_loops.h. */
#ifndef DHOLE_NN_LOOPS_FLOAT_H
#define DHOLE_NN_LOOPS_FLOAT_H

#include "nn/loops_emit.h"

INLINE size_t float_bytes(enum dhole__ttype type)
{
    return type == DHOLE__F32 ? 4 : 2;
}

INLINE vf load_weights(enum dhole__ttype type, const uint8_t *p, size_t n)
{
    uint8_t part[4 * LANES] = {0};

    if (n < LANES) {
        memcpy(part, p, n * float_bytes(type));
        p = part;
    }
    if (type == DHOLE__F16)
        return load_f16(p);
    return type == DHOLE__BF16 ? load_bf16(p) : load(p);
}

/* Adds the products of `count` <= LANES columns with some rows and tokens, columns across the
 * lanes. */
INLINE void add_columns(enum dhole__ttype type, const struct dhole__matmul *m, const uint8_t *w,
                        int rows, const float *x, int tokens, size_t count, vf sum[ROWS][ROWS])
{
    vf xs[ROWS];

    UNROLL
    for (int t = 0; t < tokens; t++)
        xs[t] = load_n(x + (size_t)t * m->cols, count);
    UNROLL
    for (int r = 0; r < rows; r++) {
        vf ws = load_weights(type, w + (size_t)r * m->row_bytes, count);
        UNROLL
        for (int t = 0; t < tokens; t++)
            sum[r][t] = fma_(ws, xs[t], sum[r][t]);
    }
}

/* One unit's columns, col to end. */
INLINE void float_unit(enum dhole__ttype type, const struct dhole__matmul *m, size_t col,
                       size_t end, size_t row, int rows, size_t token, int tokens)
{
    const uint8_t *w = m->weight + row * m->row_bytes + col * float_bytes(type);
    const float *x = m->x + token * m->cols + col;
    vf sum[ROWS][ROWS];

    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int t = 0; t < tokens; t++)
            sum[r][t] = splat(0);
    }
    for (; col + LANES <= end; col += LANES, x += LANES, w += LANES * float_bytes(type))
        add_columns(type, m, w, rows, x, tokens, LANES, sum);
    if (col < end)
        add_columns(type, m, w, rows, x, tokens, end - col, sum);
    UNROLL
    for (int t = 0; t < tokens; t++) {
        float part[ROWS];
        UNROLL
        for (int r = 0; r < rows; r++)
            part[r] = add_lanes(sum[r][t]);
        emit(m, token + (size_t)t, row, part, (size_t)rows);
    }
}

INLINE void float_rows(enum dhole__ttype type, const struct dhole__matmul *m, size_t row, int rows)
{
    for (size_t col = 0; col < m->cols; col += m->unit) {
        size_t end = least(col + m->unit, m->cols), t = 0;
        for (; t + ROWS <= m->tokens; t += ROWS)
            float_unit(type, m, col, end, row, rows, t, ROWS);
        for (; t < m->tokens; t++)
            float_unit(type, m, col, end, row, rows, t, 1);
    }
}

INLINE void all_float_rows(enum dhole__ttype type, const struct dhole__matmul *m, size_t first,
                           size_t last)
{
    for (; first + ROWS <= last; first += ROWS)
        float_rows(type, m, first, ROWS);
    for (; first < last; first++)
        float_rows(type, m, first, 1);
}

#endif
