#include "cli/prompt.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { prompt_max = 16 << 20, step = 64 << 10 };

/* Reads up to `step` bytes more; *n is 0 at the end. */
static dhole_err read_more(struct dhole__buf *out, size_t *n)
{
    char bytes[step];
    ssize_t got;

    do
        got = read(STDIN_FILENO, bytes, sizeof bytes);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot read the prompt from stdin");
    *n = (size_t)got;
    return dhole__buf_add(out, bytes, *n);
}

static dhole_err read_stdin(struct dhole__buf *out)
{
    dhole_err err = DHOLE_OK;
    const char *zero;
    size_t n = 1;

    while (err == DHOLE_OK && n > 0)
        err = read_more(out, &n);
    if (err == DHOLE_ERR_LIMIT)
        return dhole__fail_in(err, "the prompt on stdin");
    zero = err == DHOLE_OK && out->len > 0 ? memchr(out->data, '\0', out->len) : NULL;
    if (zero != NULL)
        return dhole__fail(DHOLE_ERR_INVALID, "the prompt has a zero byte at offset %td: give text",
                           zero - (const char *)out->data);
    return err;
}

dhole_err dhole__prompt_read(const char *argument, struct dhole__buf *out)
{
    dhole_err err;

    dhole__buf_init(out, prompt_max);
    if (strcmp(argument, "-") == 0)
        err = read_stdin(out);
    else
        err = dhole__buf_add(out, argument, strlen(argument));
    out->max++;
    if (err == DHOLE_OK)
        err = dhole__buf_add(out, "", 1);
    if (err)
        dhole__buf_free(out);
    return err;
}
