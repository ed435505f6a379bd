/* What the engines share: a step is one pass of at most dhole__chunk_max tokens, which rank 0
 * announces to the others with a command. */
#ifndef DHOLE_INFER_ENGINE_H
#define DHOLE_INFER_ENGINE_H

#include <stdatomic.h>

#include "dhole/infer.h"
#include "infer/llama.h"

enum dhole__command_kind { DHOLE__COMMAND_END, DHOLE__COMMAND_STEP };

/* Sent as int32. A step carries its position, so nothing needs to be sent to start over. */
struct dhole__command {
    int32_t kind;
    int32_t position;
    int32_t count;
    int32_t last; /* 1: the step ends with logits */
    int32_t tokens[dhole__chunk_max];
};

enum { dhole__command_head = 4 }; /* int32 before the tokens */

struct dhole__engine_ops {
    /* What a rank holds. */
    dhole_err (*share)(const struct dhole__llama *model, int ranks, int rank,
                       struct dhole__share *out);

    bool sums; /* each layer's partial sums are added up over the group */

    /* Hands rank 0's command to the others. */
    dhole_err (*announce)(struct dhole_engine *engine, struct dhole__command *command);

    /* This rank's part of a step; logits {vocab} on rank 0 when command->last, else NULL. */
    dhole_err (*step)(struct dhole_engine *engine, const struct dhole__command *command,
                      float *logits);
};

extern const struct dhole__engine_ops dhole__engine_single, dhole__engine_tp, dhole__engine_pp;

struct dhole_engine {
    const struct dhole__engine_ops *ops;
    const dhole_model *file;
    const struct dhole__llama *model;
    dhole_group *group; /* NULL: alone */
    int rank, size;
    int context, position;
    struct dhole__stage *stage;
    float *head_shard; /* this rank's logits, where another rank has the whole */
    atomic_bool cancelled;
};

#endif
