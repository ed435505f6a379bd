#include "infer/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "base/sys.h"

enum {
    default_context_max = 8192,
    step_timeout_ms = 10 * 60 * 1000,
    /* Waiting for work may take for ever; the group notices a lost rank 0 by itself. */
    idle_timeout_days = 1000
};

static const int64_t idle_timeout_ms = (int64_t)idle_timeout_days * 24 * 3600 * 1000;

static const struct dhole__engine_ops *ops_of(dhole_parallel parallel)
{
    switch (parallel) {
    case DHOLE_PARALLEL_TP: return &dhole__engine_tp;
    case DHOLE_PARALLEL_PP: return &dhole__engine_pp;
    default: return &dhole__engine_single;
    }
}

static dhole_err check_context(const struct dhole__llama *model, int context)
{
    if (context < 0 || context > model->context)
        return dhole__fail(DHOLE_ERR_INVALID,
                           "a context of %d tokens: the model goes from 1 to %d (0: the default)",
                           context, model->context);
    return DHOLE_OK;
}

static int context_of(const struct dhole__llama *model, const dhole_engine_options *options)
{
    if (options->context > 0)
        return options->context;
    return model->context < default_context_max ? model->context : default_context_max;
}

/* What each rank says of itself, exchanged as bytes; all but `status` must be the same. */
struct terms {
    int32_t status; /* a dhole_err: whether the rank can run its part */
    int32_t parallel, context;
    uint8_t model[32];
};

static dhole_err compare(const struct terms *a, int rank_a, const struct terms *b, int rank_b)
{
    if (a->status != DHOLE_OK)
        return dhole__fail((dhole_err)a->status, "rank %d cannot run its part of the model: %s",
                           rank_a, dhole_error_text((dhole_err)a->status));
    if (memcmp(a->model, b->model, sizeof a->model) != 0)
        return dhole__fail(DHOLE_ERR_MISMATCH,
                           "rank %d has another model file than rank %d: give all the same one",
                           rank_a, rank_b);
    if (a->parallel != b->parallel || a->context != b->context)
        return dhole__fail(
            DHOLE_ERR_MISMATCH, "rank %d runs %s with a context of %d, rank %d runs %s with %d",
            rank_a, dhole_parallel_name((dhole_parallel)a->parallel), (int)a->context, rank_b,
            dhole_parallel_name((dhole_parallel)b->parallel), (int)b->context);
    return DHOLE_OK;
}

/* Makes sure that all ranks are ready to run the same thing. A rank that is not, with the
 * failure `status`, tells the others and keeps its message. */
static dhole_err agree(const dhole_engine *e, dhole_parallel parallel, dhole_err status)
{
    struct terms all[dhole__ranks_max];
    struct terms *mine = &all[e->rank];
    char why[512];
    dhole_err err;

    snprintf(why, sizeof why, "%s", dhole_error_message());
    mine->status = (int32_t)status;
    mine->parallel = (int32_t)parallel;
    mine->context = e->context;
    dhole_model_digest(e->file, mine->model);
    err = dhole_all_gather(e->group, mine, all, sizeof *mine, DHOLE_U8);
    if (status != DHOLE_OK)
        return dhole__fail(status, "%s", why);
    for (int r = 0; err == DHOLE_OK && r < e->size; r++)
        err = compare(&all[r], r, mine, e->rank);
    return err;
}

static dhole_err create_stage(dhole_engine *e, int threads)
{
    struct dhole__stage_options options = {
        .sum_group = e->ops->sums ? e->group : NULL,
        .threads = threads != 0 ? threads : dhole__cpu_count(),
        .context = e->context,
    };
    dhole_err err = e->ops->share(e->model, e->size, e->rank, &options.share);

    if (err)
        return err;
    if (e->rank > 0 && options.share.vocab.count > 0) {
        size_t bytes = options.share.vocab.count * sizeof *e->head_shard;
        e->head_shard = dhole__sys.malloc(bytes);
        if (e->head_shard == NULL)
            return dhole__fail_nomem(bytes, "logits");
    }
    return dhole__stage_create(e->model, &options, &e->stage);
}

/* This rank's own part. */
static dhole_err prepare(dhole_engine *e, const dhole_engine_options *options,
                         dhole_parallel *parallel)
{
    dhole_err err = check_context(e->model, options->context);

    if (err == DHOLE_OK)
        err = dhole_parallel_choose(e->file, e->size, options->parallel, parallel, NULL, 0);
    if (err)
        return err;
    e->ops = ops_of(*parallel);
    e->context = context_of(e->model, options);
    return create_stage(e, options->threads);
}

static void destroy(dhole_engine *e)
{
    dhole__stage_free(e->stage);
    free(e->head_shard);
    free(e);
}

dhole_err dhole_engine_create(const dhole_model *model, dhole_group *group,
                              const dhole_engine_options *options, dhole_engine **out)
{
    int size = group != NULL ? dhole_size(group) : 1;
    dhole_parallel parallel = options->parallel;
    dhole_engine *e = dhole__sys.calloc(1, sizeof *e);
    dhole_err err;

    if (e == NULL)
        return dhole__fail_nomem(sizeof *e, "an engine");
    e->file = model;
    e->model = dhole__model_llama(model);
    e->group = group;
    e->rank = group != NULL ? dhole_rank(group) : 0;
    e->size = size;
    err = prepare(e, options, &parallel);
    if (size > 1 && size <= dhole__ranks_max) /* more are refused by each */
        err = agree(e, parallel, err);
    if (err == DHOLE_OK && size > 1)
        err = dhole_set_timeout(group, step_timeout_ms);
    if (err) {
        destroy(e);
        return err;
    }
    *out = e;
    return DHOLE_OK;
}

