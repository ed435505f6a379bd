/* Attention of one KV head: softmax(q k^T) v, positions in chunks from 0 on with a
 * running maximum (Milakov and Gimelshein, arXiv:1805.02867), queries in blocks that
 * share the loads of keys and values. A query's arithmetic does not depend on its block: beyond
 * its own position weights are 0 and factors 1. */
#ifndef DHOLE_NN_LOOPS_ATTEND_H
#define DHOLE_NN_LOOPS_ATTEND_H

#include <math.h>

#include "nn/kernels.h"
#include "nn/loops_vector.h"

enum { chunk_positions = 4 * dhole__kv_block };

struct query {
    const float *q;
    float *out;
    int length; /* positions that it sees */
    float max, sum;
    float weight[chunk_positions]; /* of the current chunk: scores, then e^(score - max) */
    float value[dhole__head_dim_max];
};

/* Scores of the positions of one chunk, `blocks` blocks of keys. */
INLINE void score(const struct dhole__attend *a, struct query *query, int queries,
                  const uint16_t *k, size_t blocks)
{
    for (size_t at = 0; at < blocks * dhole__kv_block; at += 2 * LANES) {
        const uint16_t *block =
            k + at / dhole__kv_block * (size_t)a->head_dim * dhole__kv_block + at % dhole__kv_block;
        vf sum[QUERIES][2];
        UNROLL
        for (int i = 0; i < queries; i++)
            sum[i][0] = sum[i][1] = splat(0);
        for (int d = 0; d < a->head_dim; d++, block += dhole__kv_block) {
            vf k0 = load_f16(block), k1 = load_f16(block + LANES);
            UNROLL
            for (int i = 0; i < queries; i++) {
                vf q = splat(query[i].q[d]);
                sum[i][0] = fma_(q, k0, sum[i][0]);
                sum[i][1] = fma_(q, k1, sum[i][1]);
            }
        }
        UNROLL
        for (int i = 0; i < queries; i++) {
            store(query[i].weight + at, sum[i][0] * splat(a->scale));
            store(query[i].weight + at + LANES, sum[i][1] * splat(a->scale));
        }
    }
}

/* Scores of `seen` positions to weights, 0 up to `count`; scales what was summed before to
 * the new maximum. */
INLINE void soften(struct query *query, int seen, int count, size_t dims)
{
    int end = (seen + LANES - 1) / LANES * LANES;
    vf most = splat(query->max), sum = splat(0);

    for (int i = seen; i < end; i++)
        query->weight[i] = -INFINITY;
    for (int i = 0; i < end; i += LANES)
        most = max_(most, load(query->weight + i));
    float max = max_lanes(most);
    for (int i = 0; i < end; i += LANES) {
        vf e = exp_(load(query->weight + i) - splat(max));
        store(query->weight + i, e);
        sum = sum + e;
    }
    for (int i = end; i < count; i++)
        query->weight[i] = 0;
    float part[LANES];
    store(part, exp_(splat(query->max - max)));
    query->sum = query->sum * part[0] + add_lanes(sum);
    query->max = max;
    for (size_t d = 0; d < dims; d += LANES)
        store(query->value + d, load(query->value + d) * splat(part[0]));
}

/* Adds the weighted values of `count` positions, vectors d..d+dims-1 of each. */
INLINE void add_values(const struct dhole__attend *a, struct query *query, int queries,
                       const uint16_t *v, int count, size_t d, int dims)
{
    vf sum[QUERIES][DIMS];

    v += d;
    UNROLL
    for (int i = 0; i < queries; i++) {
        UNROLL
        for (int j = 0; j < dims; j++)
            sum[i][j] = load(query[i].value + d + j * LANES);
    }
    for (int p = 0; p < count; p++, v += a->v_stride) {
        vf value[DIMS];
        UNROLL
        for (int j = 0; j < dims; j++)
            value[j] = load_f16(v + j * LANES);
        UNROLL
        for (int i = 0; i < queries; i++) {
            vf weight = splat(query[i].weight[p]);
            UNROLL
            for (int j = 0; j < dims; j++)
                sum[i][j] = fma_(weight, value[j], sum[i][j]);
        }
    }
    UNROLL
    for (int i = 0; i < queries; i++) {
        UNROLL
        for (int j = 0; j < dims; j++)
            store(query[i].value + d + j * LANES, sum[i][j]);
    }
}

INLINE void attend_queries(const struct dhole__attend *a, struct query *query, int queries)
{
    int longest = query[queries - 1].length;

    for (int start = 0; start < longest; start += chunk_positions) {
        int count = (int)least(chunk_positions, (size_t)(longest - start));
        size_t blocks = ((size_t)count + dhole__kv_block - 1) / dhole__kv_block;
        score(a, query, queries, a->k + (size_t)start * (size_t)a->head_dim, blocks);
        for (int i = 0; i < queries; i++) {
            int seen = query[i].length - start;
            soften(&query[i], seen < 0 ? 0 : seen > count ? count : seen, count, a->v_stride);
        }
        const uint16_t *v = a->v + (size_t)start * a->v_stride;
        size_t d = 0;
        for (; d + DIMS * LANES <= a->v_stride; d += DIMS * LANES)
            add_values(a, query, queries, v, count, d, DIMS);
        for (; d < a->v_stride; d += LANES)
            add_values(a, query, queries, v, count, d, 1);
    }
}

static void begin_query(const struct dhole__attend *a, size_t index, struct query *query)
{
    size_t token = index / (size_t)a->group, head = index % (size_t)a->group;
    size_t at = token * a->stride + head * (size_t)a->head_dim;

    query->q = a->q + at;
    query->out = a->out + at;
    query->length = a->pos + (int)token + 1;
    query->max = -INFINITY;
    query->sum = 0;
    memset(query->value, 0, a->v_stride * sizeof *query->value);
}

static void end_query(const struct dhole__attend *a, struct query *query)
{
    float inverse = 1 / query->sum;

    for (int d = 0; d < a->head_dim; d++)
        query->out[d] = query->value[d] * inverse;
}

static void attend(const struct dhole__attend *a, size_t first, size_t last)
{
    size_t end = last * (size_t)a->group, queries;
    struct query query[QUERIES];

    for (size_t index = first * (size_t)a->group; index < end; index += queries) {
        queries = end - index >= QUERIES ? QUERIES : least(4, end - index);
        for (size_t i = 0; i < queries; i++)
            begin_query(a, index + i, &query[i]);
        switch (queries) {
        case 1: attend_queries(a, query, 1); break;
        case 2: attend_queries(a, query, 2); break;
        case 3: attend_queries(a, query, 3); break;
        case 4: attend_queries(a, query, 4); break;
        default: attend_queries(a, query, QUERIES); break;
        }
        for (size_t i = 0; i < queries; i++)
            end_query(a, &query[i]);
    }
}

#endif
