/* Running a model: alone, tensor-parallel or as a pipeline over a group. */
#ifndef DHOLE_INFER_H
#define DHOLE_INFER_H

#include <stddef.h>
#include <stdint.h>

#include "dhole/group.h"
#include "dhole/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum dhole_parallel {
    DHOLE_PARALLEL_AUTO,
    DHOLE_PARALLEL_SINGLE,
    DHOLE_PARALLEL_TP, /* every rank computes a share of each layer */
    DHOLE_PARALLEL_PP  /* each rank holds a run of layers */
} dhole_parallel;

/* A model ready to run on this rank: its share of the weights and its KV cache. */
typedef struct dhole_engine dhole_engine;

typedef struct dhole_engine_options {
    dhole_parallel parallel;
    int threads; /* of this rank; 0: the processors it may use */
    int context; /* longest sequence; 0: the model's, at most 8192 */
} dhole_engine_options;

/* Decides AUTO without side effects: *chosen is never AUTO, and reason (of at most size bytes) says
 * why in words. An explicit choice is never changed: DHOLE_ERR_UNSUPPORTED or DHOLE_ERR_INVALID
 * says why it cannot be. */
dhole_err dhole_parallel_choose(const dhole_model *model, int ranks, dhole_parallel wanted,
                                dhole_parallel *chosen, char *reason, size_t size);

/* "auto", "single", "tp", "pp". */
const char *dhole_parallel_name(dhole_parallel parallel);

/* Every rank of the group calls this with the same options (threads may differ), else
 * DHOLE_ERR_MISMATCH. What one rank cannot do is that rank's error on all, which name it. group
 * NULL is a single rank. Model and group must outlive the engine, which sets the group's deadlines
 * from here on: 10 minutes a step; without limit, other than the group's own watch over its peers,
 * for a rank that waits for work. */
dhole_err dhole_engine_create(const dhole_model *model, dhole_group *group,
                              const dhole_engine_options *options, dhole_engine **out);

/* On rank 0 this also ends dhole_engine_serve on the others. NULL is allowed. */
void dhole_engine_free(dhole_engine *engine);

/* Ranks other than 0: serve rank 0's calls until it frees its engine (DHOLE_OK) or is lost
 * (DHOLE_ERR_PEER_LOST). */
dhole_err dhole_engine_serve(dhole_engine *engine);

/* Rank 0: feeds count tokens at the present position. logits: {vocab} f32 of the last
 * token. The engine is unchanged after DHOLE_ERR_LIMIT (they do not fit the context) and
 * DHOLE_ERR_INVALID (none, or one that is not in the vocabulary). */
dhole_err dhole_engine_forward(dhole_engine *engine, const int32_t *tokens, size_t count,
                               float *logits);

/* Rank 0: the number of tokens fed, and back to 0. */
int dhole_engine_position(const dhole_engine *engine);
dhole_err dhole_engine_reset(dhole_engine *engine);

/* Any thread, or a signal handler: the forward pass that runs, or else the next one, ends within
 * 128 tokens with DHOLE_ERR_CANCELLED, and so do all later ones until dhole_engine_reset. */
void dhole_engine_cancel(dhole_engine *engine);

/* How the next token is chosen: greedy when temperature is 0. */
typedef struct dhole_sampling {
    float temperature; /* >= 0 */
    int top_k;         /* 0: off */
    float top_p;       /* in (0, 1]; 1: off */
    uint64_t seed;     /* the same seed gives the same text */
} dhole_sampling;

typedef enum dhole_stop {
    DHOLE_STOP_END,     /* end-of-text token */
    DHOLE_STOP_LENGTH,  /* max_tokens */
    DHOLE_STOP_CONTEXT, /* the context is full */
    DHOLE_STOP_CALLER   /* on_token said so, or dhole_engine_cancel */
} dhole_stop;

/* "end", "length", "context", "interrupted". */
const char *dhole_stop_name(dhole_stop stop);

typedef struct dhole_generation {
    size_t prompt_tokens, generated;
    size_t decode_steps; /* forward passes of one token that decode_seconds covers */
    double prefill_seconds, decode_seconds;
    dhole_stop stop;
} dhole_generation;

/* Called for each new token in order (the end token excluded), with its logits ({vocab}); non-zero
 * stops. */
typedef int (*dhole_on_token)(void *arg, int32_t token, const float *logits);

/* Rank 0: feeds the prompt and generates up to max_tokens. A prompt that does not fit the
 * context is DHOLE_ERR_LIMIT; an empty one DHOLE_ERR_INVALID. */
dhole_err dhole_generate(dhole_engine *engine, const int32_t *prompt, size_t count,
                         size_t max_tokens, const dhole_sampling *sampling, dhole_on_token on_token,
                         void *arg, dhole_generation *result);

#ifdef __cplusplus
}
#endif
#endif
