#include "infer/shard.h"

enum { vocab_unit = 16 }; /* rows: whole cache lines of logits */

struct dhole__range dhole__deal(size_t items, int ranks, int rank, enum dhole__larger larger)
{
    size_t n = (size_t)ranks, r = (size_t)rank;
    size_t size = items / n, rest = items % n;
    size_t from = larger == DHOLE__LARGER_FIRST ? 0 : n - rest; /* the first larger part */
    size_t larger_before = r <= from ? 0 : r - from;

    if (larger_before > rest)
        larger_before = rest;
    return (struct dhole__range){
        .first = r * size + larger_before,
        .count = size + (r >= from && r < from + rest),
    };
}

/* Columns of the attention output that belong to one KV head. */
static size_t kv_head_columns(const struct dhole__llama *model)
{
    return (size_t)(model->heads / model->kv_heads) * (size_t)model->head_dim;
}

size_t dhole__attention_unit(const struct dhole__llama *model)
{
    size_t unit = kv_head_columns(model);

    for (int i = 0; i < model->layers; i++)
        if (unit % dhole__ttype_elements(model->layer[i].attn_output.type) != 0)
            return unit * (size_t)model->kv_heads;
    return unit;
}

void dhole__share_whole(const struct dhole__llama *model, struct dhole__share *out)
{
    *out = (struct dhole__share){
        .layers = {0, (size_t)model->layers},
        .kv_heads = {0, (size_t)model->kv_heads},
        .ffn = {0, (size_t)model->ffn},
        .vocab = {0, (size_t)model->vocab},
    };
}

/* Deals `items` in whole units; the last unit may be short. */
static struct dhole__range deal_units(size_t items, size_t unit, int ranks, int rank)
{
    struct dhole__range units =
        dhole__deal((items + unit - 1) / unit, ranks, rank, DHOLE__LARGER_LAST);
    size_t first = units.first * unit, end = first + units.count * unit;

    if (first > items)
        first = items;
    if (end > items)
        end = items;
    return (struct dhole__range){first, end - first};
}

dhole_err dhole__share_tp(const struct dhole__llama *model, int ranks, int rank,
                          struct dhole__share *out)
{
    if (model->kv_heads < ranks)
        return dhole__fail(DHOLE_ERR_UNSUPPORTED, "%d KV heads are too few for %d ranks",
                           model->kv_heads, ranks);
    if (dhole__attention_unit(model) != kv_head_columns(model))
        return dhole__fail(DHOLE_ERR_UNSUPPORTED,
                           "the %zu columns of a KV head are not whole blocks of the weights",
                           kv_head_columns(model));
    *out = (struct dhole__share){
        .layers = {0, (size_t)model->layers},
        .kv_heads = dhole__deal((size_t)model->kv_heads, ranks, rank, DHOLE__LARGER_FIRST),
        .ffn = deal_units((size_t)model->ffn, dhole__ffn_unit, ranks, rank),
        .vocab = deal_units((size_t)model->vocab, vocab_unit, ranks, rank),
    };
    return DHOLE_OK;
}

static size_t layer_bytes(const struct dhole__llama_layer *l)
{
    return l->attn_norm.bytes + l->q.bytes + l->k.bytes + l->v.bytes + l->attn_output.bytes +
           l->ffn_norm.bytes + l->gate.bytes + l->up.bytes + l->down.bytes;
}

static size_t end_bytes(const struct dhole__llama *model)
{
    bool tied = model->output.data == model->embedding.data;

    return model->embedding.bytes + model->output_norm.bytes + (tied ? 0 : model->output.bytes);
}

/* How many layers from `first` on come nearest to an even share of what is left, when the
 * rank already holds `held` bytes of the `left`. Every later rank keeps a layer. */
static size_t fill(const struct dhole__llama *model, size_t first, size_t held, size_t left,
                   size_t ranks_left)
{
    size_t target = left / ranks_left;
    size_t most = (size_t)model->layers - first - (ranks_left - 1);
    size_t count = 0;

    while (count < most) {
        size_t next = layer_bytes(&model->layer[first + count]);
        if (count > 0 && held + next / 2 > target)
            break;
        held += next;
        count++;
    }
    return ranks_left == 1 ? most : count;
}

dhole_err dhole__share_pp(const struct dhole__llama *model, int ranks, int rank,
                          struct dhole__share *out)
{
    size_t first = 0, count = 0, held = end_bytes(model), left = held;

    if (model->layers < ranks)
        return dhole__fail(DHOLE_ERR_UNSUPPORTED, "%d layers are too few for %d ranks",
                           model->layers, ranks);
    for (int i = 0; i < model->layers; i++)
        left += layer_bytes(&model->layer[i]);
    for (int r = 0; r <= rank; r++) {
        first += count;
        count = fill(model, first, held, left, (size_t)(ranks - r));
        left -= held;
        held = 0;
        for (size_t i = first; i < first + count; i++)
            left -= layer_bytes(&model->layer[i]);
    }
    dhole__share_whole(model, out);
    out->layers = (struct dhole__range){first, count};
    if (rank != 0)
        out->vocab = (struct dhole__range){0, 0};
    return DHOLE_OK;
}
