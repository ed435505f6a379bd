/* The Llama architecture as a model file describes it: hyperparameters from the
 * metadata, weights by name, every shape checked against them. */
#ifndef DHOLE_MODEL_LLAMA_H
#define DHOLE_MODEL_LLAMA_H

#include "dhole/model.h"
#include "model/tensor.h"

struct dhole__llama_layer {
    struct dhole__tensor attn_norm;   /* {hidden} F32 */
    struct dhole__tensor q;           /* {hidden, heads * head_dim} */
    struct dhole__tensor k, v;        /* {hidden, kv_heads * head_dim} */
    struct dhole__tensor attn_output; /* {heads * head_dim, hidden} */
    struct dhole__tensor ffn_norm;    /* {hidden} F32 */
    struct dhole__tensor gate, up;    /* {hidden, ffn} */
    struct dhole__tensor down;        /* {ffn, hidden} */
};

struct dhole__llama {
    int layers, hidden, heads, kv_heads, head_dim, ffn, vocab, context;
    int rope_dims;           /* leading dimensions of a head that are rotated, even */
    float rope_base;         /* 10000 when the file has none */
    float rope_scale;        /* positions are multiplied by it: 1 / linear scaling factor */
    const float *rope_freqs; /* rope_dims / 2 divisors of the frequencies, or NULL */
    float norm_eps;
    struct dhole__tensor embedding;   /* {hidden, vocab} */
    struct dhole__tensor output_norm; /* {hidden} F32 */
    struct dhole__tensor output;      /* {hidden, vocab}; the embedding when tied */
    struct dhole__llama_layer *layer; /* [layers] */
};

/* The model's own; valid until dhole_model_close. Never NULL: dhole_model_open
 * refuses a file that it cannot describe. */
const struct dhole__llama *dhole__model_llama(const dhole_model *model);

#endif
