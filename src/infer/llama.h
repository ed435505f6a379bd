/* The forward pass of a Llama (arXiv:2302.13971) over the share of it that one rank holds.
 *
 * Activations are f32. Between calls the stage keeps x: {tokens, hidden}, the residual
 * stream, which a pipeline reads and writes from outside. */
#ifndef DHOLE_INFER_LLAMA_H
#define DHOLE_INFER_LLAMA_H

#include "dhole/group.h"
#include "infer/shard.h"
#include "model/llama.h"

/* Tokens per pass at most, which bounds the memory of the activations. */
enum { dhole__chunk_max = 128 };

struct dhole__stage;

struct dhole__stage_options {
    struct dhole__share share;
    dhole_group *sum_group; /* whose ranks add up each layer's partial sums; NULL: alone */
    int threads;
    int context;
};

DHOLE__MUST_CHECK dhole_err dhole__stage_create(const struct dhole__llama *model,
                                                const struct dhole__stage_options *options,
                                                struct dhole__stage **out);
void dhole__stage_free(struct dhole__stage *stage);

/* {dhole__chunk_max, hidden} */
float *dhole__stage_x(struct dhole__stage *stage);

/* x = the embeddings of `count` tokens, all of the vocabulary. */
void dhole__stage_embed(struct dhole__stage *stage, const int32_t *tokens, size_t count);

/* Sends x through the layers that this rank holds, at positions pos..pos+count-1. */
DHOLE__MUST_CHECK dhole_err dhole__stage_layers(struct dhole__stage *stage, int pos, size_t count);

/* logits: one per row of the head that this rank holds, of the token in row `last` of x. */
void dhole__stage_head(struct dhole__stage *stage, size_t last, float *logits);

#endif
