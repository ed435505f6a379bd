/* Tensor-parallel: every rank computes its share of each layer (Megatron-LM,
 * arXiv:1909.08053), with two sums over the ranks a layer. All ranks hold the file, so each looks
 * up the embeddings itself; the head's rows are dealt out, and rank 0 collects the logits. */
#include "infer/engine.h"

static dhole_err announce(dhole_engine *e, struct dhole__command *command)
{
    return dhole_broadcast(e->group, command, sizeof *command / sizeof(int32_t), DHOLE_I32, 0);
}

/* Rank 0 has its own rows at the front; the others' follow in order of rank. */
static dhole_err collect_logits(dhole_engine *e, float *logits)
{
    for (int r = 1; r < e->size; r++) {
        struct dhole__share theirs;
        dhole_err err = dhole__share_tp(e->model, e->size, r, &theirs);
        if (err == DHOLE_OK)
            err =
                dhole_recv(e->group, logits + theirs.vocab.first, theirs.vocab.count, DHOLE_F32, r);
        if (err)
            return err;
    }
    return DHOLE_OK;
}

static dhole_err send_logits(dhole_engine *e)
{
    struct dhole__share mine;
    dhole_err err = dhole__share_tp(e->model, e->size, e->rank, &mine);

    if (err)
        return err;
    return dhole_send(e->group, e->head_shard, mine.vocab.count, DHOLE_F32, 0);
}

static dhole_err step(dhole_engine *e, const struct dhole__command *command, float *logits)
{
    size_t count = (size_t)command->count;
    dhole_err err;

    dhole__stage_embed(e->stage, command->tokens, count);
    err = dhole__stage_layers(e->stage, command->position, count);
    if (err || !command->last)
        return err;
    dhole__stage_head(e->stage, count - 1, e->rank == 0 ? logits : e->head_shard);
    return e->rank == 0 ? collect_logits(e, logits) : send_logits(e);
}

const struct dhole__engine_ops dhole__engine_tp = {
    .share = dhole__share_tp,
    .sums = true,
    .announce = announce,
    .step = step,
};
