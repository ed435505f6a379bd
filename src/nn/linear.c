#include "nn/linear.h"

#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "nn/half.h"
#include "nn/kernels.h"
#include "nn/tiles.h"

enum { grain_tiles = 2, quantise_grain = 4 };

/* ---- activations */

struct dhole__act {
    size_t max_n, max_tokens;
    size_t n, tokens;
    const float *x;                 /* {tokens, n}, the caller's */
    struct dhole__act_block *block; /* {tokens, n / 32} */
};

dhole_err dhole__act_create(size_t max_n, size_t max_tokens, struct dhole__act **out)
{
    const size_t align = 64;
    size_t n = (max_n + align - 1) / align * align, blocks = n / dhole__quant_block, bytes;
    struct dhole__act *act;

    if (max_n == 0 || max_tokens == 0 || max_n > SIZE_MAX / 8 / max_tokens - align)
        return dhole__fail(DHOLE_ERR_INVALID,
                           "activations of %zu tokens of %zu: expected both above 0", max_tokens,
                           max_n);
    act = dhole__sys.calloc(1, sizeof *act);
    if (act == NULL)
        return dhole__fail_nomem(sizeof *act, "activations");
    bytes = (max_tokens * blocks * sizeof *act->block + align - 1) / align * align;
    act->block = dhole__sys.aligned_alloc(align, bytes);
    if (act->block == NULL) {
        free(act);
        return dhole__fail_nomem(bytes, "activations");
    }
    act->max_n = max_n;
    act->max_tokens = max_tokens;
    *out = act;
    return DHOLE_OK;
}

static void quantise_tokens(void *arg, size_t first, size_t last)
{
    struct dhole__act *act = arg;
    size_t blocks = act->n / dhole__quant_block;

    dhole__kernels()->quantise(act->x + first * act->n, (last - first) * blocks,
                               act->block + first * blocks);
}

void dhole__act_set(struct dhole__act *act, struct dhole__pool *pool, const float *x, size_t n,
                    size_t tokens)
{
    act->x = x;
    act->n = n;
    act->tokens = tokens;
    if (n % dhole__quant_block == 0)
        dhole__pool_run(pool, quantise_tokens, act, tokens, quantise_grain);
}

void dhole__act_free(struct dhole__act *act)
{
    if (act == NULL)
        return;
    free(act->block);
    free(act);
}

/* ---- layers */

static dhole_err check_weight(const struct dhole__tensor *weight)
{
    size_t elements = dhole__ttype_elements(weight->type);

    if (elements == 0)
        return dhole__fail(DHOLE_ERR_UNSUPPORTED, "%s: weights of type %d are not supported",
                           weight->name, (int)weight->type);
    if (weight->shape[0] == 0 || weight->shape[1] == 0 || weight->shape[2] != 1 ||
        weight->shape[3] != 1)
        return dhole__fail(DHOLE_ERR_INVALID, "%s: expected a weight of two dimensions",
                           weight->name);
    if (weight->shape[0] % elements != 0)
        return dhole__fail(DHOLE_ERR_INVALID, "%s: rows of %zu do not fill blocks of %zu",
                           weight->name, (size_t)weight->shape[0], elements);
    if (weight->bytes / weight->shape[1] <
        weight->shape[0] / elements * dhole__ttype_bytes(weight->type))
        return dhole__fail(DHOLE_ERR_INVALID, "%s: %zu bytes are too few for its shape",
                           weight->name, weight->bytes);
    return DHOLE_OK;
}

dhole_err dhole__linear_all_to_sharded(const struct dhole__tensor *weight, size_t row, size_t rows,
                                       struct dhole__linear *out)
{
    dhole_err err = check_weight(weight);

    if (err != DHOLE_OK)
        return err;
    if (row > weight->shape[1] || rows > weight->shape[1] - row)
        return dhole__fail(DHOLE_ERR_INVALID, "%s: rows %zu to %zu of %zu", weight->name, row,
                           row + rows, (size_t)weight->shape[1]);
    *out = (struct dhole__linear){
        .weight = *weight, .row = row, .rows = rows, .cols = weight->shape[0]};
    return DHOLE_OK;
}

dhole_err dhole__linear_sharded_to_all(const struct dhole__tensor *weight, size_t col, size_t cols,
                                       size_t unit, struct dhole__linear *out)
{
    dhole_err err = check_weight(weight);
    size_t n;

    if (err != DHOLE_OK)
        return err;
    n = weight->shape[0];
    if (unit == 0 || unit % dhole__ttype_elements(weight->type) != 0)
        return dhole__fail(DHOLE_ERR_INVALID,
                           "%s: a unit of %zu columns: expected a multiple of %zu", weight->name,
                           unit, dhole__ttype_elements(weight->type));
    if (col > n || cols > n - col || (col % unit != 0 && cols != 0) ||
        (cols % unit != 0 && col + cols != n))
        return dhole__fail(DHOLE_ERR_INVALID,
                           "%s: columns %zu to %zu of %zu: expected cuts at multiples of %zu",
                           weight->name, col, col + cols, n, unit);
    *out = (struct dhole__linear){
        .weight = *weight, .rows = weight->shape[1], .col = col, .cols = cols, .unit = unit};
    return DHOLE_OK;
}

static size_t column_bytes(enum dhole__ttype type, size_t cols)
{
    return cols / dhole__ttype_elements(type) * dhole__ttype_bytes(type);
}

