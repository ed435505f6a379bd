#include "model.h"

#include "model/llama.h"
#include "model/model.h"
#include "test.h"

static const struct {
    const char *name;
    enum dhole__ttype type;
    uint64_t n0, n1;
} weights[] = {
    {"attn_norm", DHOLE__F32, small_hidden, 0},
    {"attn_q", DHOLE__Q4_0, small_hidden, small_heads *small_head_dim},
    {"attn_k", DHOLE__Q4_0, small_hidden, small_kv_heads *small_head_dim},
    {"attn_v", DHOLE__F16, small_hidden, small_kv_heads *small_head_dim},
    {"attn_output", DHOLE__Q4_0, small_heads *small_head_dim, small_hidden},
    {"ffn_norm", DHOLE__F32, small_hidden, 0},
    {"ffn_gate", DHOLE__Q8_0, small_hidden, small_ffn},
    {"ffn_up", DHOLE__Q4_0, small_hidden, small_ffn},
    {"ffn_down", DHOLE__Q8_0, small_ffn, small_hidden},
};

enum { weight_count = sizeof weights / sizeof *weights };

/* Names what gguf_llama must leave out because the small model has it otherwise. */
static void list_replaced(char *out, size_t size)
{
    int n = snprintf(out, size,
                     "llama.block_count llama.context_length llama.embedding_length "
                     "llama.feed_forward_length llama.attention.head_count "
                     "llama.attention.head_count_kv token_embd.weight output_norm.weight");

    for (int layer = 0; layer < tiny_layers; layer++)
        for (int i = 0; i < weight_count; i++)
            n += snprintf(out + n, size - (size_t)n, " blk.%d.%s.weight", layer, weights[i].name);
}

static void write_model(struct gguf_writer *w)
{
    char replaced[2048];

    list_replaced(replaced, sizeof replaced);
    gguf_tiny_start(w, replaced);
    gguf_u32(w, "llama.block_count", small_layers);
    gguf_u32(w, "llama.context_length", small_context);
    gguf_u32(w, "llama.embedding_length", small_hidden);
    gguf_u32(w, "llama.feed_forward_length", small_ffn);
    gguf_u32(w, "llama.attention.head_count", small_heads);
    gguf_u32(w, "llama.attention.head_count_kv", small_kv_heads);
    gguf_u32(w, "llama.attention.key_length", small_head_dim);
    gguf_u32(w, "llama.attention.value_length", small_head_dim);
    gguf_tensor(w, "token_embd.weight", DHOLE__Q8_0, small_hidden, tiny_vocab);
    gguf_tensor(w, "output_norm.weight", DHOLE__F32, small_hidden, 0);
    for (int layer = 0; layer < small_layers; layer++)
        for (int i = 0; i < weight_count; i++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%d.%s.weight", layer, weights[i].name);
            gguf_tensor(w, name, weights[i].type, weights[i].n0, weights[i].n1);
        }
    gguf_finish(w);
}

/* Halves between 2^-6 and 2^-5, of either sign. */
static uint16_t random_half(unsigned long long *seed)
{
    unsigned long long bits = test_random(seed);

    return (uint16_t)(0x2400 | (bits & 0x83ff));
}

/* Overwrites a tensor in the writer's memory: norms near 1, the rest around 0. */
static void randomize(const struct dhole__tensor *t, unsigned long long *seed)
{
    uint8_t *data = (uint8_t *)t->data;
    size_t step = dhole__ttype_bytes(t->type);

    for (size_t at = 0; at < t->bytes; at += step) {
        uint16_t half = random_half(seed);
        for (size_t i = 0; i < step; i++)
            data[at + i] = (uint8_t)test_random(seed);
        if (t->type == DHOLE__F32) {
            float x = 1.0f + (float)(int8_t)data[at] / 512.0f;
            memcpy(data + at, &x, sizeof x);
        } else {
            memcpy(data + at, &half, sizeof half);
        }
    }
}

dhole_model *small_model(struct gguf_writer *w, unsigned long long seed)
{
    const struct dhole__llama *l;
    dhole_model *model;

    write_model(w);
    ASSERT_OK(dhole__model_open_memory(w->data, w->size, &model));
    l = dhole__model_llama(model);
    randomize(&l->embedding, &seed);
    randomize(&l->output_norm, &seed);
    for (int i = 0; i < l->layers; i++) {
        const struct dhole__llama_layer *layer = &l->layer[i];
        const struct dhole__tensor *all[] = {
            &layer->attn_norm, &layer->q,    &layer->k,  &layer->v,   &layer->attn_output,
            &layer->ffn_norm,  &layer->gate, &layer->up, &layer->down};
        for (size_t t = 0; t < sizeof all / sizeof *all; t++)
            randomize(all[t], &seed);
    }
    return model;
}

void small_model_close(dhole_model *model, struct gguf_writer *w)
{
    dhole_model_close(model);
    gguf_free(w);
}
