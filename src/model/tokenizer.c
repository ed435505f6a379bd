#include "model/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/sys.h"

enum { text_max = 16 << 20, ends_max = 16 };

struct dhole__special {
    struct dhole__gguf_string name;
    int32_t token;
};

dhole_err dhole__ids_add(struct dhole__ids *ids, int32_t token)
{
    if (ids->count == ids->capacity) {
        size_t capacity = ids->capacity > 0 ? 2 * ids->capacity : 64;
        int32_t *data = dhole__sys.realloc(ids->data, capacity * sizeof *data);
        if (data == NULL)
            return dhole__fail_nomem(capacity * sizeof *data, "tokens");
        ids->data = data;
        ids->capacity = capacity;
    }
    ids->data[ids->count++] = token;
    return DHOLE_OK;
}

static bool is_special(const struct dhole__vocab *v, int32_t token)
{
    return (v->kind[token] == DHOLE__TOKEN_CONTROL ||
            v->kind[token] == DHOLE__TOKEN_USER_DEFINED) &&
           v->name[token].length > 0;
}

static int compare_special(const void *a, const void *b)
{
    const struct dhole__special *x = a, *y = b;
    int order = (uint8_t)x->name.data[0] - (uint8_t)y->name.data[0];

    if (order == 0)
        order = (x->name.length < y->name.length) - (x->name.length > y->name.length);
    return order != 0 ? order : x->token - y->token;
}

static dhole_err load_special(struct dhole__tokenizer *t)
{
    size_t count = 0;

    for (int32_t i = 0; i < t->vocab.size; i++)
        count += is_special(&t->vocab, i);
    t->special = dhole__sys.malloc((count + 1) * sizeof *t->special);
    if (t->special == NULL)
        return dhole__fail_nomem(count * sizeof *t->special, "the special tokens");
    count = 0;
    for (int32_t i = 0; i < t->vocab.size; i++)
        if (is_special(&t->vocab, i)) {
            t->special[count++] = (struct dhole__special){t->vocab.name[i], i};
            t->special_from[(uint8_t)t->vocab.name[i].data[0] + 1]++;
        }
    qsort(t->special, count, sizeof *t->special, compare_special);
    for (int b = 0; b < 256; b++)
        t->special_from[b + 1] += t->special_from[b];
    return DHOLE_OK;
}

/* Adds to the end tokens what the file or a name that models share says is one. */
static dhole_err load_ends(const struct dhole__gguf *g, struct dhole__tokenizer *t)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    static const char *const names[] = {"<|endoftext|>", "<|end_of_text|>", "<|im_end|>",
                                        "<|eot_id|>",    "<|eom_id|>",      "</s>"};
    dhole_err err = DHOLE_OK;

    t->end = dhole__sys.malloc(ends_max * sizeof *t->end);
    if (t->end == NULL)
        return dhole__fail_nomem(ends_max * sizeof *t->end, "the end tokens");
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !err; i++) {
        int token = -1;
        err = dhole__gguf_int(g, keys[i], DHOLE__GGUF_OPTIONAL, 0, t->vocab.size - 1, &token);
        if (token >= 0)
            t->end[t->end_count++] = token;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names && !err; i++) {
        int32_t token = dhole__tokenizer_special(t, names[i]);
        if (token >= 0)
            t->end[t->end_count++] = token;
    }
    return err;
}

static dhole_err load_bos(const struct dhole__gguf *g, struct dhole__tokenizer *t)
{
    int bos = -1;
    dhole_err err = dhole__gguf_int(g, "tokenizer.ggml.bos_token_id", DHOLE__GGUF_OPTIONAL, 0,
                                    t->vocab.size - 1, &bos);

    t->bos = bos;
    t->add_bos = bos >= 0 && dhole__split_adds_bos(t->split);
    if (!err)
        err =
            dhole__gguf_bool(g, "tokenizer.ggml.add_bos_token", DHOLE__GGUF_OPTIONAL, &t->add_bos);
    if (!err && t->add_bos && bos < 0)
        err = dhole__fail(DHOLE_ERR_FORMAT, "tokenizer.ggml.add_bos_token is set, but "
                                            "tokenizer.ggml.bos_token_id is missing");
    return err;
}

static dhole_err load_split(const struct dhole__gguf *g, struct dhole__tokenizer *t)
{
    struct dhole__gguf_string model = {0}, pre = {"", 0};
    char buf[dhole__gguf_shown_size];
    dhole_err err = dhole__gguf_text(g, "tokenizer.ggml.model", DHOLE__GGUF_REQUIRED, &model);

    if (err)
        return err;
    if (!dhole__gguf_string_is(model, "gpt2"))
        return dhole__fail(DHOLE_ERR_UNSUPPORTED,
                           "tokenizer.ggml.model is \"%s\"; \"gpt2\" (byte-level BPE) is supported",
                           dhole__gguf_shown(model, buf));
    err = dhole__gguf_text(g, "tokenizer.ggml.pre", DHOLE__GGUF_OPTIONAL, &pre);
    return err ? err : dhole__split_create(pre, &t->split);
}

