/* Choosing the next token from logits.
 *
 * The same logits and seed give the same tokens on every machine: only IEEE arithmetic, no
 * libm. */
#ifndef DHOLE_INFER_SAMPLING_H
#define DHOLE_INFER_SAMPLING_H

#include "base/error.h"
#include "dhole/infer.h"

struct dhole__sampler;

/* DHOLE_ERR_INVALID names an option that is out of range. */
DHOLE__MUST_CHECK dhole_err dhole__sampler_create(const dhole_sampling *options, size_t vocab,
                                                  struct dhole__sampler **out);
void dhole__sampler_free(struct dhole__sampler *sampler);

/* The token with the largest logit when temperature is 0, the lowest id among equals. Else one
 * drawn from softmax(logits / temperature), first cut to the top_k largest, and those to the
 * fewest that hold top_p of the probability. A NaN is never chosen while there is a number. */
int32_t dhole__sample(struct dhole__sampler *sampler, const float *logits);

#endif