size_t dhole__linear_packed_size(const struct dhole__linear *linear)
{
    return linear->rows * column_bytes(linear->weight.type, linear->cols);
}

void dhole__linear_pack(struct dhole__linear *linear, void *to)
{
    struct dhole__tensor *weight = &linear->weight;
    size_t from_bytes = column_bytes(weight->type, weight->shape[0]);
    size_t to_bytes = column_bytes(weight->type, linear->cols);
    const uint8_t *from = (const uint8_t *)weight->data + linear->row * from_bytes +
                          column_bytes(weight->type, linear->col);
    bool tiled = dhole__tiles_fit(weight->type, linear->rows);
    size_t step = tiled ? dhole__tile_rows : 1;

    for (size_t row = 0; row < linear->rows; row += step, from += step * from_bytes) {
        uint8_t *part = (uint8_t *)to + row * to_bytes;
        if (tiled)
            dhole__tile_copy(weight->type, from, from_bytes, linear->cols, part);
        else
            memcpy(part, from, to_bytes);
    }
    linear->tiled = tiled;
    weight->data = to;
    weight->bytes = linear->rows * to_bytes;
    weight->shape[0] = linear->cols;
    weight->shape[1] = linear->rows;
    linear->row = linear->col = 0;
}

/* ---- products */

static struct dhole__matmul make_matmul(const struct dhole__linear *linear,
                                        const struct dhole__act *act, float *y, size_t stride)
{
    const struct dhole__tensor *weight = &linear->weight;
    size_t row_bytes = column_bytes(weight->type, weight->shape[0]);

    return (struct dhole__matmul){
        .type = weight->type,
        .weight = (const uint8_t *)weight->data + linear->row * row_bytes +
                  column_bytes(weight->type, linear->col),
        .row_bytes = row_bytes,
        .tiled = linear->tiled,
        .cols = linear->cols,
        .unit = linear->unit > 0 ? linear->unit : linear->cols,
        .tokens = act->tokens,
        .x = act->x,
        .act = act->block,
        .stride = stride,
        .y = y,
    };
}

struct tiles {
    const struct dhole__matmul *m;
    size_t rows;
};

static void multiply_tiles(void *arg, size_t first, size_t last)
{
    const struct tiles *a = arg;
    size_t end = last * dhole__tile_rows;

    dhole__kernels()->matmul(a->m, first * dhole__tile_rows, end < a->rows ? end : a->rows);
}

static void multiply(struct dhole__pool *pool, const struct dhole__matmul *m, size_t rows)
{
    struct tiles a = {m, rows};

    dhole__pool_run(pool, multiply_tiles, &a, (rows + dhole__tile_rows - 1) / dhole__tile_rows,
                    grain_tiles);
}

void dhole__linear_apply(const struct dhole__linear *linear, struct dhole__pool *pool,
                         const struct dhole__act *act, float *y, size_t stride)
{
    struct dhole__matmul m = make_matmul(linear, act, y, stride);

    multiply(pool, &m, linear->rows);
}

dhole_err dhole__linear_apply_sum(const struct dhole__linear *linear, struct dhole__pool *pool,
                                  dhole_group *group, const struct dhole__act *act, double *scratch,
                                  float *y)
{
    size_t count = act->tokens * linear->rows;

    memset(scratch, 0, count * sizeof *scratch);
    if (linear->cols > 0) {
        struct dhole__matmul m = make_matmul(linear, act, y, linear->rows);
        m.total = scratch;
        multiply(pool, &m, linear->rows);
    }
    if (group != NULL && dhole_size(group) > 1) {
        dhole_err err = dhole_all_sum(group, scratch, scratch, count, DHOLE_F64);
        if (err != DHOLE_OK)
            return err;
    }
    for (size_t i = 0; i < count; i++)
        y[i] = (float)scratch[i];
    return DHOLE_OK;
}

/* ---- one row as floats */

static float q4_at(const uint8_t *nibbles, size_t i)
{
    return (float)(i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4);
}

static uint16_t half_at(const uint8_t *p)
{
    uint16_t h;

    memcpy(&h, p, sizeof h);
    return h;
}

static void unpack_block(enum dhole__ttype type, const uint8_t *p, float *out)
{
    float scale = dhole__from_f16(half_at(p));

    for (size_t i = 0; i < dhole__quant_block; i++) {
        if (type == DHOLE__Q8_0)
            out[i] = scale * (float)(int8_t)p[2 + i];
        else if (type == DHOLE__Q4_0)
            out[i] = scale * (q4_at(p + 2, i) - 8);
        else
            out[i] = scale * q4_at(p + 4, i) + dhole__from_f16(half_at(p + 2));
    }
}

void dhole__tensor_row(const struct dhole__tensor *weight, size_t row, float *out)
{
    size_t n = weight->shape[0], elements = dhole__ttype_elements(weight->type);
    size_t bytes = dhole__ttype_bytes(weight->type);
    const uint8_t *p = (const uint8_t *)weight->data + row * column_bytes(weight->type, n);

    for (size_t i = 0; i < n; i += elements, p += bytes) {
        switch (weight->type) {
        case DHOLE__F32: memcpy(out + i, p, sizeof *out); break;
        case DHOLE__F16: out[i] = dhole__from_f16(half_at(p)); break;
        case DHOLE__BF16: out[i] = dhole__from_bf16(half_at(p)); break;
        case DHOLE__Q4_0:
        case DHOLE__Q4_1:
        case DHOLE__Q8_0: unpack_block(weight->type, p, out + i); break;
        }
    }
}
