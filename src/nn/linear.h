/* Linear layers y = W x straight on the quantised blocks of a model file, whole or as
 * one rank's shard (the two kinds of Megatron-LM, arXiv:1909.08053).
 *
 * The same bits for any batch size, thread count and split. Each product of a row and
 * a token runs the same operations in the same order however many tokens go along.
 * A sharded-to-all layer sums over columns that different ranks hold, so there the
 * columns are cut into units of fixed size; a unit's product, which always lies within one
 * rank, is rounded to a fixed grid (a multiple of 2^-24), and sums of such values in
 * f64 are exact as long as they stay below 2^28, hence do not depend on their order
 * (pre-rounding: Demmel and Nguyen, "Fast Reproducible Floating-Point Summation",
 * ARITH 2013). */
#ifndef DHOLE_NN_LINEAR_H
#define DHOLE_NN_LINEAR_H

#include <stdbool.h>

#include "dhole/group.h"
#include "model/tensor.h"
#include "nn/pool.h"

/* Activations of a few tokens, as f32 for float weights, and for quantised ones in blocks of
 * 32 of 12 bits each (kernels.h): set once, used by several layers. */
struct dhole__act;

DHOLE__MUST_CHECK dhole_err dhole__act_create(size_t max_n, size_t max_tokens,
                                              struct dhole__act **out);

/* x: {tokens, n} f32, contiguous; it must stay unchanged while the act is used. n is a multiple of
 * 32 when a quantised weight is to be applied. */
void dhole__act_set(struct dhole__act *act, struct dhole__pool *pool, const float *x, size_t n,
                    size_t tokens);

void dhole__act_free(struct dhole__act *act);

/* A view of rows [row, row + rows) and columns [col, col + cols) of a weight. */
struct dhole__linear {
    struct dhole__tensor weight;
    size_t row, rows;
    size_t col, cols;
    size_t unit; /* columns per exact partial sum; 0: not a sharded-to-all layer */
    bool tiled;  /* packed in tiles */
};

/* Each rank computes some of the outputs from the whole input. */
DHOLE__MUST_CHECK dhole_err dhole__linear_all_to_sharded(const struct dhole__tensor *weight,
                                                         size_t row, size_t rows,
                                                         struct dhole__linear *out);

/* Each rank holds some of the inputs; the outputs are summed over the ranks. col and
 * cols are multiples of unit (the last unit of the weight may be short), and unit is one of the
 * weight's block size: DHOLE_ERR_INVALID otherwise. cols may be 0. */
DHOLE__MUST_CHECK dhole_err dhole__linear_sharded_to_all(const struct dhole__tensor *weight,
                                                         size_t col, size_t cols, size_t unit,
                                                         struct dhole__linear *out);

/* Copies the linear's part of the weight to memory of the caller's, in tiles if it can be
 * (tiles.h), and has it read from there. A shard's rows or pieces of rows lie scattered over the
 * file, and memory delivers their surroundings too: halves of rows take as long to read as whole
 * ones. */
size_t dhole__linear_packed_size(const struct dhole__linear *linear);
void dhole__linear_pack(struct dhole__linear *linear, void *to);

/* y[t * stride + r] = row (row + r) of W times token t; act->n == cols. For layers with
 * unit == 0. */
void dhole__linear_apply(const struct dhole__linear *linear, struct dhole__pool *pool,
                         const struct dhole__act *act, float *y, size_t stride);

/* y: {tokens, rows} f32, the same bits on every rank of the group (NULL: alone). act holds
 * this rank's columns only. scratch: {tokens, rows} f64. Fails as the group's all_sum. */
DHOLE__MUST_CHECK dhole_err dhole__linear_apply_sum(const struct dhole__linear *linear,
                                                    struct dhole__pool *pool, dhole_group *group,
                                                    const struct dhole__act *act, double *scratch,
                                                    float *y);

/* One row of a weight as f32 (an embedding look-up); out: {shape[0]}. */
void dhole__tensor_row(const struct dhole__tensor *weight, size_t row, float *out);

/* The instruction set that the kernels use, such as "avx512-vnni"; chosen once at run
 * time, or forced by DHOLE_KERNELS=portable|avx2|avx512|neon for tests. */
const char *dhole__kernels_name(void);

#endif
