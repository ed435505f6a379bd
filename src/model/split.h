/* Cuts text into the pieces within which tokens are merged: the pre-tokenizer that the
 * model was trained with, as one regular expression whose matches are the pieces. */
#ifndef DHOLE_MODEL_SPLIT_H
#define DHOLE_MODEL_SPLIT_H

#include "model/gguf.h"

/* A pattern, compiled; any thread may use it. */
struct dhole__split;

/* By the name that files have in tokenizer.ggml.pre; "" is a file that has none.
 * DHOLE_ERR_UNSUPPORTED names one that we do not know. */
DHOLE__MUST_CHECK dhole_err dhole__split_create(struct dhole__gguf_string name,
                                                struct dhole__split **out);
/* NULL is allowed. */
void dhole__split_free(struct dhole__split *split);

/* Whether a piece that is a token itself is taken whole, without regard to the merges. */
bool dhole__split_whole_pieces(const struct dhole__split *split);

/* Whether a text starts with the begin token when the file does not say. */
bool dhole__split_adds_bos(const struct dhole__split *split);

/* Calls fn on every piece in order, until it fails: together they are the text. Invalid UTF-8
 * makes pieces of its own. */
DHOLE__MUST_CHECK dhole_err
dhole__split_run(const struct dhole__split *split, const char *text, size_t length,
                 dhole_err (*fn)(void *arg, const char *piece, size_t length), void *arg);

#endif
