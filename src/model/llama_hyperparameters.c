#include "base/error.h"
#include "model/model.h"
#include "model/vocab.h"

/* Above what any model has; heads times their dimensions fit an int. */
enum {
    layers_max = 1024,
    heads_max = 1024,
    head_dim_max = 1024,
    hidden_max = 1 << 17,
    ffn_max = 1 << 20,
    context_max = 1 << 24
};

static dhole_err check_architecture(const struct dhole__gguf *g)
{
    struct dhole__gguf_string name;
    char buf[dhole__gguf_shown_size];
    dhole_err err = dhole__gguf_text(g, "general.architecture", DHOLE__GGUF_REQUIRED, &name);

    if (!err && !dhole__gguf_string_is(name, "llama"))
        err =
            dhole__fail(DHOLE_ERR_UNSUPPORTED, "the architecture is \"%s\"; \"llama\" is supported",
                        dhole__gguf_shown(name, buf));
    return err;
}

/* What a variant of Llama would compute in another way. */
static dhole_err check_variant(const struct dhole__gguf *g)
{
    static const char *const zero_keys[] = {"llama.expert_count", "llama.attention.sliding_window"};
    static const char *const one_keys[] = {"llama.rope.scaling.attn_factor", "llama.logit_scale",
                                           "llama.residual_scale", "llama.embedding_scale"};
    dhole_err err = DHOLE_OK;

    for (size_t i = 0; i < sizeof zero_keys / sizeof *zero_keys && !err; i++) {
        int x = 0;
        err = dhole__gguf_int(g, zero_keys[i], DHOLE__GGUF_OPTIONAL, 0, INT32_MAX, &x);
        if (!err && x != 0)
            err = dhole__fail(DHOLE_ERR_UNSUPPORTED, "%s is %d; only 0 is supported", zero_keys[i],
                              x);
    }
    for (size_t i = 0; i < sizeof one_keys / sizeof *one_keys && !err; i++) {
        float x = 1;
        err = dhole__gguf_float(g, one_keys[i], DHOLE__GGUF_OPTIONAL, &x);
        if (!err && x != 1)
            err = dhole__fail(DHOLE_ERR_UNSUPPORTED, "%s is %g; only 1 is supported", one_keys[i],
                              (double)x);
    }
    return err;
}

static dhole_err read_heads(const struct dhole__gguf *g, struct dhole__llama *l)
{
    int value_length;
    dhole_err err = dhole__gguf_int(g, "llama.attention.head_count", DHOLE__GGUF_REQUIRED, 1,
                                    heads_max, &l->heads);

    if (err)
        return err;
    l->kv_heads = l->heads;
    err = dhole__gguf_int(g, "llama.attention.head_count_kv", DHOLE__GGUF_OPTIONAL, 1, l->heads,
                          &l->kv_heads);
    if (err)
        return err;
    if (l->heads % l->kv_heads != 0)
        return dhole__fail(DHOLE_ERR_FORMAT, "%d attention heads cannot share %d KV heads evenly",
                           l->heads, l->kv_heads);
    if (!dhole__gguf_has(g, "llama.attention.key_length") && l->hidden % l->heads != 0)
        return dhole__fail(DHOLE_ERR_FORMAT,
                           "the embedding length %d is not a multiple of the %d heads", l->hidden,
                           l->heads);
    l->head_dim = l->hidden / l->heads;
    err = dhole__gguf_int(g, "llama.attention.key_length", DHOLE__GGUF_OPTIONAL, 1, head_dim_max,
                          &l->head_dim);
    if (err)
        return err;
    if (l->head_dim > head_dim_max)
        return dhole__fail(DHOLE_ERR_FORMAT, "a head has %d dimensions, at most %d are allowed",
                           l->head_dim, head_dim_max);
    value_length = l->head_dim;
    err = dhole__gguf_int(g, "llama.attention.value_length", DHOLE__GGUF_OPTIONAL, 1, head_dim_max,
                          &value_length);
    if (!err && value_length != l->head_dim)
        err = dhole__fail(DHOLE_ERR_UNSUPPORTED,
                          "keys of %d and values of %d dimensions; only equal ones are supported",
                          l->head_dim, value_length);
    return err;
}

