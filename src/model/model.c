#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/sys.h"
#include "model/chat.h"
#include "model/model.h"
#include "model/tokenizer.h"

enum { name_max = 256, digest_size = 32, sample_max = 4096 };

struct dhole_model {
    struct dhole__gguf *gguf;
    struct dhole__llama llama;
    struct dhole__tokenizer tokenizer;
    struct dhole__chat chat;
    uint64_t weight_bytes;
    uint8_t digest[digest_size];
    char name[name_max];
};

/* Copied without control characters, as it is shown on terminals. */
static dhole_err read_name(dhole_model *m)
{
    struct dhole__gguf_string name = {"", 0};
    dhole_err err = dhole__gguf_text(m->gguf, "general.name", DHOLE__GGUF_OPTIONAL, &name);
    size_t n = name.length < name_max ? name.length : name_max - 1;

    for (size_t i = 0; i < n; i++)
        m->name[i] = (uint8_t)name.data[i] < ' ' || name.data[i] == 0x7f ? '?' : name.data[i];
    m->name[n] = '\0';
    return err;
}

/* Both ends of each tensor: what was not downloaded yet is zero there. */
static bool add_samples(EVP_MD_CTX *ctx, const struct dhole__gguf *gguf)
{
    bool ok = true;

    for (size_t i = 0; ok && i < dhole__gguf_tensor_count(gguf); i++) {
        const struct dhole__tensor *tensor = dhole__gguf_tensor(gguf, i);
        const uint8_t *data = tensor->data;
        size_t n = tensor->bytes < sample_max ? tensor->bytes : sample_max;
        ok = EVP_DigestUpdate(ctx, data, n) == 1 &&
             EVP_DigestUpdate(ctx, data + tensor->bytes - n, n) == 1;
    }
    return ok;
}

static dhole_err take_digest(dhole_model *m)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t size[8];
    const void *header;
    size_t length;
    bool ok;

    dhole__gguf_header(m->gguf, &header, &length);
    dhole__put64(size, dhole__gguf_file_size(m->gguf));
    ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
         EVP_DigestUpdate(ctx, header, length) == 1 &&
         EVP_DigestUpdate(ctx, size, sizeof size) == 1 && add_samples(ctx, m->gguf) &&
         EVP_DigestFinal_ex(ctx, m->digest, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return ok ? DHOLE_OK : dhole__fail(DHOLE_ERR_NOMEM, "OpenSSL cannot take a SHA-256 digest");
}

/* On failure the caller still owns the file. */
static dhole_err open_gguf(struct dhole__gguf *gguf, dhole_model **out)
{
    dhole_model *m = dhole__sys.calloc(1, sizeof *m);
    dhole_err err;

    if (m == NULL)
        return dhole__fail_nomem(sizeof *m, "a model");
    m->gguf = gguf;
    err = dhole__llama_load(gguf, &m->llama);
    if (!err)
        err = dhole__tokenizer_load(gguf, &m->tokenizer);
    if (!err)
        err = dhole__chat_load(gguf, &m->tokenizer, &m->chat);
    if (!err)
        err = read_name(m);
    if (!err)
        err = take_digest(m);
    if (err) {
        m->gguf = NULL;
        dhole_model_close(m);
        return err;
    }
    for (size_t i = 0; i < dhole__gguf_tensor_count(gguf); i++)
        m->weight_bytes += dhole__gguf_tensor(gguf, i)->bytes;
    *out = m;
    return DHOLE_OK;
}

dhole_err dhole__model_open_memory(const void *data, size_t size, dhole_model **out)
{
    struct dhole__gguf *gguf = NULL;
    dhole_err err = dhole__gguf_open_memory(data, size, &gguf);

    if (!err)
        err = open_gguf(gguf, out);
    if (err)
        dhole__gguf_close(gguf);
    return err;
}

dhole_err dhole_model_open(const char *path, dhole_model **out)
{
    struct dhole__gguf *gguf = NULL;
    dhole_err err = dhole__gguf_open(path, &gguf);

    if (!err)
        err = open_gguf(gguf, out);
    if (err) {
        dhole__gguf_close(gguf);
        return dhole__fail_in(err, "%s", path);
    }
    return DHOLE_OK;
}

void dhole_model_close(dhole_model *model)
{
    if (model == NULL)
        return;
    dhole__chat_unload(&model->chat);
    dhole__tokenizer_unload(&model->tokenizer);
    dhole__llama_unload(&model->llama);
    dhole__gguf_close(model->gguf);
    free(model);
}

const struct dhole__llama *dhole__model_llama(const dhole_model *model)
{
    return &model->llama;
}

void dhole_model_describe(const dhole_model *model, dhole_model_info *info)
{
    const struct dhole__llama *l = &model->llama;

    *info = (dhole_model_info){
        .name = model->name,
        .architecture = "llama",
        .layers = l->layers,
        .hidden = l->hidden,
        .heads = l->heads,
        .kv_heads = l->kv_heads,
        .ffn = l->ffn,
        .vocab = l->vocab,
        .context = l->context,
        .weight_bytes = model->weight_bytes,
    };
}

void dhole_model_digest(const dhole_model *model, uint8_t out[32])
{
    memcpy(out, model->digest, digest_size);
}

/* Hands a list to the caller of the public API; one without tokens is no NULL either. */
static dhole_err give(dhole_err err, struct dhole__ids *ids, int32_t **tokens, size_t *count)
{
    if (!err && ids->data == NULL) {
        ids->data = dhole__sys.malloc(sizeof *ids->data);
        if (ids->data == NULL)
            err = dhole__fail_nomem(sizeof *ids->data, "tokens");
    }
    if (err) {
        free(ids->data);
        return err;
    }
    *tokens = ids->data;
    *count = ids->count;
    return DHOLE_OK;
}

dhole_err dhole_tokenize(const dhole_model *model, const char *text, size_t length, bool special,
                         int32_t **tokens, size_t *count)
{
    struct dhole__ids ids = {0};
    dhole_err err = dhole__tokenizer_encode(&model->tokenizer, text, length, special, &ids);

    return give(err, &ids, tokens, count);
}

const char *dhole_token_bytes(const dhole_model *model, int32_t token, size_t *length)
{
    const struct dhole__vocab *v = &model->tokenizer.vocab;

    if (token < 0 || token >= v->size)
        return NULL;
    *length = v->bytes_at[token + 1] - v->bytes_at[token];
    return v->bytes + v->bytes_at[token];
}

bool dhole_token_is_end(const dhole_model *model, int32_t token)
{
    for (size_t i = 0; i < model->tokenizer.end_count; i++)
        if (model->tokenizer.end[i] == token)
            return true;
    return false;
}

dhole_err dhole_prompt_tokens(const dhole_model *model, const char *system, const char *prompt,
                              bool raw, int32_t **tokens, size_t *count)
{
    const struct dhole__tokenizer *t = &model->tokenizer;
    struct dhole__ids ids = {0};
    dhole_err err = DHOLE_OK;

    if (raw && system != NULL)
        return dhole__fail(DHOLE_ERR_INVALID,
                           "a system text needs the chat template; a raw prompt has none");
    if (t->add_bos)
        err = dhole__ids_add(&ids, t->bos);
    if (!err && raw)
        err = dhole__tokenizer_encode(t, prompt, strlen(prompt), true, &ids);
    else if (!err)
        err = dhole__chat_prompt(&model->chat, t, system, prompt, &ids);
    return give(err, &ids, tokens, count);
}
