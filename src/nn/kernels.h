/* The inner loops, once per instruction set.
 *
 * Every set follows kernels_loops.h, so each result is one fixed sequence of operations on
 * its row and token. Sets differ from each other in the last bits, as they have more or
 * fewer lanes; calls on one set never do. */
#ifndef DHOLE_NN_KERNELS_H
#define DHOLE_NN_KERNELS_H

#include <stdbool.h>

#include "model/tensor.h"

enum {
    dhole__quant_block = 32,  /* elements per block of every quantised type, and of activations */
    dhole__kv_block = 32,     /* positions per block of keys */
    dhole__head_dim_max = 512 /* bounds the buffers of one attention call */
};

/* 32 activations of 12 bits in bytes, as integer dot products take bytes. Times `scale`,
 *   element i is       256 * coarse[i] + fine[i]            for i < 16,
 *   element 16 + i is  256 * coarse[16 + i] + 16 * fine[i],
 * so a fine byte serves two elements. Weights of 4 bits hold the same two in a byte: w_i + 16
 * w_(16+i) times fine[i] is what both get from it, and three products make two elements. */
struct dhole__act_block {
    int8_t coarse[dhole__quant_block], fine[dhole__quant_block / 2]; /* -127..127 */
    float scale;
    float sum; /* of the 32 integers */
};

/* y = W x for some rows of W and some tokens. */
struct dhole__matmul {
    enum dhole__ttype type;
    const uint8_t *weight; /* the first row's first column, at any alignment */
    size_t row_bytes;      /* from one row to the next */
    bool tiled;            /* the weight is in tiles instead (tiles.h), of the same size */
    size_t cols, unit;     /* columns; columns per partial sum, cols when there is one */

    size_t tokens;
    const float *x;                     /* {tokens, cols}, for float weights */
    const struct dhole__act_block *act; /* {tokens, cols / 32}, for quantised weights */

    size_t stride; /* elements from one token to the next in y and total */
    float *y;
    double *total; /* NULL, or receives += each unit's product rounded to the grid (linear.h);
                    * y is then scratch of the same shape */
};

/* Attention of one KV head; queries and outputs are those of its group. */
struct dhole__attend {
    int head_dim, group, pos;
    size_t v_stride;   /* head_dim rounded up to 16; the rest of a row is zero */
    const uint16_t *k; /* f16 {positions / 32, head_dim, 32} */
    const uint16_t *v; /* f16 {positions, v_stride} */
    float scale;       /* on the products of queries and keys */
    size_t stride;     /* floats from one token to the next in q and out */
    const float *q;    /* {tokens, group, head_dim} */
    float *out;
};

struct dhole__kernels {
    const char *name;

    /* To the nearest of 12 bits; with 8, the best token of a 4-bit model changes at one position in
     * twenty. */
    void (*quantise)(const float *x, size_t blocks, struct dhole__act_block *out);

    /* Rows first..last-1. */
    void (*matmul)(const struct dhole__matmul *m, size_t first, size_t last);

    /* Tokens first..last-1, the first of all being at position pos. */
    void (*attend)(const struct dhole__attend *a, size_t first, size_t last);

    /* To f16, to nearest even; what does not fit saturates. */
    void (*to_f16)(const float *x, size_t n, uint16_t *out);

    void (*rms_norm)(const float *x, const float *weight, float eps, size_t n, float *out);
    void (*swiglu)(float *gate, const float *up, size_t n);
};

/* The set in use: the best that this processor has, or the one that DHOLE_KERNELS
 * names. Chosen at the first call; any thread. */
const struct dhole__kernels *dhole__kernels(void);

#if defined(__x86_64__)
extern const struct dhole__kernels dhole__kernels_avx2, dhole__kernels_avx512;
#elif defined(__aarch64__)
extern const struct dhole__kernels dhole__kernels_neon;
#endif
extern const struct dhole__kernels dhole__kernels_portable;

#endif
