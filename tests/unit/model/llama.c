/* The Llama architecture: hyperparameters, and tensors checked against them. */
#include "model/llama.h"

#include "dhole/error.h"
#include "gguf_writer.h"
#include "model/model.h"
#include "test.h"

static dhole_model *open_tiny(struct gguf_writer *w)
{
    dhole_model *model;

    ASSERT_OK(dhole__model_open_memory(w->data, w->size, &model));
    return model;
}

/* Opens the file and frees it. */
static void refuse(struct gguf_writer *w, dhole_err expected, const char *part)
{
    dhole_model *model = NULL;

    ASSERT_ERR(dhole__model_open_memory(w->data, w->size, &model), expected);
    ASSERT_CONTAINS(dhole_error_message(), part);
    ASSERT(model == NULL);
    gguf_free(w);
}

static void refuse_int(const char *key, uint32_t x, dhole_err expected, const char *part)
{
    struct gguf_writer w;

    gguf_tiny_start(&w, key);
    gguf_u32(&w, key, x);
    gguf_finish(&w);
    refuse(&w, expected, part);
}

static void refuse_float(const char *key, float x, dhole_err expected, const char *part)
{
    struct gguf_writer w;

    gguf_tiny_start(&w, key);
    gguf_f32(&w, key, x);
    gguf_finish(&w);
    refuse(&w, expected, part);
}

static void refuse_text(const char *key, const char *text, dhole_err expected, const char *part)
{
    struct gguf_writer w;

    gguf_tiny_start(&w, key);
    gguf_text(&w, key, text);
    gguf_finish(&w);
    refuse(&w, expected, part);
}

static void refuse_tensor(const char *name, uint32_t type, uint64_t n0, uint64_t n1,
                          dhole_err expected, const char *part)
{
    struct gguf_writer w;

    gguf_tiny_start(&w, name);
    gguf_tensor(&w, name, type, n0, n1);
    gguf_finish(&w);
    refuse(&w, expected, part);
}

TEST(describes_the_model)
{
    struct gguf_writer w;
    dhole_model *model;
    dhole_model_info info;
    const struct dhole__llama *l;

    gguf_tiny(&w, NULL);
    model = open_tiny(&w);
    dhole_model_describe(model, &info);
    ASSERT_STR(info.name, "Tiny");
    ASSERT_STR(info.architecture, "llama");
    ASSERT_EQ(info.layers, tiny_layers);
    ASSERT_EQ(info.hidden, tiny_hidden);
    ASSERT_EQ(info.heads, tiny_heads);
    ASSERT_EQ(info.kv_heads, tiny_kv_heads);
    ASSERT_EQ(info.ffn, tiny_ffn);
    ASSERT_EQ(info.vocab, tiny_vocab);
    ASSERT_EQ(info.context, tiny_context);
    ASSERT_EQ(info.weight_bytes,
              34 * tiny_vocab + 4 * 32 * (1 + 2 * 2) + 2 * 18 * (32 + 16 + 16 + 32 + 3 * 64));

    l = dhole__model_llama(model);
    ASSERT_EQ(l->head_dim, tiny_hidden / tiny_heads);
    ASSERT_EQ(l->rope_dims, l->head_dim);
    ASSERT(l->rope_base == 10000 && l->rope_scale == 1 && l->rope_freqs == NULL);
    ASSERT(l->norm_eps == 1e-5f);
    ASSERT_STR(l->layer[1].down.name, "blk.1.ffn_down.weight");
    ASSERT_EQ(l->layer[1].down.shape[0], tiny_ffn);
    ASSERT_EQ(l->layer[1].down.type, DHOLE__Q4_0);
    ASSERT(l->output.data == l->embedding.data);
    dhole_model_close(model);
    gguf_free(&w);
}

TEST(optional_parts)
{
    struct gguf_writer w;
    dhole_model *model;
    const struct dhole__llama *l;
    float *freqs;

    gguf_tiny_start(&w, "llama.attention.head_count_kv");
    gguf_u32(&w, "llama.attention.head_count_kv", tiny_kv_heads);
    gguf_u32(&w, "llama.attention.key_length", tiny_hidden / tiny_heads);
    gguf_u32(&w, "llama.rope.dimension_count", 4);
    gguf_f32(&w, "llama.rope.freq_base", 5e5f);
    gguf_text(&w, "llama.rope.scaling.type", "linear");
    gguf_f32(&w, "llama.rope.scaling.factor", 4);
    gguf_u32(&w, "llama.vocab_size", tiny_vocab);
    gguf_tensor(&w, "output.weight", DHOLE__BF16, tiny_hidden, tiny_vocab);
    gguf_tensor(&w, "rope_freqs.weight", DHOLE__F32, 2, 0);
    gguf_tensor(&w, "blk.0.attn_rot_embd.weight", DHOLE__F32, 2, 0);
    gguf_finish(&w);
    freqs = (float *)(void *)(w.data + w.size - w.end + w.tensor[w.tensors - 2].offset);
    freqs[0] = 1, freqs[1] = 8;
    model = open_tiny(&w);
    l = dhole__model_llama(model);
    ASSERT_EQ(l->rope_dims, 4);
    ASSERT(l->rope_base == 5e5f && l->rope_scale == 0.25f);
    ASSERT(l->rope_freqs[0] == 1 && l->rope_freqs[1] == 8);
    ASSERT_STR(l->output.name, "output.weight");
    ASSERT_EQ(l->output.type, DHOLE__BF16);
    dhole_model_close(model);

    freqs[1] = 0;
    refuse(&w, DHOLE_ERR_FORMAT, "element 1 of tensor rope_freqs.weight is 0");
}

