/* Where an answer goes, token by token: to stdout as it comes, or kept for the JSON object; and
 * its logits to a file. */
#ifndef DHOLE_CLI_ANSWER_H
#define DHOLE_CLI_ANSWER_H

#include <jansson.h>
#include <stdbool.h>

#include "cli/logits.h"
#include "cli/utf8.h"
#include "dhole/model.h"

struct dhole__answer {
    const dhole_model *model;
    size_t vocab;
    bool keep;                         /* in text and tokens, instead of printing */
    struct dhole__logits_file *logits; /* opened by the caller; NULL: not wanted */
    struct dhole__utf8 utf8;
    struct dhole__buf text; /* valid UTF-8 */
    json_t *tokens;
    bool in_line;     /* what was printed has not ended its last line */
    dhole_err err;    /* what stopped the answer */
    bool reader_gone; /* stdout is closed or full, and that has been said */
};

DHOLE__MUST_CHECK dhole_err dhole__answer_begin(struct dhole__answer *answer,
                                                const dhole_model *model, bool keep);

/* A dhole_on_token; arg is the answer. */
int dhole__answer_token(void *arg, int32_t token, const float *logits);

/* On a terminal what comes next, a complaint or the shell's prompt, gets a line of its own. */
void dhole__answer_end_line(struct dhole__answer *answer);

/* After the last token: what is still held back comes out, and the logits' file gets its name. */
DHOLE__MUST_CHECK dhole_err dhole__answer_finish(struct dhole__answer *answer);

/* Without dhole__answer_finish, the logits' file is removed. */
void dhole__answer_free(struct dhole__answer *answer);

#endif
