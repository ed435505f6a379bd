/* The tokenizer in a model file: text to tokens and back. */
#ifndef DHOLE_MODEL_TOKENIZER_H
#define DHOLE_MODEL_TOKENIZER_H

#include "model/bpe.h"
#include "model/split.h"
#include "model/vocab.h"

struct dhole__tokenizer {
    struct dhole__vocab vocab;
    struct dhole__bpe bpe;
    struct dhole__split *split;
    struct dhole__special *special; /* by first byte, the longer first */
    size_t special_from[257];       /* the first special token of each first byte */
    int32_t bos;                    /* -1 when there is none */
    bool add_bos;
    int32_t *end; /* tokens that end a text or a turn */
    size_t end_count;
};

/* A growing list of tokens; free data with free(). */
struct dhole__ids {
    int32_t *data;
    size_t count, capacity;
};

/* Refers to the file's memory. On failure nothing is left to free. */
DHOLE__MUST_CHECK dhole_err dhole__tokenizer_load(const struct dhole__gguf *gguf,
                                                  struct dhole__tokenizer *out);
void dhole__tokenizer_unload(struct dhole__tokenizer *tokenizer);

/* Adds the tokens of a text to the list; with `special` the names of control and user-defined
 * tokens in it become those tokens. DHOLE_ERR_LIMIT when the text is longer than 16 MiB,
 * DHOLE_ERR_UNSUPPORTED when it has a byte that the vocabulary lacks. */
DHOLE__MUST_CHECK dhole_err dhole__tokenizer_encode(const struct dhole__tokenizer *tokenizer,
                                                    const char *text, size_t length, bool special,
                                                    struct dhole__ids *ids);

/* The token that only its name in a text with `special` gives; -1 when there is none. */
int32_t dhole__tokenizer_special(const struct dhole__tokenizer *tokenizer, const char *name);

DHOLE__MUST_CHECK dhole_err dhole__ids_add(struct dhole__ids *ids, int32_t token);

#endif
