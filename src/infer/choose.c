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

struct way {
    dhole_err (*share)(const struct dhole__llama *model, int ranks, int rank,
                       struct dhole__share *out);
    size_t (*part)(const struct dhole__share *share); /* what is dealt */
    const char *how;
};

static size_t kv_heads_of(const struct dhole__share *share)
{
    return share->kv_heads.count;
}

static size_t layers_of(const struct dhole__share *share)
{
    return share->layers.count;
}

static const struct way tp = {dhole__share_tp, kv_heads_of,
                              "compute each layer together, KV heads dealt as"};
static const struct way pp = {dhole__share_pp, layers_of, "hold runs of layers, dealt as"};

/* Whether the model can be split so; then reason is "<why>; 2 ranks <how> 2+1". */
static dhole_err try(const struct way *way, const struct dhole__llama *model, int ranks,
                     const char *why, char *reason, size_t size)
{
    char parts[64] = "";
    size_t length = 0;

    for (int r = 0; r < ranks; r++) {
        struct dhole__share share;
        dhole_err err = way->share(model, ranks, r, &share);
        if (err)
            return err;
        length += (size_t)snprintf(parts + length, sizeof parts - length, "%s%zu", r > 0 ? "+" : "",
                                   way->part(&share));
    }
    snprintf(reason, size, "%s; %d ranks %s %s", why, ranks, way->how, parts);
    return DHOLE_OK;
}

static dhole_err choose_auto(const struct dhole__llama *model, int ranks, dhole_parallel *chosen,
                             char *reason, size_t size)
{
    char why[256];
    dhole_err err =
        try(&tp, model, ranks, "every rank can have a share of each layer", reason, size);

    if (err == DHOLE_OK) {
        *chosen = DHOLE_PARALLEL_TP;
        return DHOLE_OK;
    }
    snprintf(why, sizeof why, "no tensor-parallel split, as %s", dhole_error_message());
    err = try(&pp, model, ranks, why, reason, size);
    if (err)
        return dhole__fail_in(err, "%s, and no pipeline", why);
    *chosen = DHOLE_PARALLEL_PP;
    return DHOLE_OK;
}

static dhole_err choose_explicit(const struct way *way, const struct dhole__llama *model, int ranks,
                                 dhole_parallel wanted, char *reason, size_t size)
{
    dhole_err err;

    if (ranks < 2)
        return dhole__fail(DHOLE_ERR_INVALID,
                           "%s needs 2 or more ranks, there is 1: add ranks or choose single",
                           dhole_parallel_name(wanted));
    err = try(way, model, ranks, "asked for", reason, size);
    if (err)
        return dhole__fail_in(err, "%s on %d ranks cannot be", dhole_parallel_name(wanted), ranks);
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
        err = choose_explicit(wanted == DHOLE_PARALLEL_TP ? &tp : &pp, llama, ranks, wanted, reason,
                              size);
        if (err == DHOLE_OK)
            *chosen = wanted;
        return err;
    }
    return dhole__fail(DHOLE_ERR_INVALID, "%d is not a way to split a model", (int)wanted);
}
