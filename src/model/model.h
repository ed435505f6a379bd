/* An open model, as the files of this room see it. */
#ifndef DHOLE_MODEL_MODEL_H
#define DHOLE_MODEL_MODEL_H

#include "base/error.h"
#include "dhole/model.h"
#include "model/gguf.h"
#include "model/llama.h"

/* As dhole_model_open, over the bytes of a file that stay the caller's and outlive the
 * model; aligned to 8 bytes. */
DHOLE__MUST_CHECK dhole_err dhole__model_open_memory(const void *data, size_t size,
                                                     dhole_model **out);

/* Hyperparameters and weights out of a file of the Llama architecture. On failure
 * nothing is left to free. */
DHOLE__MUST_CHECK dhole_err dhole__llama_load(const struct dhole__gguf *gguf,
                                              struct dhole__llama *out);
void dhole__llama_unload(struct dhole__llama *llama);

/* The numbers of *out alone, each within limits and in keeping with the others. */
DHOLE__MUST_CHECK dhole_err dhole__llama_hyperparameters(const struct dhole__gguf *gguf,
                                                         struct dhole__llama *out);

#endif
