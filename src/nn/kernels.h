/* The inner loops, once per instruction set.
 *
 * Every set follows kernels_loops.h, so each result is one fixed sequence of operations on
 * its row and token. Sets differ from each other in the last bits, as they have more or
 * fewer lanes; calls on one set never do. */
#ifndef DHOLE_NN_KERNELS_H
#define DHOLE_NN_KERNELS_H

#include "model/tensor.h"

enum {
    dhole__quant_block = 32,  /* elements per block of every quantised type, and of activations */
    dhole__quant_step = 254,  /* an activation is 254 * coarse + fine, times its block's scale */
    dhole__kv_block = 32,     /* positions per block of keys */
    dhole__head_dim_max = 512 /* bounds the buffers of one attention call */
};

/* y = W x for some rows of W and some tokens. */
struct dhole__matmul {
    enum dhole__ttype type;
    const uint8_t *weight; /* the first row's first column, at any alignment */
    size_t row_bytes;      /* from one row to the next */
    size_t cols, unit;     /* columns; columns per partial sum, cols when there is one */

    size_t tokens;
    const float *x;     /* {tokens, cols}, for float weights */
    const int8_t *q;    /* {tokens, cols / 32, 2, 32}: coarse, fine; for quantised weights */
    const float *scale; /* {tokens, cols / 32} */
    const float *q_sum; /* {tokens, cols / 32}: sums of 254 * coarse + fine, integers */

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

    /* Blocks of 32 floats to twice 8 bits: coarse = round(x * 127 / max|x|), and fine = what that
     * leaves, in steps 254 times finer. One term alone is too rough for 4-bit models: the best
     * token changes at one position in twenty. */
    void (*quantise)(const float *x, size_t blocks, int8_t *q, float *scale, float *q_sum);

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
