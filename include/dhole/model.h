/* Model files: weights, tokenizer, chat template. */
#ifndef DHOLE_MODEL_H
#define DHOLE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dhole/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A model file, mapped into memory and checked. Immutable once open: any thread may
 * use it. */
typedef struct dhole_model dhole_model;

typedef struct dhole_model_info {
    const char *name;         /* "" when the file has none */
    const char *architecture; /* "llama" */
    int layers, hidden, heads, kv_heads, ffn, vocab;
    int context;           /* longest sequence in tokens */
    uint64_t weight_bytes; /* of all tensors, as stored */
} dhole_model_info;

/* Opens a GGUF file (v2 or v3, Llama architecture). Blocks on the disk only as far as
 * the header; weights are paged in on use. DHOLE_ERR_FORMAT says what is wrong and
 * where; DHOLE_ERR_UNSUPPORTED names what a sound file has that we cannot run, such as another
 * architecture or element type; DHOLE_ERR_SYSTEM when the file cannot be opened. */
dhole_err dhole_model_open(const char *path, dhole_model **out);

/* NULL is allowed. */
void dhole_model_close(dhole_model *model);

/* Strings belong to the model. */
void dhole_model_describe(const dhole_model *model, dhole_model_info *info);

/* SHA-256 over the header (metadata, names, shapes, offsets), the file's length, and the first and
 * last 4 KiB of each tensor: equal for ranks that hold the same model, cheap to take. It tells
 * other models and half downloads apart, not a file of which single weights were changed. */
void dhole_model_digest(const dhole_model *model, uint8_t out[32]);

/* Text (UTF-8; invalid bytes are kept as bytes) to token ids. With `special`, the
 * names of control tokens in the text, such as <|im_start|>, become those tokens;
 * without, they are ordinary text. The caller frees *tokens with free(). DHOLE_ERR_LIMIT when the
 * text is longer than 16 MiB; DHOLE_ERR_UNSUPPORTED names a byte that the vocabulary has no token
 * for: nothing is left out silently. */
dhole_err dhole_tokenize(const dhole_model *model, const char *text, size_t length, bool special,
                         int32_t **tokens, size_t *count);

/* The bytes that a token stands for, *length of them, not NUL-terminated: possibly a
 * part of a UTF-8 sequence; none (but not NULL) for a control token. Belongs to the model. NULL
 * when token is not in the vocabulary. */
const char *dhole_token_bytes(const dhole_model *model, int32_t token, size_t *length);

/* Whether the token ends a text or a turn. */
bool dhole_token_is_end(const dhole_model *model, int32_t token);

/* The tokens of a prompt: with a chat template (ChatML), one turn of the user after an optional
 * system text (NULL: the template's default), ready for the answer; names of control tokens in
 * these texts stay text. `raw` takes the prompt as it is, such names being those tokens; a system
 * text is then DHOLE_ERR_INVALID. A begin token comes first when the file asks for one. The
 * caller frees *tokens with free(). DHOLE_ERR_UNSUPPORTED when the file's template is not one we
 * know: use raw. Else fails as dhole_tokenize. */
dhole_err dhole_prompt_tokens(const dhole_model *model, const char *system, const char *prompt,
                              bool raw, int32_t **tokens, size_t *count);

#ifdef __cplusplus
}
#endif
#endif
