#include "model/chat.h"

#include <stdlib.h>
#include <string.h>

#include "base/sys.h"

static const char start_name[] = "<|im_start|>", end_name[] = "<|im_end|>";

static const char *find(const char *from, const char *end, const char *what)
{
    size_t n = strlen(what);

    for (; (size_t)(end - from) >= n; from++)
        if (memcmp(from, what, n) == 0)
            return from;
    return NULL;
}

/* Takes one character off the text of a template: an escape sequence when it is inside a quoted
 * string. False at the end of that string, of the text or at the start of an expression. */
static bool take_char(const char **at, const char *end, char quote, char *out)
{
    const char *p = *at;

    if (p == end || (quote != 0 && *p == quote))
        return false;
    if (quote == 0 && p + 1 < end && p[0] == '{' && (p[1] == '{' || p[1] == '%' || p[1] == '#'))
        return false;
    *out = *p++;
    if (quote != 0 && *out == '\\' && p < end) {
        *out = *p == 'n' ? '\n' : *p == 't' ? '\t' : *p;
        p++;
    }
    *at = p;
    return true;
}

/* Whether a system turn is written out in the template, with `at` just behind its start token: if
 * so, out is its text, which is never longer than the template. */
static bool constant_system(const char *at, const char *end, char quote, char *out)
{
    static const char role[] = "system\n";

    for (const char *c = role; *c != '\0'; c++)
        if (!take_char(&at, end, quote, out) || *out != *c)
            return false;
    while ((size_t)(end - at) < strlen(end_name) || memcmp(at, end_name, strlen(end_name)) != 0) {
        if (!take_char(&at, end, quote, out) || *out == '\0')
            return false;
        out++;
    }
    *out = '\0';
    return true;
}

/* The template's own system text, which it uses when the conversation brings none. */
static dhole_err find_system(struct dhole__gguf_string template, char **out)
{
    const char *at = template.data, *end = at + template.length;
    char *text = dhole__sys.malloc(template.length + 1);

    if (text == NULL)
        return dhole__fail_nomem(template.length + 1, "the template's system text");
    while ((at = find(at, end, start_name)) != NULL) {
        char before = at > template.data ? at[-1] : '\0';
        at += strlen(start_name);
        if (constant_system(at, end, before == '\'' || before == '"' ? before : '\0', text)) {
            *out = text;
            return DHOLE_OK;
        }
    }
    free(text);
    return DHOLE_OK;
}

dhole_err dhole__chat_load(const struct dhole__gguf *g, const struct dhole__tokenizer *tokenizer,
                           struct dhole__chat *chat)
{
    struct dhole__gguf_string template = {"", 0};
    dhole_err err = dhole__gguf_text(g, "tokenizer.chat_template", DHOLE__GGUF_OPTIONAL, &template);

    *chat = (struct dhole__chat){0};
    if (err)
        return err;
    chat->start = dhole__tokenizer_special(tokenizer, start_name);
    chat->end = dhole__tokenizer_special(tokenizer, end_name);
    chat->known = chat->start >= 0 && chat->end >= 0 &&
                  find(template.data, template.data + template.length, start_name) != NULL;
    return chat->known ? find_system(template, &chat->system) : DHOLE_OK;
}

void dhole__chat_unload(struct dhole__chat *chat)
{
    free(chat->system);
    *chat = (struct dhole__chat){0};
}

/* Adds the start token and "ROLE\nTEXT", encoded as one text, as words may span the line end. */
static dhole_err open_turn(const struct dhole__chat *chat, const struct dhole__tokenizer *tokenizer,
                           const char *role, const char *text, struct dhole__ids *ids)
{
    size_t role_length = strlen(role), length = strlen(text);
    char *turn = dhole__sys.malloc(role_length + 1 + length);
    dhole_err err = dhole__ids_add(ids, chat->start);

    if (turn == NULL)
        return dhole__fail_nomem(role_length + 1 + length, "a turn of the prompt");
    memcpy(turn, role, role_length);
    turn[role_length] = '\n';
    memcpy(turn + role_length + 1, text, length);
    if (!err)
        err = dhole__tokenizer_encode(tokenizer, turn, role_length + 1 + length, false, ids);
    free(turn);
    return err;
}

static dhole_err close_turn(const struct dhole__chat *chat,
                            const struct dhole__tokenizer *tokenizer, struct dhole__ids *ids)
{
    dhole_err err = dhole__ids_add(ids, chat->end);

    return err ? err : dhole__tokenizer_encode(tokenizer, "\n", 1, false, ids);
}

dhole_err dhole__chat_prompt(const struct dhole__chat *chat,
                             const struct dhole__tokenizer *tokenizer, const char *system,
                             const char *prompt, struct dhole__ids *ids)
{
    dhole_err err = DHOLE_OK;

    if (!chat->known)
        return dhole__fail(
            DHOLE_ERR_UNSUPPORTED,
            "the model file has no chat template of the ChatML form; give the prompt "
            "raw, as the model expects it");
    if (system == NULL)
        system = chat->system;
    if (system != NULL) {
        err = open_turn(chat, tokenizer, "system", system, ids);
        if (!err)
            err = close_turn(chat, tokenizer, ids);
    }
    if (!err)
        err = open_turn(chat, tokenizer, "user", prompt, ids);
    if (!err)
        err = close_turn(chat, tokenizer, ids);
    return err ? err : open_turn(chat, tokenizer, "assistant", "", ids);
}