TEST(scaling_type_none_overrules_a_factor)
{
    struct gguf_writer w;
    dhole_model *model;

    gguf_tiny_start(&w, NULL);
    gguf_text(&w, "llama.rope.scaling.type", "none");
    gguf_f32(&w, "llama.rope.scaling.factor", 4);
    gguf_finish(&w);
    model = open_tiny(&w);
    ASSERT(dhole__model_llama(model)->rope_scale == 1);
    dhole_model_close(model);
    gguf_free(&w);
}

/* key_length that is not hidden / heads, so that q and attn_output are not square. */
TEST(key_length)
{
    struct gguf_writer w;
    dhole_model *model;
    const char *const names[] = {"attn_q", "attn_k", "attn_v", "attn_output"};

    gguf_tiny_start(&w, NULL);
    gguf_u32(&w, "llama.attention.key_length", 16);
    for (uint64_t i = 0; i < w.tensors; i++)
        for (int n = 0; n < 4; n++)
            if (strstr(w.tensor[i].name, names[n]) != NULL) {
                w.tensor[i].shape[n == 3 ? 0 : 1] *= 2;
                w.tensor[i].bytes *= 2;
            }
    w.end = 0;
    for (uint64_t i = 0; i < w.tensors; i++) {
        w.tensor[i].offset = (w.end + 31) / 32 * 32;
        w.end = w.tensor[i].offset + w.tensor[i].bytes;
    }
    gguf_finish(&w);
    model = open_tiny(&w);
    ASSERT_EQ(dhole__model_llama(model)->head_dim, 16);
    ASSERT_EQ(dhole__model_llama(model)->layer[0].attn_output.shape[0], 64);
    dhole_model_close(model);
    gguf_free(&w);
}

TEST(every_missing_part_is_named)
{
    static const char *const keys[] = {
        "general.architecture",
        "llama.block_count",
        "llama.context_length",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.layer_norm_rms_epsilon",
        "tokenizer.ggml.model",
        "tokenizer.ggml.tokens",
        "tokenizer.ggml.merges",
    };
    struct gguf_writer w, all;

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        gguf_tiny(&w, keys[i]);
        refuse(&w, DHOLE_ERR_FORMAT, keys[i]);
    }
    gguf_tiny(&all, NULL);
    for (uint64_t i = 0; i < all.tensors; i++) {
        gguf_tiny(&w, all.tensor[i].name);
        refuse(&w, DHOLE_ERR_FORMAT, all.tensor[i].name);
    }
    gguf_free(&all);
}

