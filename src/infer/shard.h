/* Which part of a model each rank holds.
 *
 * Tensor-parallel: the two sums of a layer are points where every rank waits for the
 * slowest, so attention, feed-forward and the head are each split as evenly as they can be,
 * on their own. Attention is cut between KV heads, as a KV head and its queries share
 * one cache. What does not divide goes to the first ranks for attention and to the last ones for
 * the rest, so that no rank gets more of everything.
 *
 * Pipeline: runs of whole layers, even in bytes, with the embedding, the final norm and the head on
 * rank 0: tokens and logits never leave it, and a tied embedding is held once. */
#ifndef DHOLE_INFER_SHARD_H
#define DHOLE_INFER_SHARD_H

#include "base/error.h"
#include "model/llama.h"

enum {
    dhole__ranks_max = 8,
    /* Columns of the feed-forward per exact partial sum: whole blocks of every type. */
    dhole__ffn_unit = 128
};

/* [first, first + count) */
struct dhole__range {
    size_t first, count;
};

struct dhole__share {
    struct dhole__range layers;
    struct dhole__range kv_heads; /* of each layer */
    struct dhole__range ffn;      /* columns of each layer's feed-forward */
    struct dhole__range vocab;    /* rows of the head; none: this rank has no head */
};

/* Part `rank` of `items` dealt to `ranks` in contiguous parts that differ by at most one; the
 * larger ones go to the first ranks, or to the last. */
enum dhole__larger { DHOLE__LARGER_FIRST, DHOLE__LARGER_LAST };
struct dhole__range dhole__deal(size_t items, int ranks, int rank, enum dhole__larger larger);

/* Columns of the attention output per exact partial sum: those of a KV head, or all where a
 * block of the weight reaches over several KV heads. Like dhole__ffn_unit it
 * does not depend on the split, so that every split adds up the same numbers. */
size_t dhole__attention_unit(const struct dhole__llama *model);

void dhole__share_whole(const struct dhole__llama *model, struct dhole__share *out);

/* DHOLE_ERR_UNSUPPORTED says why the model cannot be split so. */
DHOLE__MUST_CHECK dhole_err dhole__share_tp(const struct dhole__llama *model, int ranks, int rank,
                                            struct dhole__share *out);
DHOLE__MUST_CHECK dhole_err dhole__share_pp(const struct dhole__llama *model, int ranks, int rank,
                                            struct dhole__share *out);

#endif
