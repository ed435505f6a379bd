/* Products with quantised weights; see kernels_loops.h. */
#ifndef DHOLE_NN_LOOPS_QUANT_H
#define DHOLE_NN_LOOPS_QUANT_H

#include <stdbool.h>

#include "nn/loops_emit.h"

/* 32 columns of LANES rows, w[j] holding columns 4j..4j+3. */
struct block {
    vb w[8];
    vf scale, min; /* an element is worth scale * (w - offset) + min */
};

struct format {
    size_t bytes; /* of a block in the file */
    /* Unpacks a block of LANES rows that are `stride` bytes apart. */
    void (*unpack)(const uint8_t *p, size_t stride, vb w[8], vf *scale, vf *min);
    /* sums + w * q, q's four bytes, in -127..127, going to every row. */
    vi (*dot)(vi sums, vb w, const int8_t *q);
    vf (*value)(vi coarse, vi fine); /* quant_step * coarse + fine */
    float offset;
    bool has_min; /* else `min` is not set */
};

static const struct format q4_0 = {18, unpack_q4_0, dot_q4, value_q4, 8, false};
static const struct format q4_1 = {20, unpack_q4_1, dot_q4, value_q4, 0, true};
static const struct format q8_0 = {34, unpack_q8_0, dot_q8, value_q8, Q8_OFFSET, false};

/* A block's product with a token but for the token's scale. */
INLINE vf block_value(struct format f, const struct block *block, vi coarse, vi fine, float q_sum)
{
    vf dot = f.value(coarse, fine);

    if (f.has_min)
        return fma_(block->min, splat(q_sum), block->scale * dot);
    if (f.offset != 0)
        dot = fma_(splat(-f.offset), splat(q_sum), dot);
    return block->scale * dot;
}

/* Adds one block's products with `tokens` tokens from `token` on to their sums. */
INLINE void add_block(struct format f, const struct dhole__matmul *m, const struct block *block,
                      size_t b, size_t token, int tokens, vf *sum)
{
    size_t blocks = m->cols / dhole__quant_block;
    const int8_t *q = m->q + 2 * (token * m->cols + b * dhole__quant_block);
    const float *x_scale = m->scale + token * blocks + b, *q_sum = m->q_sum + token * blocks + b;
    vi coarse[TOKENS], fine[TOKENS];

    UNROLL
    for (int t = 0; t < tokens; t++)
        coarse[t] = fine[t] = (vi){0};
    UNROLL
    for (int j = 0; j < 8; j++) {
        vb w = block->w[j];
        UNROLL
        for (int t = 0; t < tokens; t++) {
            const int8_t *four = q + 2 * (size_t)t * m->cols + 4 * j;
            coarse[t] = f.dot(coarse[t], w, four);
            fine[t] = f.dot(fine[t], w, four + dhole__quant_block);
        }
    }
    UNROLL
    for (int t = 0; t < tokens; t++) {
        size_t at = (size_t)t * blocks;
        vf value = block_value(f, block, coarse[t], fine[t], q_sum[at]);
        sum[t] = fma_(value, splat(x_scale[at]), sum[t]);
    }
}

/* Asks for what lies between two addresses. */
INLINE void fetch(const uint8_t *p, const uint8_t *end)
{
    for (; p < end; p += 64)
        __builtin_prefetch(p, 0, 2);
}

/* One token: blocks go from the file to the sum in registers. LANES rows are too many
 * streams for the hardware to foresee, so the bytes from row `next` on are asked for, as many as
 * are used; rows that are pieces of longer ones gain nothing. */
INLINE void one_token(struct format f, const struct dhole__matmul *m, size_t row, size_t next)
{
    const uint8_t *p = m->weight + row * m->row_bytes, *ahead = m->weight + next * m->row_bytes;
    size_t blocks = m->cols / dhole__quant_block, unit = m->unit / dhole__quant_block;

    for (size_t b = 0; b < blocks;) {
        size_t end = least(b + unit, blocks);
        vf sum = splat(0);
        for (; b < end; b++, p += f.bytes, ahead += LANES * f.bytes) {
            struct block block;
            fetch(ahead, ahead + LANES * f.bytes);
            f.unpack(p, m->row_bytes, block.w, &block.scale, &block.min);
            add_block(f, m, &block, b, 0, 1, &sum);
        }
        emit_lanes(m, 0, row, sum);
    }
}

enum { chunk_blocks = 24 }; /* half of a first-level cache, with 16 lanes */

/* Some blocks of LANES rows, unpacked. */
struct chunk {
    struct block block[chunk_blocks];
    size_t start, end;
};