TEST(bad_hyperparameters)
{
    refuse_text("general.architecture", "bert", DHOLE_ERR_UNSUPPORTED, "architecture is \"bert\"");
    refuse_text("general.architecture", "\x1b[2J", DHOLE_ERR_UNSUPPORTED, "\"?[2J\"");
    refuse_text("llama.block_count", "two", DHOLE_ERR_FORMAT, "expected an integer");
    refuse_int("llama.block_count", 0, DHOLE_ERR_FORMAT, "1 to 1024");
    refuse_int("llama.block_count", 3, DHOLE_ERR_FORMAT, "blk.2.attn_norm.weight is missing");
    refuse_int("llama.block_count", 1, DHOLE_ERR_UNSUPPORTED, "blk.1.");
    refuse_int("llama.embedding_length", UINT32_MAX, DHOLE_ERR_FORMAT, "llama.embedding_length");
    refuse_int("llama.embedding_length", 33, DHOLE_ERR_FORMAT, "not a multiple of the 4 heads");
    refuse_int("llama.embedding_length", 8192, DHOLE_ERR_FORMAT, "a head has 2048 dimensions");
    refuse_int("llama.feed_forward_length", 96, DHOLE_ERR_FORMAT, "expected {32, 96}");
    refuse_int("llama.context_length", 0, DHOLE_ERR_FORMAT, "llama.context_length");
    refuse_int("llama.attention.head_count_kv", 3, DHOLE_ERR_FORMAT, "3 KV heads");
    refuse_int("llama.attention.head_count_kv", 8, DHOLE_ERR_FORMAT, "1 to 4");
    refuse_int("llama.attention.value_length", 4, DHOLE_ERR_UNSUPPORTED, "values of 4");
    refuse_int("llama.rope.dimension_count", 3, DHOLE_ERR_FORMAT, "not an even number");
    refuse_int("llama.rope.dimension_count", 16, DHOLE_ERR_FORMAT, "2 to 8");
    refuse_int("llama.expert_count", 8, DHOLE_ERR_UNSUPPORTED, "llama.expert_count is 8");
    refuse_int("llama.vocab_size", 7, DHOLE_ERR_FORMAT, "llama.vocab_size is 7");
    refuse_float("llama.logit_scale", 2, DHOLE_ERR_UNSUPPORTED, "llama.logit_scale is 2");
    refuse_float("llama.rope.freq_base", 0, DHOLE_ERR_FORMAT, "freq_base is 0");
    refuse_float("llama.rope.scaling.factor", 0, DHOLE_ERR_FORMAT, "scaling factor is 0");
    refuse_float("llama.attention.layer_norm_rms_epsilon", -1, DHOLE_ERR_FORMAT, "is -1");
    refuse_text("llama.rope.scaling.type", "yarn", DHOLE_ERR_UNSUPPORTED, "\"yarn\"");
    refuse_text("tokenizer.ggml.model", "llama", DHOLE_ERR_UNSUPPORTED, "\"llama\"");
    refuse_text("tokenizer.ggml.pre", "mystery", DHOLE_ERR_UNSUPPORTED, "\"mystery\"");
}

TEST(bad_weights)
{
    refuse_tensor("blk.0.attn_q.weight", DHOLE__F32, 32, 16, DHOLE_ERR_FORMAT,
                  "blk.0.attn_q.weight has the shape {32, 16, 1, 1}, expected {32, 32}");
    refuse_tensor("blk.1.ffn_down.weight", DHOLE__F32, 32, 64, DHOLE_ERR_FORMAT,
                  "expected {64, 32}");
    refuse_tensor("token_embd.weight", DHOLE__F32, 32, 7, DHOLE_ERR_FORMAT, "token_embd.weight");
    refuse_tensor("output_norm.weight", DHOLE__F16, 32, 0, DHOLE_ERR_UNSUPPORTED, "is F16");
    refuse_tensor("blk.0.attn_q.bias", DHOLE__F32, 32, 0, DHOLE_ERR_UNSUPPORTED,
                  "tensor blk.0.attn_q.bias: biases are not supported");
    refuse_tensor("blk.0.attn_q_norm.weight", DHOLE__F32, 32, 0, DHOLE_ERR_UNSUPPORTED,
                  "blk.0.attn_q_norm.weight: not a part");
    refuse_tensor("blk.00.attn_norm.weight", DHOLE__F32, 32, 0, DHOLE_ERR_UNSUPPORTED, "blk.00.");
    refuse_tensor("blk.99999999999999999999.attn_norm.weight", DHOLE__F32, 32, 0,
                  DHOLE_ERR_UNSUPPORTED, "blk.999");
    refuse_tensor("mtp.weight", DHOLE__F32, 32, 0, DHOLE_ERR_UNSUPPORTED, "mtp.weight");
}

static void take_digest(struct gguf_writer *w, uint8_t out[32])
{
    dhole_model *model = open_tiny(w);

    dhole_model_digest(model, out);
    dhole_model_close(model);
}

TEST(digest_tells_models_apart)
{
    uint8_t a[32], b[32], longer[32], other[32];
    struct gguf_writer w;

    gguf_tiny(&w, NULL);
    take_digest(&w, a);
    take_digest(&w, b);
    gguf_put(&w, NULL, 1);
    take_digest(&w, longer);
    gguf_free(&w);
    gguf_tiny_start(&w, "llama.context_length");
    gguf_u32(&w, "llama.context_length", tiny_context + 1);
    gguf_finish(&w);
    take_digest(&w, other);
    gguf_free(&w);
    ASSERT(memcmp(a, b, 32) == 0);
    ASSERT(memcmp(a, longer, 32) != 0);
    ASSERT(memcmp(a, other, 32) != 0);
}

TEST(digest_tells_weights_apart)
{
    uint8_t whole[32], cut[32];
    struct gguf_writer w;

    gguf_tiny(&w, NULL);
    take_digest(&w, whole);
    w.data[w.size - 1] ^= 1;
    take_digest(&w, cut);
    gguf_free(&w);
    ASSERT(memcmp(whole, cut, 32) != 0);
}
