#include "cli/answer.h"

#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"

enum { text_max = 64 << 20 };

dhole_err dhole__answer_begin(struct dhole__answer *a, const dhole_model *model, bool keep)
{
    dhole_model_info info;

    dhole_model_describe(model, &info);
    *a = (struct dhole__answer){
        .model = model, .vocab = (size_t)info.vocab, .keep = keep, .tokens = json_array()};
    dhole__buf_init(&a->text, text_max);
    if (a->tokens == NULL)
        return dhole__fail(DHOLE_ERR_NOMEM, "no memory: the list of tokens");
    return DHOLE_OK;
}

/* Prints what has become complete. */
static dhole_err print(struct dhole__answer *a)
{
    if (a->keep)
        return DHOLE_OK;
    if (a->text.len > 0)
        a->in_line = a->text.data[a->text.len - 1] != '\n';
    fwrite(a->text.data, 1, a->text.len, stdout);
    dhole__buf_drop(&a->text, a->text.len);
    if (dhole__flush_stdout())
        return DHOLE_OK;
    a->reader_gone = true;
    return dhole__fail(DHOLE_ERR_SYSTEM, "stdout takes no more text");
}

void dhole__answer_end_line(struct dhole__answer *a)
{
    if (!a->in_line || !isatty(STDOUT_FILENO))
        return;
    a->in_line = false;
    putchar('\n');
    fflush(stdout);
}

int dhole__answer_token(void *arg, int32_t token, const float *logits)
{
    struct dhole__answer *a = arg;
    size_t length;
    const char *bytes = dhole_token_bytes(a->model, token, &length);

    a->err = dhole__utf8_feed(&a->utf8, bytes, length, &a->text);
    if (a->err == DHOLE_OK && a->keep && json_array_append_new(a->tokens, json_integer(token)) != 0)
        a->err = dhole__fail(DHOLE_ERR_NOMEM, "no memory: the list of tokens");
    if (a->err == DHOLE_OK)
        a->err = print(a);
    if (a->err == DHOLE_OK)
        a->err = dhole__logits_add(a->logits, logits, a->vocab);
    return a->err != DHOLE_OK;
}

dhole_err dhole__answer_finish(struct dhole__answer *a)
{
    struct dhole__logits_file *logits = a->logits;
    dhole_err err = a->err;

    if (err == DHOLE_OK)
        err = dhole__utf8_end(&a->utf8, &a->text);
    if (err == DHOLE_OK)
        err = print(a);
    if (err)
        return err;
    a->logits = NULL;
    return dhole__logits_finish(logits);
}

void dhole__answer_free(struct dhole__answer *a)
{
    dhole__logits_discard(a->logits);
    dhole__buf_free(&a->text);
    json_decref(a->tokens);
}
