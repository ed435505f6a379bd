/* A process that outlives the launcher: when the launcher ends, in whatever way, it kills what is
 * left of the ranks on this machine and removes their files.
 *
 * It holds the reading end of a pipe whose only writing ends are the launcher's and, until it
 * executes its program, each child's. A child registers itself before it does so, and is taken
 * back while its number cannot have been given to another process: no moment is left uncovered. */
#ifndef DHOLE_CLI_LAUNCH_GUARD_H
#define DHOLE_CLI_LAUNCH_GUARD_H

#include <sys/types.h>

#include "cli/launch.h"

struct dhole__guard {
    pid_t pid;
    int fd;
};

/* Makes the directory of this machine's files, and starts the guard over it. */
DHOLE__MUST_CHECK dhole_err dhole__guard_start(const struct dhole__launch_job *job,
                                               struct dhole__guard *guard);

/* The target is a process or, negative, a process group, as kill() takes it. Both only do
 * what is allowed between fork and exec. */
void dhole__guard_watch(const struct dhole__guard *guard, pid_t target);
void dhole__guard_forget(const struct dhole__guard *guard, pid_t target);

/* Whether somebody killed it. */
bool dhole__guard_is_gone(const struct dhole__guard *guard);

/* Has it do its work now, and waits until that is done. */
void dhole__guard_end(struct dhole__guard *guard, const struct dhole__launch_job *job);

#endif
