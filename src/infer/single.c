/* One rank computes everything. */
#include "infer/engine.h"

static dhole_err share(const struct dhole__llama *model, int ranks, int rank,
                       struct dhole__share *out)
{
    (void)ranks, (void)rank;
    dhole__share_whole(model, out);
    return DHOLE_OK;
}

static dhole_err announce(dhole_engine *e, struct dhole__command *command)
{
    (void)e, (void)command;
    return DHOLE_OK;
}

static dhole_err step(dhole_engine *e, const struct dhole__command *command, float *logits)
{
    size_t count = (size_t)command->count;
    dhole_err err;

    dhole__stage_embed(e->stage, command->tokens, count);
    err = dhole__stage_layers(e->stage, command->position, count);
    if (err == DHOLE_OK && command->last)
        dhole__stage_head(e->stage, count - 1, logits);
    return err;
}

const struct dhole__engine_ops dhole__engine_single = {
    .share = share,
    .announce = announce,
    .step = step,
};
