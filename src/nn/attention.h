/* Rotary positions, the KV cache, and grouped-query attention, over the KV heads that
 * one rank holds. */
#ifndef DHOLE_NN_ATTENTION_H
#define DHOLE_NN_ATTENTION_H

#include "nn/pool.h"

struct dhole__attention_shape {
    int layers;   /* layers that this rank holds */
    int kv_heads; /* KV heads that this rank holds, >= 1 */
    int group;    /* query heads per KV head */
    int head_dim;
    int context;   /* longest sequence */
    int rope_dims; /* leading dimensions of a head that are rotated */
    float rope_base, rope_scale;
    const float *rope_freqs; /* rope_dims / 2 divisors, or NULL */
};

/* Keys and values of all positions so far, in f16, and the rotation tables. */
struct dhole__kv;

/* Memory is reserved for the whole context and touched as positions are used. */
DHOLE__MUST_CHECK dhole_err dhole__kv_create(const struct dhole__attention_shape *shape,
                                             struct dhole__kv **out);
void dhole__kv_free(struct dhole__kv *kv);

/* Rotates q and k at positions pos..pos+tokens-1 (RoFormer, arXiv:2104.09864; pairs
 * are neighbours, as GGUF stores Llama), stores k and v of `layer` (0-based among the
 * layers held), and attends causally:
 *   q   {tokens, kv_heads * group * head_dim} f32, rotated in place
 *   k,v {tokens, kv_heads * head_dim} f32, k rotated in place
 *   out {tokens, kv_heads * group * head_dim} f32
 * pos + tokens <= context. The bits do not depend on how tokens are batched. */
void dhole__attention(struct dhole__kv *kv, struct dhole__pool *pool, int layer, int pos,
                      int tokens, float *q, float *k, const float *v, float *out);

#endif
