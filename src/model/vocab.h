/* The vocabulary of a byte-level tokenizer: what each token is called in the file, which
 * kind it is, and the bytes that it stands for.
 *
 * The file spells ordinary tokens in an alphabet of 256 printable code points, one a byte
 * (GPT-2's, github.com/openai/gpt-2 src/encoder.py): bytes that are printable in Latin-1
 * stand for themselves, the others, in order, for U+0100 and up. */
#ifndef DHOLE_MODEL_VOCAB_H
#define DHOLE_MODEL_VOCAB_H

#include "model/gguf.h"

/* GGUF's numbers. */
enum dhole__token_kind {
    DHOLE__TOKEN_NORMAL = 1,
    DHOLE__TOKEN_UNKNOWN = 2,
    DHOLE__TOKEN_CONTROL = 3,
    DHOLE__TOKEN_USER_DEFINED = 4,
    DHOLE__TOKEN_UNUSED = 5,
    DHOLE__TOKEN_BYTE = 6
};

enum { dhole__vocab_max = 1 << 20 }; /* tokens */

struct dhole__vocab {
    int32_t size;
    struct dhole__gguf_string *name; /* [size], in the file */
    uint8_t *kind;                   /* [size], enum dhole__token_kind */
    char *bytes;                     /* of all tokens, one after the other */
    size_t *bytes_at;                /* [size + 1] */
    uint16_t letter[256];            /* the alphabet */
    int32_t byte_token[256];         /* the token of a single byte, or -1 */
    int32_t *table;                  /* from names to tokens: open addressing, -1 is free */
    size_t table_mask;
};

/* The vocabulary refers to the file's memory. On failure nothing is left to free. */
DHOLE__MUST_CHECK dhole_err dhole__vocab_load(const struct dhole__gguf *gguf,
                                              struct dhole__vocab *out);
void dhole__vocab_unload(struct dhole__vocab *vocab);

/* The token of that name, -1 when there is none; of equal names the first. */
int32_t dhole__vocab_find(const struct dhole__vocab *vocab, struct dhole__gguf_string name);

/* The ordinary token that stands for these bytes, -1 when there is none. Only short ones are
 * looked for: dhole__vocab_bytes_max. */
enum { dhole__vocab_bytes_max = 512 };
int32_t dhole__vocab_find_bytes(const struct dhole__vocab *vocab, const char *bytes, size_t length);

/* Whether ordinary text may become this token. */
bool dhole__vocab_is_text(const struct dhole__vocab *vocab, int32_t token);

#endif
