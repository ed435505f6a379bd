/* Byte-pair encoding (Sennrich et al., arXiv:1508.07909, over bytes): starting from single
 * bytes, the neighbours whose merge was learned first become one token, until no
 * merge applies. */
#ifndef DHOLE_MODEL_BPE_H
#define DHOLE_MODEL_BPE_H

#include "model/vocab.h"

struct dhole__merge {
    int32_t left, right, token;
    uint32_t rank;
};

struct dhole__bpe {
    struct dhole__merge *table; /* by the pair: open addressing, token -1 is free */
    size_t mask;
};

/* On failure nothing is left to free. */
DHOLE__MUST_CHECK dhole_err dhole__bpe_load(const struct dhole__gguf *gguf,
                                            const struct dhole__vocab *vocab,
                                            struct dhole__bpe *out);
void dhole__bpe_unload(struct dhole__bpe *bpe);

/* Memory that merging needs, kept from piece to piece: start with zeros, free at the end. */
struct dhole__bpe_scratch {
    struct node *nodes;
    struct candidate *heap;
    size_t capacity;
};

void dhole__bpe_scratch_free(struct dhole__bpe_scratch *scratch);

/* Merges the `count` tokens of a piece in place and sets *count to what is left.
 * O(n log n). */
DHOLE__MUST_CHECK dhole_err dhole__bpe_merge(const struct dhole__bpe *bpe,
                                             struct dhole__bpe_scratch *scratch, int32_t *tokens,
                                             size_t *count);

#endif
