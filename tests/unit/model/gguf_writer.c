#include "gguf_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void gguf_put(struct gguf_writer *w, const void *data, size_t n)
{
    while (w->size + n > w->capacity) {
        w->capacity = w->capacity > 0 ? 2 * w->capacity : 4096;
        w->data = realloc(w->data, w->capacity);
        if (w->data == NULL) {
            perror("gguf_put");
            exit(1);
        }
    }
    if (data != NULL)
        memcpy(w->data + w->size, data, n);
    else
        memset(w->data + w->size, 0, n);
    w->size += n;
}

void gguf_number(struct gguf_writer *w, uint64_t x, size_t bytes)
{
    uint8_t le[8];

    for (int i = 0; i < 8; i++)
        le[i] = (uint8_t)(x >> 8 * i);
    gguf_put(w, le, bytes);
}

void gguf_string(struct gguf_writer *w, const char *text, size_t n)
{
    gguf_number(w, n, 8);
    gguf_put(w, text, n);
}

void gguf_start(struct gguf_writer *w, uint32_t version)
{
    *w = (struct gguf_writer){.alignment = 32};
    gguf_put(w, "GGUF", 4);
    gguf_number(w, version, 4);
    gguf_number(w, 0, 8);
    gguf_number(w, 0, 8);
}

void gguf_free(struct gguf_writer *w)
{
    free(w->data);
    w->data = NULL;
}

void gguf_key(struct gguf_writer *w, const char *key, enum dhole__gguf_type type)
{
    w->values++;
    gguf_string(w, key, strlen(key));
    gguf_number(w, type, 4);
}

/* Whether the name is not in the list w->skip. */
static int wanted(const struct gguf_writer *w, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = w->skip; p != NULL && (p = strstr(p, name)) != NULL; p += n)
        if ((p == w->skip || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
            return 0;
    return 1;
}

void gguf_u32(struct gguf_writer *w, const char *key, uint32_t x)
{
    if (!wanted(w, key))
        return;
    gguf_key(w, key, DHOLE__GGUF_U32);
    gguf_number(w, x, 4);
}

void gguf_f32(struct gguf_writer *w, const char *key, float x)
{
    uint32_t raw;

    if (!wanted(w, key))
        return;
    memcpy(&raw, &x, sizeof raw);
    gguf_key(w, key, DHOLE__GGUF_F32);
    gguf_number(w, raw, 4);
}

void gguf_bool(struct gguf_writer *w, const char *key, int x)
{
    if (!wanted(w, key))
        return;
    gguf_key(w, key, DHOLE__GGUF_BOOL);
    gguf_number(w, (uint64_t)x, 1);
}

void gguf_text(struct gguf_writer *w, const char *key, const char *text)
{
    if (!wanted(w, key))
        return;
    gguf_key(w, key, DHOLE__GGUF_STRING);
    gguf_string(w, text, strlen(text));
}

static void put_array(struct gguf_writer *w, const char *key, enum dhole__gguf_type type, size_t n)
{
    gguf_key(w, key, DHOLE__GGUF_ARRAY);
    gguf_number(w, type, 4);
    gguf_number(w, n, 8);
}

void gguf_texts(struct gguf_writer *w, const char *key, const char *const *text, size_t n)
{
    if (!wanted(w, key))
        return;
    put_array(w, key, DHOLE__GGUF_STRING, n);
    for (size_t i = 0; i < n; i++)
        gguf_string(w, text[i], strlen(text[i]));
}

void gguf_i32s(struct gguf_writer *w, const char *key, const int32_t *x, size_t n)
{
    if (!wanted(w, key))
        return;
    put_array(w, key, DHOLE__GGUF_I32, n);
    for (size_t i = 0; i < n; i++)
        gguf_number(w, (uint32_t)x[i], 4);
}

struct gguf_tensor *gguf_tensor(struct gguf_writer *w, const char *name, uint32_t type, uint64_t n0,
                                uint64_t n1)
{
    struct gguf_tensor *t = &w->tensor[w->tensors];
    size_t block = dhole__ttype_elements((enum dhole__ttype)type);

    if (!wanted(w, name))
        return NULL;
    if (++w->tensors > gguf_tensors_max) {
        fprintf(stderr, "gguf_tensor: too many\n");
        exit(1);
    }
    *t = (struct gguf_tensor){.type = type, .dims = n1 > 0 ? 2 : 1, .shape = {n0, n1}};
    snprintf(t->name, sizeof t->name, "%s", name);
    t->bytes = block > 0
                   ? n0 * (n1 > 0 ? n1 : 1) / block * dhole__ttype_bytes((enum dhole__ttype)type)
                   : n0;
    t->offset = (w->end + w->alignment - 1) / w->alignment * w->alignment;
    w->end = t->offset + t->bytes;
    return t;
}

void gguf_finish(struct gguf_writer *w)
{
    size_t size = w->size;

    w->size = 8;
    gguf_number(w, w->tensors, 8);
    gguf_number(w, w->values, 8);
    w->size = size;
    for (uint64_t i = 0; i < w->tensors; i++) {
        const struct gguf_tensor *t = &w->tensor[i];
        gguf_string(w, t->name, strlen(t->name));
        gguf_number(w, t->dims, 4);
        for (uint32_t d = 0; d < t->dims; d++)
            gguf_number(w, t->shape[d], 8);
        gguf_number(w, t->type, 4);
        gguf_number(w, t->offset, 8);
    }
    if (w->end == 0)
        return;
    gguf_put(w, NULL, (w->alignment - w->size % w->alignment) % w->alignment);
    gguf_put(w, NULL, w->end - 1);
    gguf_number(w, 1, 1);
}

static size_t put_letter(char out[2], unsigned byte, unsigned *next)
{
    int printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
    unsigned c = printable ? byte : (*next)++;

    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = (char)(0xc0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3f));
    return 2;
}