/* The barrier keeps a rank from leaving while another has yet to hear of the end, and would
 * take the leaving for a loss. */
static dhole_err end(dhole_engine *e)
{
    struct dhole__command command = {.kind = DHOLE__COMMAND_END};
    dhole_err err = e->ops->announce(e, &command);

    return err ? err : dhole_barrier(e->group);
}

void dhole_engine_free(dhole_engine *e)
{
    if (e == NULL)
        return;
    if (e->rank == 0 && e->size > 1)
        (void)end(e); /* a broken group has told the others already */
    destroy(e);
}

static dhole_err check_tokens(const dhole_engine *e, const int32_t *tokens, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (tokens[i] < 0 || tokens[i] >= e->model->vocab)
            return dhole__fail(DHOLE_ERR_INVALID, "token %d is not in the vocabulary of %d",
                               (int)tokens[i], e->model->vocab);
    return DHOLE_OK;
}

static dhole_err check_command(const dhole_engine *e, const struct dhole__command *command)
{
    if (command->kind == DHOLE__COMMAND_END)
        return DHOLE_OK;
    if (command->kind != DHOLE__COMMAND_STEP || command->count < 1 ||
        command->count > dhole__chunk_max || command->position < 0 ||
        command->position > e->context - command->count)
        return dhole__fail(
            DHOLE_ERR_PROTOCOL, "rank 0 sent command %d for %d tokens at position %d of %d",
            (int)command->kind, (int)command->count, (int)command->position, e->context);
    return check_tokens(e, command->tokens, (size_t)command->count);
}

/* One command; *ended when it was the last. */
static dhole_err serve_one(dhole_engine *e, bool *ended)
{
    struct dhole__command command = {0};
    dhole_err err = dhole_set_timeout(e->group, idle_timeout_ms);

    if (err == DHOLE_OK)
        err = e->ops->announce(e, &command);
    if (err == DHOLE_OK)
        err = dhole_set_timeout(e->group, step_timeout_ms);
    if (err == DHOLE_OK)
        err = check_command(e, &command);
    if (err)
        return err;
    *ended = command.kind == DHOLE__COMMAND_END;
    return *ended ? DHOLE_OK : e->ops->step(e, &command, NULL);
}

dhole_err dhole_engine_serve(dhole_engine *e)
{
    bool ended = false;

    if (e->rank == 0)
        return dhole__fail(DHOLE_ERR_INVALID, "rank 0 leads; the other ranks serve");
    while (!ended) {
        dhole_err err = serve_one(e, &ended);
        if (err)
            return err;
    }
    (void)dhole_barrier(e->group); /* the work is done, whoever leaves first */
    return DHOLE_OK;
}

static dhole_err check_forward(const dhole_engine *e, const int32_t *tokens, size_t count)
{
    if (e->rank != 0)
        return dhole__fail(DHOLE_ERR_INVALID, "rank %d serves; rank 0 leads", e->rank);
    if (count == 0)
        return dhole__fail(DHOLE_ERR_INVALID, "there are no tokens: give at least one");
    if (count > (size_t)(e->context - e->position))
        return dhole__fail(DHOLE_ERR_LIMIT,
                           "%zu tokens do not fit: the context holds %d, %d of them taken", count,
                           e->context, e->position);
    return check_tokens(e, tokens, count);
}

static dhole_err step(dhole_engine *e, const int32_t *tokens, size_t count, float *logits)
{
    struct dhole__command command = {
        .kind = DHOLE__COMMAND_STEP,
        .position = e->position,
        .count = (int32_t)count,
        .last = logits != NULL,
    };
    dhole_err err;

    if (atomic_load(&e->cancelled))
        return dhole__fail(DHOLE_ERR_CANCELLED, "cancelled at position %d", e->position);
    memcpy(command.tokens, tokens, count * sizeof *tokens);
    err = e->ops->announce(e, &command);
    if (err == DHOLE_OK)
        err = e->ops->step(e, &command, logits);
    if (err == DHOLE_OK)
        e->position += command.count;
    return err;
}

dhole_err dhole_engine_forward(dhole_engine *e, const int32_t *tokens, size_t count, float *logits)
{
    dhole_err err = check_forward(e, tokens, count);

    for (size_t done = 0; err == DHOLE_OK && done < count;) {
        size_t n = count - done < dhole__chunk_max ? count - done : dhole__chunk_max;
        err = step(e, tokens + done, n, done + n == count ? logits : NULL);
        done += n;
    }
    return err;
}

int dhole_engine_position(const dhole_engine *e)
{
    return e->position;
}

dhole_err dhole_engine_reset(dhole_engine *e)
{
    if (e->rank != 0)
        return dhole__fail(DHOLE_ERR_INVALID, "rank %d serves; rank 0 leads", e->rank);
    e->position = 0;
    atomic_store(&e->cancelled, false);
    return DHOLE_OK;
}

void dhole_engine_cancel(dhole_engine *e)
{
    atomic_store(&e->cancelled, true);
}