/* A chunk's part of a unit, start to end; y keeps the sums of a unit that goes on. */
INLINE void unit_tokens(struct format f, const struct dhole__matmul *m, const struct chunk *chunk,
                        size_t start, size_t end, bool first, bool last, size_t row, size_t token,
                        int tokens)
{
    float *y = m->y + token * m->stride + row;
    vf sum[TOKENS];

    UNROLL
    for (int t = 0; t < tokens; t++)
        sum[t] = first ? splat(0) : load(y + (size_t)t * m->stride);
    for (size_t b = start; b < end; b++)
        add_block(f, m, &chunk->block[b - chunk->start], b, token, tokens, sum);
    UNROLL
    for (int t = 0; t < tokens; t++) {
        if (last)
            emit_lanes(m, token + (size_t)t, row, sum[t]);
        else
            store(y + (size_t)t * m->stride, sum[t]);
    }
}

/* A unit may begin before a chunk and end after it, and a chunk may hold several. */
INLINE void chunk_tokens(struct format f, const struct dhole__matmul *m, const struct chunk *chunk,
                         size_t row, size_t token, int tokens)
{
    size_t blocks = m->cols / dhole__quant_block, unit = m->unit / dhole__quant_block;

    for (size_t b = chunk->start, end; b < chunk->end; b = end) {
        size_t first = b / unit * unit, last = least(first + unit, blocks);
        end = least(last, chunk->end);
        unit_tokens(f, m, chunk, b, end, b == first, end == last, row, token, tokens);
    }
}

/* Many tokens: each chunk is unpacked once. While tokens go through it, as many bytes as it has in
 * the file are asked for from row `next` on. */
INLINE void many_tokens(struct format f, const struct dhole__matmul *m, size_t row, size_t next)
{
    const uint8_t *p = m->weight + row * m->row_bytes, *ahead = m->weight + next * m->row_bytes;
    size_t blocks = m->cols / dhole__quant_block;
    struct chunk chunk;

    for (size_t b = 0; b < blocks; b = chunk.end) {
        size_t t = 0, bytes;
        chunk.start = b;
        chunk.end = least(b + chunk_blocks, blocks);
        for (struct block *to = chunk.block; b < chunk.end; b++, to++, p += f.bytes)
            f.unpack(p, m->row_bytes, to->w, &to->scale, &to->min);
        bytes = (chunk.end - chunk.start) * f.bytes * LANES * TOKENS / m->tokens;
        for (; t + TOKENS <= m->tokens; t += TOKENS, ahead += bytes) {
            fetch(ahead, ahead + bytes);
            chunk_tokens(f, m, &chunk, row, t, TOKENS);
        }
        for (; t + TOKENS / 2 <= m->tokens; t += TOKENS / 2)
            chunk_tokens(f, m, &chunk, row, t, TOKENS / 2);
        for (; t < m->tokens; t++)
            chunk_tokens(f, m, &chunk, row, t, 1);
    }
}

/* Rows row..row+LANES-1; `next` is a row that will be wanted soon. */
typedef void tile_fn(const struct dhole__matmul *m, size_t row, size_t next);

#define TILE(type)                                                                  \
    static void tile_##type(const struct dhole__matmul *m, size_t row, size_t next) \
    {                                                                               \
        if (m->tokens == 1)                                                         \
            one_token(type, m, row, next);                                          \
        else                                                                        \
            many_tokens(type, m, row, next);                                        \
    }

TILE(q4_0)
TILE(q4_1)
TILE(q8_0)

static struct dhole__matmul some_tokens(const struct dhole__matmul *m, size_t token, size_t count)
{
    struct dhole__matmul some = *m;
    size_t blocks = m->cols / dhole__quant_block;

    some.tokens = least(count, m->tokens - token);
    some.x += token * m->cols;
    some.q += 2 * token * m->cols;
    some.scale += token * blocks;
    some.q_sum += token * blocks;
    some.y += token * m->stride;
    if (m->total != NULL)
        some.total += token * m->stride;
    return some;
}

/* A row that is left over goes alone, in every lane of a tile of which one is kept. */
static void last_row(tile_fn *tile, const struct dhole__matmul *m, size_t row)
{
    for (size_t token = 0; token < m->tokens; token += TOKENS) {
        struct dhole__matmul some = some_tokens(m, token, TOKENS), alone = some;
        float y[TOKENS * LANES];
        double total[TOKENS * LANES] = {0};
        alone.weight += row * m->row_bytes;
        alone.row_bytes = 0;
        alone.stride = LANES;
        alone.y = y;
        alone.total = m->total != NULL ? total : NULL;
        tile(&alone, 0, 0);
        for (size_t t = 0; t < some.tokens; t++) {
            if (m->total != NULL)
                some.total[t * m->stride + row] += total[t * LANES];
            else
                some.y[t * m->stride + row] = y[t * LANES];
        }
    }
}

enum { strip_tokens = 128 }; /* whose activations stay in a second-level cache */

static void quant_rows(tile_fn *tile, const struct dhole__matmul *m, size_t first, size_t last)
{
    for (size_t token = 0; token < m->tokens; token += strip_tokens) {
        struct dhole__matmul strip = some_tokens(m, token, strip_tokens);
        size_t row = first;
        for (; row + LANES <= last; row += LANES)
            tile(&strip, row, least(row + 2 * LANES, last - LANES));
        for (; row < last; row++)
            last_row(tile, &strip, row);
    }
}

#endif
