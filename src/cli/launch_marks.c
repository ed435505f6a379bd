#include "cli/launch_marks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { held_max = 1 << 18, mark_max = 512 };

void dhole__marks_init(struct dhole__marks *marks, const char *id)
{
    *marks = (struct dhole__marks){0};
    snprintf(marks->word, sizeof marks->word, DHOLE__MARK_FORM, id);
    dhole__buf_init(&marks->held, held_max);
}

void dhole__marks_free(struct dhole__marks *marks)
{
    dhole__buf_free(&marks->held);
}

static void take_mark(struct dhole__marks *marks, const char *text, size_t length)
{
    char line[mark_max] = "";

    memcpy(line, text, length);
    if (strcmp(line, "start") == 0) {
        marks->started = true;
    } else if (sscanf(line, "exit %d", &marks->code) == 1) {
        marks->ended = true;
    } else if (strncmp(line, "fail ", 5) == 0) {
        marks->failed = true;
        snprintf(marks->text, sizeof marks->text, "%.255s", line + 5);
    }
}

/* How many bytes at the end may be the beginning of a mark's word. */
static size_t tail(const struct dhole__marks *marks)
{
    size_t n = strlen(marks->word) - 1;

    for (n = n < marks->held.len ? n : marks->held.len; n > 0; n--)
        if (memcmp(marks->held.data + marks->held.len - n, marks->word, n) == 0)
            break;
    return n;
}

static dhole_err pass_on(struct dhole__marks *marks, size_t n, struct dhole__buf *out)
{
    dhole_err err = DHOLE_OK;

    if (marks->started)
        err = dhole__buf_add(out, marks->held.data, n);
    dhole__buf_drop(&marks->held, n);
    return err;
}

dhole_err dhole__marks_feed(struct dhole__marks *marks, const void *data, size_t n,
                            struct dhole__buf *out)
{
    size_t length = strlen(marks->word);
    dhole_err err = dhole__buf_add(&marks->held, data, n);

    while (err == DHOLE_OK && marks->held.len > 0) {
        const char *begin = (const char *)marks->held.data;
        const char *mark = memmem(begin, marks->held.len, marks->word, length), *end;
        size_t left;
        if (mark == NULL)
            return pass_on(marks, marks->held.len - tail(marks), out);
        err = pass_on(marks, (size_t)(mark - begin), out);
        mark = (const char *)marks->held.data + length;
        left = marks->held.len - length;
        end = memchr(mark, '\n', left);
        if (end == NULL && left < mark_max)
            return err;
        if (end == NULL || end - mark >= mark_max)
            return dhole__fail(DHOLE_ERR_PROTOCOL, "a message of the shell there does not end");
        take_mark(marks, mark, (size_t)(end - mark));
        dhole__buf_drop(&marks->held, length + (size_t)(end - mark) + 1);
    }
    return err;
}
