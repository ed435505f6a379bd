/* The file of --logits-out: rows of f32, little-endian. A regular file appears under its name
 * only when it is whole. */
#ifndef DHOLE_CLI_LOGITS_H
#define DHOLE_CLI_LOGITS_H

#include <stddef.h>

#include "base/error.h"

struct dhole__logits_file;

/* `model` is the file that is being read: the same under another name is refused. */
DHOLE__MUST_CHECK dhole_err dhole__logits_open(const char *path, const char *model,
                                               struct dhole__logits_file **out);

/* Appends a row of n values; NULL is allowed and does nothing. */
DHOLE__MUST_CHECK dhole_err dhole__logits_add(struct dhole__logits_file *file, const float *row,
                                              size_t n);

/* Puts the file in place, and frees; NULL is allowed. */
DHOLE__MUST_CHECK dhole_err dhole__logits_finish(struct dhole__logits_file *file);

/* Removes what was written, and frees; NULL is allowed. */
void dhole__logits_discard(struct dhole__logits_file *file);

#endif
