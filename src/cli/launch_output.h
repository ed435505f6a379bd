/* Merges what the ranks print into the launcher's own stdout and stderr, line by line, each
 * with its rank before it. Nothing here blocks, and no stream holds more than a bounded amount: a
 * reader that is slow slows the ranks down. */
#ifndef DHOLE_CLI_LAUNCH_OUTPUT_H
#define DHOLE_CLI_LAUNCH_OUTPUT_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/clock.h"
#include "cli/launch_marks.h"

struct dhole__stream;

/* stdout or stderr of the launcher. */
struct dhole__sink {
    int fd;
    bool terminal, colored;
    struct dhole__buf pending;
    const struct dhole__stream *open; /* whose unfinished line was written last */
    int fault;                        /* the errno of writing, for good; 0 */
};

void dhole__sink_init(struct dhole__sink *sink, int fd);
void dhole__sink_free(struct dhole__sink *sink);

/* Whether both are one file: their lines are then kept apart too. */
bool dhole__sink_same(const struct dhole__sink *a, const struct dhole__sink *b);

/* Whether there is room for what a stream may bring at once. */
bool dhole__sink_has_room(const struct dhole__sink *sink);

/* Writes what can be written without waiting. */
void dhole__sink_flush(struct dhole__sink *sink);

/* Appends a line of the launcher's own. */
void dhole__sink_say(struct dhole__sink *sink, const char *line);

/* stdout or stderr of a rank. */
struct dhole__stream {
    int fd; /* -1 after its end */
    struct dhole__sink *sink;
    bool raw; /* no prefixes: bytes as they come */
    char prefix[32];
    struct dhole__buf line;     /* its unfinished line */
    dhole__deadline line_due;   /* when that is written nevertheless */
    struct dhole__marks *marks; /* or NULL */
};

/* Takes over the descriptor. */
void dhole__stream_init(struct dhole__stream *stream, int fd, struct dhole__sink *sink, int rank,
                        bool raw, struct dhole__marks *marks);

/* Reads once if there is room for it, and closes at the end. */
DHOLE__MUST_CHECK dhole_err dhole__stream_read(struct dhole__stream *stream);

/* Writes an unfinished line that has waited long enough for its end. */
DHOLE__MUST_CHECK dhole_err dhole__stream_due(struct dhole__stream *stream);

/* Reads what is there, as far as there is room for it, and closes when nothing is left. */
DHOLE__MUST_CHECK dhole_err dhole__stream_drain(struct dhole__stream *stream);
void dhole__stream_free(struct dhole__stream *stream);

#endif
