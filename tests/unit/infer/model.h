/* A small Llama with random weights and uneven counts, to split every way. */
#ifndef DHOLE_TEST_INFER_MODEL_H
#define DHOLE_TEST_INFER_MODEL_H

#include "dhole/model.h"
#include "gguf_writer.h"

enum {
    small_layers = 5,
    small_hidden = 64,
    small_heads = 6,
    small_kv_heads = 3,
    small_head_dim = 16,
    small_ffn = 320, /* two units and a half */
    small_context = 400
};

/* The same seed gives the same weights. The caller closes the model, then frees w. */
dhole_model *small_model(struct gguf_writer *w, unsigned long long seed);

void small_model_close(dhole_model *model, struct gguf_writer *w);

#endif
