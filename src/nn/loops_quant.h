/* Products with quantised weights; see kernels_loops.h. */
#ifndef DHOLE_NN_LOOPS_QUANT_H
#define DHOLE_NN_LOOPS_QUANT_H

#include <stdbool.h>

#include "nn/loops_emit.h"
#include "nn/tiles.h"

_Static_assert(dhole__tile_rows % LANES == 0, "a tile is a few vectors of rows");

/* 32 columns of LANES rows, w[j] holding columns 4j..4j+3. Where a format has pairs, w[8 + j] is
 * w[j] + 16 * w[4 + j]. */
struct block {
    vb w[UNPACKED];
    vf scale, min; /* an element is worth scale * (w - offset) + min */
};

struct format {
    /* Unpacks a block of LANES rows that are `stride` bytes apart. */
    void (*unpack)(const uint8_t *p, size_t stride, vb *w, vf *scale, vf *min);
    void (*load)(const uint8_t *p, vb *w); /* the same of a tile, without scale and minimum */
    /* sums + w * q, q's four bytes, in -127..127, going to every row. */
    vi (*dot)(vi sums, vb w, const int8_t *q);
    vi (*times_16)(vi sums);
    vf (*value)(vi high, vi low); /* 16 * high + low */
    size_t bytes;                 /* of a block in the file */
    float offset;
    bool has_min;   /* else `min` is not set */
    bool has_pairs; /* dot takes unsigned bytes then */
};

enum { four_columns = 4 * dhole__tile_rows }; /* bytes of a tile */

INLINE void load_q4(const uint8_t *p, vb *w)
{
    for (int j = 0; j < 4; j++)
        load_nibbles(p + j * four_columns, w + j);
}

INLINE void load_q8(const uint8_t *p, vb *w)
{
    for (int j = 0; j < 8; j++)
        w[j] = load_bytes(p + j * four_columns);
}

static const struct format q4_0 = {unpack_q4_0, load_q4, dot_q4, times_16_q4, value_q4,
                                   18,          8,       false,  HAS_PAIRS};
static const struct format q4_1 = {unpack_q4_1, load_q4, dot_q4, times_16_q4, value_q4,
                                   20,          0,       true,   HAS_PAIRS};
static const struct format q8_0 = {unpack_q8_0, load_q8,   dot_q8, times_16_q8, value_q8,
                                   34,          Q8_OFFSET, false,  false};

/* LANES rows of a weight from their first block on. */
struct rows {
    const uint8_t *p;
    size_t lane; /* within the tile */
};

INLINE struct rows rows_at(const struct dhole__matmul *m, size_t row)
{
    size_t lane = m->tiled ? row % dhole__tile_rows : 0;

    return (struct rows){m->weight + (row - lane) * m->row_bytes, lane};
}

/* Unpacks a block of them and steps to the next. */
INLINE void next_block(struct format f, const struct dhole__matmul *m, bool tiled,
                       struct rows *rows, struct block *block)
{
    const uint8_t *p = rows->p;

    if (!tiled) {
        f.unpack(p, m->row_bytes, block->w, &block->scale, &block->min);
        rows->p += f.bytes;
        return;
    }
    block->scale = load_f16(p + 2 * rows->lane);
    p += 2 * dhole__tile_rows;
    if (f.has_min) {
        block->min = load_f16(p + 2 * rows->lane);
        p += 2 * dhole__tile_rows;
    }
    f.load(p + 4 * rows->lane, block->w);
    rows->p += dhole__tile_rows * f.bytes;
}

/* A block's product with a token but for the token's scale. */
INLINE vf block_value(struct format f, const struct block *block, vi high, vi low, float q_sum)
{
    vf dot = f.value(high, low);

    if (f.has_min)
        return fma_(block->min, splat(q_sum), block->scale * dot);
    if (f.offset != 0)
        dot = fma_(splat(-f.offset), splat(q_sum), dot);
    return block->scale * dot;
}

/* Adds the products of the fine bytes at q, which are `stride` bytes apart from token to token. */
INLINE void add_fine(struct format f, const vb *w, const int8_t *q, size_t stride, int tokens,
                     vi *high, vi *low)
{
    UNROLL
    for (int j = 0; j < 4; j++) {
        UNROLL
        for (int t = 0; t < tokens; t++) {
            const int8_t *four = q + (size_t)t * stride + 4 * j;
            if (f.has_pairs) {
                low[t] = f.dot(low[t], w[8 + j], four);
            } else {
                high[t] = f.dot(high[t], w[4 + j], four);
                low[t] = f.dot(low[t], w[j], four);
            }
        }
    }
}

