/* Element-wise steps between the linear layers; every array is {tokens, n} f32. */
#ifndef DHOLE_NN_OPS_H
#define DHOLE_NN_OPS_H

#include "nn/pool.h"

/* out = x / sqrt(mean(x^2) + eps) * weight (RMSNorm, arXiv:1910.07467); weight: {n}. */
void dhole__rms_norm(struct dhole__pool *pool, const float *x, const float *weight, float eps,
                     size_t n, size_t tokens, float *out);

/* gate = silu(gate) * up (SwiGLU, arXiv:2002.05202). */
void dhole__swiglu(struct dhole__pool *pool, float *gate, const float *up, size_t n);

/* x += y. */
void dhole__add(float *x, const float *y, size_t n);

#endif
