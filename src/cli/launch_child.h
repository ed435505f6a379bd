/* The launcher's child processes on this machine: ranks, and ssh for ranks elsewhere. */
#ifndef DHOLE_CLI_LAUNCH_CHILD_H
#define DHOLE_CLI_LAUNCH_CHILD_H

#include "cli/launch_guard.h"

enum dhole__child_stdin {
    dhole__stdin_null,
    dhole__stdin_ours, /* the launcher's own */
    dhole__stdin_pipe,
    dhole__stdin_queue /* a pipe whose writing end does not block */
};

struct dhole__child_options {
    char *const *argv;
    const struct dhole__buf *variables; /* NULL: those of the launcher */
    const char *cwd;                    /* NULL: that of the launcher */
    enum dhole__child_stdin in;
    /* A feeder passes the launcher's stdin on to rank 0. It stays in the launcher's process group,
     * which alone may read from a terminal, ignores Ctrl-C, and writes to `out` (-1: nowhere);
     * its stderr is the launcher's. */
    bool feeder;
    int out;
};

struct dhole__child {
    pid_t pid;        /* 0: not running */
    int in, out, err; /* our ends, or -1; out and err do not block */
};

/* Unless it is a feeder, a child leads a process group of its own. When its program cannot be run,
 * *errnum is why and the error says so; it is 0 for other failures. */
DHOLE__MUST_CHECK dhole_err dhole__child_start(const struct dhole__child_options *options,
                                               const struct dhole__guard *guard,
                                               struct dhole__child *out, int *errnum);

#endif
