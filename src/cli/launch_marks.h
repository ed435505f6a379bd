/* What the shell on another host says about its rank, amid the rank's output: lines that begin
 * with a word nobody else knows. What comes before the first one is not the rank's, but that of a
 * login shell's start-up files. */
#ifndef DHOLE_CLI_LAUNCH_MARKS_H
#define DHOLE_CLI_LAUNCH_MARKS_H

#include "cli/launch.h"

/* The word before a mark, of an id. */
#define DHOLE__MARK_FORM "\036dhole-%s "

struct dhole__marks {
    char word[dhole__launch_id_size + 16];
    struct dhole__buf held; /* what may be the beginning of a mark */
    bool started, ended, failed;
    int code;       /* of the program's end */
    char text[256]; /* why it did not start */
};

void dhole__marks_init(struct dhole__marks *marks, const char *id);
void dhole__marks_free(struct dhole__marks *marks);

/* Takes n bytes of the stream, and appends to `out` what is output of the rank. */
DHOLE__MUST_CHECK dhole_err dhole__marks_feed(struct dhole__marks *marks, const void *data,
                                              size_t n, struct dhole__buf *out);

#endif
