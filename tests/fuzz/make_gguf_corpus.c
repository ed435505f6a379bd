/* Writes the seeds of fuzz_gguf into a directory: small files that between them have
 * every kind of value that the reader knows. */
#include <stdio.h>
#include <stdlib.h>

#include "gguf_writer.h"

enum { hidden = 2, tokens_count = 8 };

static void put_tokenizer(struct gguf_writer *w)
{
    static const char *const tokens[] = {"a",
                                         "b",
                                         "ab",
                                         "\xc4\xa0",
                                         "\xc4\xa0"
                                         "ab",
                                         "<|im_start|>",
                                         "<|im_end|>",
                                         "\xc3\xa2"};
    static const int32_t kinds[] = {1, 1, 1, 1, 1, 3, 3, 4};
    static const char *const merges[] = {"a b", "\xc4\xa0 ab"};

    gguf_text(w, "tokenizer.ggml.model", "gpt2");
    gguf_texts(w, "tokenizer.ggml.tokens", tokens, tokens_count);
    gguf_i32s(w, "tokenizer.ggml.token_type", kinds, tokens_count);
    gguf_texts(w, "tokenizer.ggml.merges", merges, 2);
    gguf_u32(w, "tokenizer.ggml.eos_token_id", 6);
}

static void put_weights(struct gguf_writer *w)
{
    static const char *const squares[] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                          "ffn_gate", "ffn_up", "ffn_down"};
    char name[64];

    gguf_tensor(w, "token_embd.weight", DHOLE__F16, hidden, tokens_count);
    gguf_tensor(w, "output_norm.weight", DHOLE__F32, hidden, 0);
    gguf_tensor(w, "blk.0.attn_norm.weight", DHOLE__F32, hidden, 0);
    gguf_tensor(w, "blk.0.ffn_norm.weight", DHOLE__F32, hidden, 0);
    for (size_t i = 0; i < sizeof squares / sizeof *squares; i++) {
        snprintf(name, sizeof name, "blk.0.%s.weight", squares[i]);
        gguf_tensor(w, name, DHOLE__BF16, hidden, hidden);
    }
}

static void put_model(struct gguf_writer *w, uint32_t version)
{
    gguf_start(w, version);
    w->alignment = 8;
    gguf_u32(w, "general.alignment", 8);
    gguf_text(w, "general.architecture", "llama");
    gguf_u32(w, "llama.block_count", 1);
    gguf_u32(w, "llama.context_length", 8);
    gguf_u32(w, "llama.embedding_length", hidden);
    gguf_u32(w, "llama.feed_forward_length", hidden);
    gguf_u32(w, "llama.attention.head_count", 1);
    gguf_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    put_tokenizer(w);
    put_weights(w);
}

static void put_options(struct gguf_writer *w)
{
    static const struct {
        enum dhole__gguf_type type;
        size_t bytes;
    } numbers[] = {{DHOLE__GGUF_U8, 1},  {DHOLE__GGUF_I8, 1},  {DHOLE__GGUF_U16, 2},
                   {DHOLE__GGUF_I16, 2}, {DHOLE__GGUF_U64, 8}, {DHOLE__GGUF_I64, 8},
                   {DHOLE__GGUF_F64, 8}};
    char key[16];

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        snprintf(key, sizeof key, "value.%zu", i);
        gguf_key(w, key, numbers[i].type);
        gguf_number(w, 1, numbers[i].bytes);
    }
    gguf_text(w, "general.name", "Seed");
    gguf_u32(w, "llama.attention.head_count_kv", 1);
    gguf_u32(w, "llama.attention.key_length", 2);
    gguf_u32(w, "llama.attention.value_length", 2);
    gguf_u32(w, "llama.rope.dimension_count", 2);
    gguf_u32(w, "llama.vocab_size", tokens_count);
    gguf_u32(w, "llama.expert_count", 0);
    gguf_f32(w, "llama.rope.freq_base", 1e5f);
    gguf_f32(w, "llama.rope.scaling.factor", 2);
    gguf_text(w, "llama.rope.scaling.type", "linear");
    gguf_text(w, "tokenizer.ggml.pre", "llama-bpe");
    gguf_bool(w, "tokenizer.ggml.add_bos_token", 1);
    gguf_u32(w, "tokenizer.ggml.bos_token_id", 5);
    gguf_text(w, "tokenizer.chat_template",
              "{{ '<|im_start|>system\nab<|im_end|>\n' }}{{ '<|im_start|>' + role }}");
    gguf_tensor(w, "output.weight", DHOLE__F32, hidden, tokens_count);
    gguf_tensor(w, "rope_freqs.weight", DHOLE__F32, 1, 0);
}

static int save(struct gguf_writer *w, size_t size, const char *dir, const char *name)
{
    char path[4096];
    FILE *f;
    int ok;

    snprintf(path, sizeof path, "%s/%s.gguf", dir, name);
    f = fopen(path, "wb");
    ok = f != NULL && fwrite(w->data, 1, size, f) == size;
    ok = f != NULL && fclose(f) == 0 && ok;
    if (!ok)
        perror(path);
    return ok;
}

int main(int argc, char **argv)
{
    static const float one = 1;
    struct gguf_writer w;
    int ok;

    if (argc != 2) {
        fprintf(stderr, "usage: make_gguf_corpus DIRECTORY\n");
        return 2;
    }
    put_model(&w, 2);
    gguf_finish(&w);
    ok = save(&w, w.size, argv[1], "version2");
    ok &= save(&w, w.size / 2, argv[1], "truncated");
    ok &= save(&w, 24, argv[1], "counts");
    gguf_free(&w);

    put_model(&w, 3);
    put_options(&w);
    gguf_finish(&w);
    w.size -= sizeof one;
    gguf_put(&w, &one, sizeof one); /* rope_freqs, as zeros are refused */
    ok &= save(&w, w.size, argv[1], "options");
    gguf_free(&w);

    gguf_start(&w, 3);
    gguf_texts(&w, "nothing", NULL, 0);
    gguf_finish(&w);
    ok &= save(&w, w.size, argv[1], "values");
    gguf_free(&w);
    return !ok;
}