static dhole_err read_rope_scaling(const struct dhole__gguf *g, struct dhole__llama *l)
{
    struct dhole__gguf_string type = {"", 0};
    float factor = 1;
    char buf[dhole__gguf_shown_size];
    dhole_err err = dhole__gguf_text(g, "llama.rope.scaling.type", DHOLE__GGUF_OPTIONAL, &type);

    if (err)
        return err;
    l->rope_scale = 1;
    if (dhole__gguf_string_is(type, "none"))
        return DHOLE_OK;
    if (type.length > 0 && !dhole__gguf_string_is(type, "linear"))
        return dhole__fail(DHOLE_ERR_UNSUPPORTED,
                           "the rope scaling type is \"%s\"; none and linear are supported",
                           dhole__gguf_shown(type, buf));
    /* Older files have the factor alone, under the first of these keys. */
    err = dhole__gguf_float(g, "llama.rope.scale_linear", DHOLE__GGUF_OPTIONAL, &factor);
    if (!err)
        err = dhole__gguf_float(g, "llama.rope.scaling.factor", DHOLE__GGUF_OPTIONAL, &factor);
    if (!err && !(factor >= 1e-3f && factor <= 1e6f))
        err =
            dhole__fail(DHOLE_ERR_FORMAT, "the rope scaling factor is %g, 0.001 to 1e6 are allowed",
                        (double)factor);
    l->rope_scale = 1 / factor;
    return err;
}

static dhole_err read_rope(const struct dhole__gguf *g, struct dhole__llama *l)
{
    dhole_err err;

    l->rope_dims = l->head_dim;
    l->rope_base = 10000;
    err = dhole__gguf_int(g, "llama.rope.dimension_count", DHOLE__GGUF_OPTIONAL, 2, l->head_dim,
                          &l->rope_dims);
    if (!err)
        err = dhole__gguf_float(g, "llama.rope.freq_base", DHOLE__GGUF_OPTIONAL, &l->rope_base);
    if (err)
        return err;
    if (l->rope_dims % 2 != 0)
        return dhole__fail(DHOLE_ERR_FORMAT, "%d rotated dimensions, not an even number",
                           l->rope_dims);
    if (l->rope_base < 1)
        return dhole__fail(DHOLE_ERR_FORMAT, "llama.rope.freq_base is %g, at least 1 is allowed",
                           (double)l->rope_base);
    return read_rope_scaling(g, l);
}

static dhole_err read_vocab(const struct dhole__gguf *g, struct dhole__llama *l)
{
    struct dhole__gguf_array tokens;
    dhole_err err = dhole__gguf_elements(g, "tokenizer.ggml.tokens", DHOLE__GGUF_REQUIRED,
                                         DHOLE__GGUF_STRING, &tokens);

    if (err)
        return err;
    if (tokens.count == 0 || tokens.count > dhole__vocab_max)
        return dhole__fail(DHOLE_ERR_FORMAT, "a vocabulary of %zu tokens, 1 to %d are allowed",
                           tokens.count, dhole__vocab_max);
    l->vocab = (int)tokens.count;
    return dhole__gguf_int(g, "llama.vocab_size", DHOLE__GGUF_OPTIONAL, l->vocab, l->vocab,
                           &l->vocab);
}

dhole_err dhole__llama_hyperparameters(const struct dhole__gguf *g, struct dhole__llama *l)
{
    const struct {
        const char *key;
        int max, *out;
    } sizes[] = {
        {"llama.block_count", layers_max, &l->layers},
        {"llama.context_length", context_max, &l->context},
        {"llama.embedding_length", hidden_max, &l->hidden},
        {"llama.feed_forward_length", ffn_max, &l->ffn},
    };
    dhole_err err = check_architecture(g);

    if (!err)
        err = check_variant(g);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && !err; i++)
        err = dhole__gguf_int(g, sizes[i].key, DHOLE__GGUF_REQUIRED, 1, sizes[i].max, sizes[i].out);
    if (!err)
        err = dhole__gguf_float(g, "llama.attention.layer_norm_rms_epsilon", DHOLE__GGUF_REQUIRED,
                                &l->norm_eps);
    if (!err && !(l->norm_eps >= 0 && l->norm_eps < 1))
        err = dhole__fail(DHOLE_ERR_FORMAT,
                          "llama.attention.layer_norm_rms_epsilon is %g, 0 to 1 are allowed",
                          (double)l->norm_eps);
    if (!err)
        err = read_heads(g, l);
    if (!err)
        err = read_rope(g, l);
    if (!err)
        err = read_vocab(g, l);
    return err;
}