static void put_tokenizer(struct gguf_writer *w)
{
    static const char *const more[] = {
        "he", "ll",  "hell",          "hello",        "\xc4\xa0h",  "\xc4\xa0hello",
        "12", "\t ", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_end|><|im_end|>",
    };
    static const char *const merges[] = {
        "h e", "l l", "he ll", "hell o", "\xc4\xa0 h", "\xc4\xa0 hello", "1 2"};
    char letters[256][3] = {{0}};
    const char *tokens[tiny_vocab];
    int32_t kinds[tiny_vocab];
    unsigned next = 256;

    for (unsigned i = 0; i < tiny_vocab; i++) {
        tokens[i] = i < 256 ? letters[i] : more[i - 256];
        kinds[i] = i < tiny_user_defined ? 1 : i == tiny_user_defined ? 4 : 3;
        if (i < 256)
            put_letter(letters[i], i, &next);
    }
    gguf_text(w, "tokenizer.ggml.model", "gpt2");
    gguf_text(w, "tokenizer.ggml.pre", "smollm");
    gguf_texts(w, "tokenizer.ggml.tokens", tokens, tiny_vocab);
    gguf_i32s(w, "tokenizer.ggml.token_type", kinds, tiny_vocab);
    gguf_texts(w, "tokenizer.ggml.merges", merges, sizeof merges / sizeof *merges);
    gguf_u32(w, "tokenizer.ggml.bos_token_id", tiny_start);
    gguf_u32(w, "tokenizer.ggml.eos_token_id", tiny_end);
    gguf_bool(w, "tokenizer.ggml.add_bos_token", 0);
    gguf_text(w, "tokenizer.chat_template",
              "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nBe \\'terse\\'."
              "<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\\n'}}");
}

void gguf_llama(struct gguf_writer *w)
{
    static const struct {
        const char *name;
        uint64_t n0, n1;
    } weights[] = {
        {"attn_norm", tiny_hidden, 0},
        {"attn_q", tiny_hidden, tiny_hidden},
        {"attn_k", tiny_hidden, tiny_hidden / tiny_heads * tiny_kv_heads},
        {"attn_v", tiny_hidden, tiny_hidden / tiny_heads * tiny_kv_heads},
        {"attn_output", tiny_hidden, tiny_hidden},
        {"ffn_norm", tiny_hidden, 0},
        {"ffn_gate", tiny_hidden, tiny_ffn},
        {"ffn_up", tiny_hidden, tiny_ffn},
        {"ffn_down", tiny_ffn, tiny_hidden},
    };
    char name[64];

    gguf_text(w, "general.architecture", "llama");
    gguf_text(w, "general.name", "Tiny");
    gguf_u32(w, "llama.block_count", tiny_layers);
    gguf_u32(w, "llama.context_length", tiny_context);
    gguf_u32(w, "llama.embedding_length", tiny_hidden);
    gguf_u32(w, "llama.feed_forward_length", tiny_ffn);
    gguf_u32(w, "llama.attention.head_count", tiny_heads);
    gguf_u32(w, "llama.attention.head_count_kv", tiny_kv_heads);
    gguf_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    put_tokenizer(w);
    gguf_tensor(w, "token_embd.weight", DHOLE__Q8_0, tiny_hidden, tiny_vocab);
    gguf_tensor(w, "output_norm.weight", DHOLE__F32, tiny_hidden, 0);
    for (int layer = 0; layer < tiny_layers; layer++)
        for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
            snprintf(name, sizeof name, "blk.%d.%s.weight", layer, weights[i].name);
            gguf_tensor(w, name, weights[i].n1 > 0 ? DHOLE__Q4_0 : DHOLE__F32, weights[i].n0,
                        weights[i].n1);
        }
}

void gguf_tiny_start(struct gguf_writer *w, const char *skip)
{
    gguf_start(w, 3);
    w->skip = skip;
    gguf_llama(w);
    w->skip = NULL;
}

void gguf_tiny(struct gguf_writer *w, const char *skip)
{
    gguf_tiny_start(w, skip);
    gguf_finish(w);
}
