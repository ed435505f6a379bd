#include "model/vocab.h"

#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "model/utf8.h"

enum { alphabet_end = 256 + 68 /* bytes that are not printable */ };

static bool is_printable(int byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
}

static void make_alphabet(uint16_t letter[256])
{
    uint16_t next = 256;

    for (int b = 0; b < 256; b++)
        letter[b] = is_printable(b) ? (uint16_t)b : next++;
}

/* FNV-1a, finished with a multiplication so that the low bits depend on all of it. */
static size_t hash(struct dhole__gguf_string s)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < s.length; i++)
        h = (h ^ (uint8_t)s.data[i]) * 0x100000001b3u;
    return (size_t)((h * 0x9e3779b97f4a7c15u) >> 20);
}

/* Where the name is in the table, or the free place where it would be. */
static size_t locate(const struct dhole__vocab *v, struct dhole__gguf_string name)
{
    size_t i = hash(name) & v->table_mask;

    for (; v->table[i] >= 0; i = (i + 1) & v->table_mask) {
        struct dhole__gguf_string other = v->name[v->table[i]];
        if (other.length == name.length && memcmp(other.data, name.data, name.length) == 0)
            break;
    }
    return i;
}

int32_t dhole__vocab_find(const struct dhole__vocab *v, struct dhole__gguf_string name)
{
    return v->table[locate(v, name)];
}

int32_t dhole__vocab_find_bytes(const struct dhole__vocab *v, const char *bytes, size_t length)
{
    char name[2 * dhole__vocab_bytes_max];
    size_t n = 0;
    int32_t token;

    if (length > dhole__vocab_bytes_max)
        return -1;
    for (size_t i = 0; i < length; i++) {
        uint16_t c = v->letter[(uint8_t)bytes[i]];
        if (c >= 0x80)
            name[n++] = (char)(0xc0 | c >> 6);
        name[n++] = (char)(c < 0x80 ? c : 0x80 | (c & 0x3f));
    }
    token = dhole__vocab_find(v, (struct dhole__gguf_string){name, n});
    return token >= 0 && dhole__vocab_is_text(v, token) ? token : -1;
}

bool dhole__vocab_is_text(const struct dhole__vocab *v, int32_t token)
{
    return v->kind[token] == DHOLE__TOKEN_NORMAL || v->kind[token] == DHOLE__TOKEN_UNUSED;
}

/* Writes the bytes that a name in the alphabet stands for and returns their number; a name
 * that is not in the alphabet stands for itself. Never more bytes than the name has. */
static size_t spell(struct dhole__gguf_string name, const int16_t byte_of[alphabet_end], char *out)
{
    size_t n = 0;

    for (size_t i = 0, step; i < name.length; i += step) {
        uint32_t code;
        step = dhole__utf8_decode((const uint8_t *)name.data + i, name.length - i, &code);
        if (step == 0 || code >= alphabet_end || byte_of[code] < 0) {
            memcpy(out, name.data, name.length);
            return name.length;
        }
        out[n++] = (char)byte_of[code];
    }
    return n;
}

static dhole_err read_names(const struct dhole__gguf *g, struct dhole__vocab *v, size_t *total)
{
    struct dhole__gguf_array names;
    dhole_err err = dhole__gguf_elements(g, "tokenizer.ggml.tokens", DHOLE__GGUF_REQUIRED,
                                         DHOLE__GGUF_STRING, &names);

    if (err)
        return err;
    if (names.count == 0 || names.count > dhole__vocab_max)
        return dhole__fail(DHOLE_ERR_FORMAT, "a vocabulary of %zu tokens, 1 to %d are allowed",
                           names.count, dhole__vocab_max);
    v->size = (int32_t)names.count;
    v->name = dhole__sys.malloc(names.count * sizeof *v->name);
    if (v->name == NULL)
        return dhole__fail_nomem(names.count * sizeof *v->name, "the vocabulary");
    *total = 0;
    for (int32_t i = 0; i < v->size; i++) {
        v->name[i] = dhole__gguf_next_string(&names);
        *total += v->name[i].length;
    }
    return DHOLE_OK;
}

