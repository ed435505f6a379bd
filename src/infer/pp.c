/* Pipeline: activations go from rank to rank, 0 -> 1 -> ... -> n-1, and the row that the
 * logits need goes back to rank 0, which holds both ends of the model.
 *
 * Rank 0 goes on with the next chunk of a prompt as soon as it has sent one, so the ranks work
 * side by side; it is held back by the sends when a later rank is slower. No cycle of blocked
 * sends can occur: within a prompt everything flows from a rank to a higher one, and
 * the row that flows back is sent when rank 0 has nothing left to send. */
#include "infer/engine.h"

static dhole_err announce(dhole_engine *e, struct dhole__command *command)
{
    if (e->rank > 0)
        return dhole_recv(e->group, command, dhole__command_head, DHOLE_I32, 0);
    for (int r = 1; r < e->size; r++) {
        dhole_err err = dhole_send(e->group, command, dhole__command_head, DHOLE_I32, r);
        if (err)
            return err;
    }
    return DHOLE_OK;
}

static dhole_err step_first(dhole_engine *e, const struct dhole__command *command, float *logits)
{
    size_t count = (size_t)command->count, hidden = (size_t)e->model->hidden;
    float *x = dhole__stage_x(e->stage);
    dhole_err err;

    dhole__stage_embed(e->stage, command->tokens, count);
    err = dhole__stage_layers(e->stage, command->position, count);
    if (err == DHOLE_OK)
        err = dhole_send(e->group, x, count * hidden, DHOLE_F32, 1);
    if (err || !command->last)
        return err;
    err = dhole_recv(e->group, x, hidden, DHOLE_F32, e->size - 1);
    if (err == DHOLE_OK)
        dhole__stage_head(e->stage, 0, logits);
    return err;
}

static dhole_err step_later(dhole_engine *e, const struct dhole__command *command)
{
    size_t count = (size_t)command->count, hidden = (size_t)e->model->hidden;
    float *x = dhole__stage_x(e->stage);
    dhole_err err = dhole_recv(e->group, x, count * hidden, DHOLE_F32, e->rank - 1);

    if (err == DHOLE_OK)
        err = dhole__stage_layers(e->stage, command->position, count);
    if (err)
        return err;
    if (e->rank < e->size - 1)
        return dhole_send(e->group, x, count * hidden, DHOLE_F32, e->rank + 1);
    if (command->last)
        return dhole_send(e->group, x + (count - 1) * hidden, hidden, DHOLE_F32, 0);
    return DHOLE_OK;
}

static dhole_err step(dhole_engine *e, const struct dhole__command *command, float *logits)
{
    return e->rank == 0 ? step_first(e, command, logits) : step_later(e, command);
}

const struct dhole__engine_ops dhole__engine_pp = {
    .share = dhole__share_pp,
    .announce = announce,
    .step = step,
};
