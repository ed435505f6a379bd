/* Chat templates: from a system text and the user's to the tokens of a prompt. One form is
 * known, ChatML: <|im_start|>ROLE\nTEXT<|im_end|>\n for each turn. */
#ifndef DHOLE_MODEL_CHAT_H
#define DHOLE_MODEL_CHAT_H

#include "model/tokenizer.h"

struct dhole__chat {
    bool known;         /* the file has a template, and it is ChatML */
    int32_t start, end; /* <|im_start|> and <|im_end|> */
    char *system;       /* the template's own system text, NUL-terminated; NULL: none */
};

/* A template that is missing or of another form is no failure. On failure nothing is left to
 * free. */
DHOLE__MUST_CHECK dhole_err dhole__chat_load(const struct dhole__gguf *gguf,
                                             const struct dhole__tokenizer *tokenizer,
                                             struct dhole__chat *out);
void dhole__chat_unload(struct dhole__chat *chat);

/* Adds the tokens of one turn of the user and of the beginning of the answer, after a system turn
 * when there is a text for it (NULL: the template's). Names of special tokens in the
 * texts stay text. DHOLE_ERR_UNSUPPORTED when the template is not known. */
DHOLE__MUST_CHECK dhole_err dhole__chat_prompt(const struct dhole__chat *chat,
                                               const struct dhole__tokenizer *tokenizer,
                                               const char *system, const char *prompt,
                                               struct dhole__ids *ids);

#endif