/* Without token types every token is an ordinary one, but for the ends of a text. */
static dhole_err read_kinds(const struct dhole__gguf *g, struct dhole__vocab *v)
{
    static const char *const ends[] = {"tokenizer.ggml.bos_token_id",
                                       "tokenizer.ggml.eos_token_id"};
    struct dhole__gguf_array types = {0};
    dhole_err err = dhole__gguf_elements(g, "tokenizer.ggml.token_type", DHOLE__GGUF_OPTIONAL,
                                         DHOLE__GGUF_I32, &types);

    if (err)
        return err;
    v->kind = dhole__sys.malloc((size_t)v->size);
    if (v->kind == NULL)
        return dhole__fail_nomem((size_t)v->size, "the vocabulary");
    memset(v->kind, DHOLE__TOKEN_NORMAL, (size_t)v->size);
    if (types.data == NULL) {
        for (size_t i = 0; i < sizeof ends / sizeof *ends && !err; i++) {
            int token = -1;
            err = dhole__gguf_int(g, ends[i], DHOLE__GGUF_OPTIONAL, 0, v->size - 1, &token);
            if (!err && token >= 0)
                v->kind[token] = DHOLE__TOKEN_CONTROL;
        }
        return err;
    }
    if (types.count != (size_t)v->size)
        return dhole__fail(DHOLE_ERR_FORMAT, "%zu token types for a vocabulary of %d tokens",
                           types.count, v->size);
    for (int32_t i = 0; i < v->size; i++) {
        const uint8_t *p = types.data + 4 * (size_t)i;
        if (p[0] < DHOLE__TOKEN_NORMAL || p[0] > DHOLE__TOKEN_BYTE || p[1] || p[2] || p[3])
            return dhole__fail(DHOLE_ERR_FORMAT, "token %d is of type %d, 1 to 6 are known", i,
                               (int)((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
                                     (uint32_t)p[3] << 24));
        v->kind[i] = p[0];
    }
    return DHOLE_OK;
}

static dhole_err spell_all(struct dhole__vocab *v, size_t total)
{
    int16_t byte_of[alphabet_end];
    size_t at = 0;

    v->bytes = dhole__sys.malloc(total + 1);
    v->bytes_at = dhole__sys.malloc(((size_t)v->size + 1) * sizeof *v->bytes_at);
    if (v->bytes == NULL || v->bytes_at == NULL)
        return dhole__fail_nomem(total, "the bytes of all tokens");
    memset(byte_of, -1, sizeof byte_of);
    for (int b = 0; b < 256; b++)
        byte_of[v->letter[b]] = (int16_t)b;
    for (int32_t i = 0; i < v->size; i++) {
        v->bytes_at[i] = at;
        if (v->kind[i] == DHOLE__TOKEN_USER_DEFINED) {
            memcpy(v->bytes + at, v->name[i].data, v->name[i].length);
            at += v->name[i].length;
        } else if (dhole__vocab_is_text(v, i) || v->kind[i] == DHOLE__TOKEN_BYTE) {
            at += spell(v->name[i], byte_of, v->bytes + at);
        }
    }
    v->bytes_at[v->size] = at;
    return DHOLE_OK;
}

static dhole_err index_names(struct dhole__vocab *v)
{
    size_t places = 2;

    while (places < 2 * (size_t)v->size)
        places *= 2;
    v->table = dhole__sys.malloc(places * sizeof *v->table);
    if (v->table == NULL)
        return dhole__fail_nomem(places * sizeof *v->table, "the index of the vocabulary");
    v->table_mask = places - 1;
    memset(v->table, -1, places * sizeof *v->table);
    for (int32_t i = 0; i < v->size; i++) {
        size_t place = locate(v, v->name[i]);
        if (v->table[place] < 0)
            v->table[place] = i;
    }
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;
        v->byte_token[b] = dhole__vocab_find_bytes(v, &byte, 1);
    }
    return DHOLE_OK;
}

dhole_err dhole__vocab_load(const struct dhole__gguf *g, struct dhole__vocab *v)
{
    size_t total = 0;
    dhole_err err;

    *v = (struct dhole__vocab){0};
    make_alphabet(v->letter);
    err = read_names(g, v, &total);
    if (!err)
        err = read_kinds(g, v);
    if (!err)
        err = spell_all(v, total);
    if (!err)
        err = index_names(v);
    if (err)
        dhole__vocab_unload(v);
    return err;
}

void dhole__vocab_unload(struct dhole__vocab *v)
{
    free(v->name);
    free(v->kind);
    free(v->bytes);
    free(v->bytes_at);
    free(v->table);
    *v = (struct dhole__vocab){0};
}
