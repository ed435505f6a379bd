/* Pipes by which one thread wakes another, or a process hears another. */
#ifndef DHOLE_BASE_PIPE_H
#define DHOLE_BASE_PIPE_H

#include "dhole/error.h"

/* Both ends are closed on exec and have these flags, 0 or O_NONBLOCK; both are -1 on failure. */
dhole_err dhole__pipe_open(int fds[static 2], int flags);

/* Closes the ends that are not -1, and sets them to -1. */
void dhole__pipe_close(int fds[static 2]);

#endif
