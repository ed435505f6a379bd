/* Which way to split a model, and why in words. */
#include <stdio.h>
#include <string.h>

#include "dhole/infer.h"
#include "infer/shard.h"

const char *dhole_parallel_name(dhole_parallel parallel)
{
    switch (parallel) {
    case DHOLE_PARALLEL_AUTO: return "auto";
    case DHOLE_PARALLEL_SINGLE: return "single";
    case DHOLE_PARALLEL_TP: return "tp";
    case DHOLE_PARALLEL_PP: return "pp";
    }
    return "?";
}

typedef dhole_err (*share_fn)(const struct dhole__llama *model, int ranks, int rank,
                              struct dhole__share *out);

static size_t kv_heads_of(const struct dhole__share *share)
{
    return share->kv_heads.count;
}

static size_t layers_of(const struct dhole__share *share)
{
    return share->layers.count;
}

/* "2+1": what each rank gets of something. */
static void list_parts(const struct dhole__llama *model, int ranks, share_fn split,
                       size_t (*part)(const struct dhole__share *), char *out, size_t size)
{
    size_t at = 0;

    out[0] = '\0';
    for (int r = 0; r < ranks; r++) {
        struct dhole__share share;
        if (split(model, ranks, r, &share) != DHOLE_OK || at >= size)
            return;
        at += (size_t)snprintf(out + at, size - at, "%s%zu", r > 0 ? "+" : "", part(&share));
    }
}

static void explain_tp(const struct dhole__llama *model, int ranks, const char *why, char *reason,
                       size_t size)
{
    char parts[64];

    list_parts(model, ranks, dhole__share_tp, kv_heads_of, parts, sizeof parts);
    snprintf(reason, size, "%s; %d ranks compute each layer together, with %d KV heads as %s", why,
             ranks, model->kv_heads, parts);
}

static void explain_pp(const struct dhole__llama *model, int ranks, const char *why, char *reason,
                       size_t size)
{
    char parts[64];

    list_parts(model, ranks, dhole__share_pp, layers_of, parts, sizeof parts);
    snprintf(reason, size, "%s; %d ranks hold %d layers as %s", why, ranks, model->layers, parts);
}

static dhole_err choose_auto(const struct dhole__llama *model, int ranks, dhole_parallel *chosen,
                             char *reason, size_t size)
{
    char why[256];
    struct dhole__share share;

    if (dhole__share_tp(model, ranks, 0, &share) == DHOLE_OK) {
        explain_tp(model, ranks, "every rank can have a share of each layer", reason, size);
        *chosen = DHOLE_PARALLEL_TP;
        return DHOLE_OK;
    }
    snprintf(why, sizeof why, "no tensor-parallel split, as %s", dhole_error_message());
    if (dhole__share_pp(model, ranks, 0, &share) != DHOLE_OK)
        return dhole__fail_in(DHOLE_ERR_UNSUPPORTED, "%s, and no pipeline", why);
    explain_pp(model, ranks, why, reason, size);
    *chosen = DHOLE_PARALLEL_PP;
    return DHOLE_OK;
}

static dhole_err choose_explicit(const struct dhole__llama *model, int ranks, dhole_parallel wanted,
                                 char *reason, size_t size)
{
    struct dhole__share share;
    dhole_err err;

    if (ranks < 2)
        return dhole__fail(DHOLE_ERR_INVALID,
                           "%s needs 2 or more ranks, there is 1: add ranks or choose single",
                           dhole_parallel_name(wanted));
    if (wanted == DHOLE_PARALLEL_TP)
        err = dhole__share_tp(model, ranks, 0, &share);
    else
        err = dhole__share_pp(model, ranks, 0, &share);
    if (err)
        return dhole__fail_in(err, "%s on %d ranks cannot be", dhole_parallel_name(wanted), ranks);
    if (wanted == DHOLE_PARALLEL_TP)
        explain_tp(model, ranks, "asked for", reason, size);
    else
        explain_pp(model, ranks, "asked for", reason, size);
    return DHOLE_OK;
}

dhole_err dhole_parallel_choose(const dhole_model *model, int ranks, dhole_parallel wanted,
                                dhole_parallel *chosen, char *reason, size_t size)
{
    const struct dhole__llama *llama = dhole__model_llama(model);
    dhole_err err;

    if (ranks < 1 || ranks > dhole__ranks_max)
        return dhole__fail(DHOLE_ERR_INVALID, "%d ranks: 1 to %d can run a model", ranks,
                           dhole__ranks_max);
    switch (wanted) {
    case DHOLE_PARALLEL_AUTO:
        if (ranks > 1)
            return choose_auto(llama, ranks, chosen, reason, size);
        snprintf(reason, size, "there is one rank");
        *chosen = DHOLE_PARALLEL_SINGLE;
        return DHOLE_OK;
    case DHOLE_PARALLEL_SINGLE:
        if (ranks > 1)
            return dhole__fail(DHOLE_ERR_INVALID, "single runs on 1 rank, there are %d", ranks);
        snprintf(reason, size, "asked for");
        *chosen = DHOLE_PARALLEL_SINGLE;
        return DHOLE_OK;
    case DHOLE_PARALLEL_TP:
    case DHOLE_PARALLEL_PP:
        err = choose_explicit(llama, ranks, wanted, reason, size);
        if (err == DHOLE_OK)
            *chosen = wanted;
        return err;
    }
    return dhole__fail(DHOLE_ERR_INVALID, "%d is not a way to split a model", (int)wanted);
}