/* Adds one block's products with `tokens` tokens from `token` on to their sums. */
INLINE void add_block(struct format f, const struct dhole__matmul *m, const struct block *block,
                      size_t b, size_t token, int tokens, vf *sum)
{
    size_t blocks = m->cols / dhole__quant_block, stride = blocks * sizeof *m->act;
    const struct dhole__act_block *x = m->act + token * blocks + b;
    vi high[TOKENS], low[TOKENS];

    UNROLL
    for (int t = 0; t < tokens; t++)
        high[t] = low[t] = (vi){0};
    UNROLL
    for (int j = 0; j < 8; j++) {
        UNROLL
        for (int t = 0; t < tokens; t++)
            high[t] = f.dot(high[t], block->w[j], x[(size_t)t * blocks].coarse + 4 * j);
    }
    UNROLL
    for (int t = 0; t < tokens; t++)
        high[t] = f.times_16(high[t]);
    add_fine(f, block->w, x->fine, stride, tokens, high, low);
    UNROLL
    for (int t = 0; t < tokens; t++) {
        const struct dhole__act_block *at = x + (size_t)t * blocks;
        vf value = block_value(f, block, high[t], low[t], at->sum);
        sum[t] = fma_(value, splat(at->scale), sum[t]);
    }
}

/* Asks for some bytes from address p on, which nothing may be at; to be used at once, or later. */
INLINE void fetch(uintptr_t p, size_t bytes, bool soon)
{
    for (uintptr_t end = p + bytes; p < end; p += 64) {
        if (soon)
            __builtin_prefetch((const void *)p, 0, 3);
        else
            __builtin_prefetch((const void *)p, 0, 2);
    }
}

enum { soon_bytes = 4 << 10 };

/* One token: blocks go from memory to the sum in registers, and meanwhile as many bytes as they
 * have are asked for. LANES rows of a file are too many streams for the hardware to foresee, so
 * that is from row `next` on; rows that are pieces of longer ones gain nothing. Tiles are one
 * stream, and what is behind the last one is asked for too: most likely it is the next weight. */
INLINE void one_token(struct format f, const struct dhole__matmul *m, size_t row, size_t next,
                      bool tiled)
{
    struct rows rows = rows_at(m, row);
    size_t blocks = m->cols / dhole__quant_block, unit = m->unit / dhole__quant_block;
    uintptr_t ahead = (uintptr_t)m->weight + next * m->row_bytes;

    if (tiled)
        ahead = (uintptr_t)m->weight + row * m->row_bytes + soon_bytes;
    for (size_t b = 0; b < blocks;) {
        size_t end = least(b + unit, blocks);
        vf sum = splat(0);
        for (; b < end; b++, ahead += LANES * f.bytes) {
            struct block block;
            fetch(ahead, LANES * f.bytes, tiled);
            next_block(f, m, tiled, &rows, &block);
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
    struct rows rows = rows_at(m, row);
    uintptr_t ahead = (uintptr_t)m->weight + next * m->row_bytes;
    size_t blocks = m->cols / dhole__quant_block;
    struct chunk chunk;

    for (size_t b = 0; b < blocks; b = chunk.end) {
        size_t t = 0, bytes;
        chunk.start = b;
        chunk.end = least(b + chunk_blocks, blocks);
        for (struct block *to = chunk.block; b < chunk.end; b++, to++)
            next_block(f, m, m->tiled, &rows, to);
        bytes = (chunk.end - chunk.start) * f.bytes * LANES * TOKENS / m->tokens;
        for (; t + TOKENS <= m->tokens; t += TOKENS, ahead += bytes) {
            fetch(ahead, bytes, false);
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
        if (m->tokens > 1)                                                          \
            many_tokens(type, m, row, next);                                        \
        else if (m->tiled)                                                          \
            one_token(type, m, row, next, true);                                    \
        else                                                                        \
            one_token(type, m, row, next, false);                                   \
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
    some.act += token * blocks;
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