dhole_err dhole__tokenizer_load(const struct dhole__gguf *g, struct dhole__tokenizer *t)
{
    dhole_err err;

    *t = (struct dhole__tokenizer){.bos = -1};
    err = load_split(g, t);
    if (!err)
        err = dhole__vocab_load(g, &t->vocab);
    if (!err)
        err = dhole__bpe_load(g, &t->vocab, &t->bpe);
    if (!err)
        err = load_special(t);
    if (!err)
        err = load_bos(g, t);
    if (!err)
        err = load_ends(g, t);
    if (err)
        dhole__tokenizer_unload(t);
    return err;
}

void dhole__tokenizer_unload(struct dhole__tokenizer *t)
{
    dhole__split_free(t->split);
    dhole__vocab_unload(&t->vocab);
    dhole__bpe_unload(&t->bpe);
    free(t->special);
    free(t->end);
    *t = (struct dhole__tokenizer){.bos = -1};
}

int32_t dhole__tokenizer_special(const struct dhole__tokenizer *t, const char *name)
{
    int32_t token = dhole__vocab_find(&t->vocab, (struct dhole__gguf_string){name, strlen(name)});

    return token >= 0 && is_special(&t->vocab, token) ? token : -1;
}

/* One call of dhole__tokenizer_encode. */
struct encoding {
    const struct dhole__tokenizer *tokenizer;
    const char *text;
    struct dhole__ids *ids;
    struct dhole__bpe_scratch scratch;
};

static dhole_err add_piece(void *arg, const char *piece, size_t length)
{
    struct encoding *e = arg;
    const struct dhole__vocab *v = &e->tokenizer->vocab;
    size_t first = e->ids->count;
    dhole_err err = DHOLE_OK;

    if (dhole__split_whole_pieces(e->tokenizer->split)) {
        int32_t token = dhole__vocab_find_bytes(v, piece, length);
        if (token >= 0)
            return dhole__ids_add(e->ids, token);
    }
    for (size_t i = 0; i < length && !err; i++) {
        int32_t token = v->byte_token[(uint8_t)piece[i]];
        if (token < 0)
            return dhole__fail(DHOLE_ERR_UNSUPPORTED,
                               "byte %td of the text is 0x%02x, for which this model has no token",
                               piece + i - e->text, (uint8_t)piece[i]);
        err = dhole__ids_add(e->ids, token);
    }
    if (err)
        return err;
    err = dhole__bpe_merge(&e->tokenizer->bpe, &e->scratch, e->ids->data + first, &length);
    e->ids->count = first + length;
    return err;
}

/* The special token whose name the text starts with, the longest such. */
static const struct dhole__special *special_at(const struct dhole__tokenizer *t, const char *text,
                                               size_t length)
{
    uint8_t b = (uint8_t)text[0];

    for (size_t i = t->special_from[b]; i < t->special_from[b + 1]; i++) {
        const struct dhole__special *s = &t->special[i];
        if (s->name.length <= length && memcmp(s->name.data, text, s->name.length) == 0)
            return s;
    }
    return NULL;
}

static dhole_err encode_special(struct encoding *e, size_t length)
{
    const struct dhole__tokenizer *t = e->tokenizer;
    size_t from = 0, i = 0;
    dhole_err err = DHOLE_OK;

    while (i < length && !err) {
        const struct dhole__special *s = special_at(t, e->text + i, length - i);
        if (s == NULL) {
            i++;
            continue;
        }
        err = dhole__split_run(t->split, e->text + from, i - from, add_piece, e);
        if (!err)
            err = dhole__ids_add(e->ids, s->token);
        from = i += s->name.length;
    }
    if (!err)
        err = dhole__split_run(t->split, e->text + from, length - from, add_piece, e);
    return err;
}

dhole_err dhole__tokenizer_encode(const struct dhole__tokenizer *t, const char *text, size_t length,
                                  bool special, struct dhole__ids *ids)
{
    struct encoding e = {.tokenizer = t, .text = text, .ids = ids};
    dhole_err err;

    if (length > text_max)
        return dhole__fail(DHOLE_ERR_LIMIT, "a text of %zu bytes, at most %d are allowed", length,
                           text_max);
    if (special)
        err = encode_special(&e, length);
    else
        err = dhole__split_run(t->split, text, length, add_piece, &e);
    dhole__bpe_scratch_free(&e.scratch);
    return err;
}
