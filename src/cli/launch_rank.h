/* One rank of a job while it runs, here or through ssh. */
#ifndef DHOLE_CLI_LAUNCH_RANK_H
#define DHOLE_CLI_LAUNCH_RANK_H

#include "cli/launch_child.h"
#include "cli/launch_output.h"

enum dhole__rank_state {
    dhole__rank_waiting,  /* to be started */
    dhole__rank_starting, /* ssh is on its way */
    dhole__rank_running,
    dhole__rank_ended
};

struct dhole__rank {
    const struct dhole__launch_job *job;
    const struct dhole__guard *guard;
    const char *host; /* NULL: this machine */
    int number;
    enum dhole__rank_state state;
    struct dhole__child child; /* the program, or ssh */
    int ssh_code;              /* with which that has ended; -1 before */
    pid_t feeder;              /* that passes stdin on to rank 0, or 0 */
    struct dhole__stream out, err;
    struct dhole__marks marks;
    struct dhole__buf orders;  /* for ssh's stdin, still to be written */
    dhole__deadline close_due; /* once it has ended: by when its streams should have */
    int code;                  /* once it has ended: what a shell would say, 128 + signal */
    char how[320];             /* and in words */
};

void dhole__rank_init(struct dhole__rank *rank, const struct dhole__launch_job *job, int number,
                      const struct dhole__guard *guard);
void dhole__rank_free(struct dhole__rank *rank);

/* *errnum as for dhole__child_start. */
DHOLE__MUST_CHECK dhole_err dhole__rank_start(struct dhole__rank *rank, struct dhole__sink *out,
                                              struct dhole__sink *err, int *errnum);

/* Its host says that it runs now, or that it has ended: brings the state up to date. */
void dhole__rank_read_marks(struct dhole__rank *rank);

/* Looks whether its process has ended, and if so what came of the rank. */
void dhole__rank_reap(struct dhole__rank *rank);

/* Marks one that was never started, or does not end, as ended. */
void dhole__rank_give_up(struct dhole__rank *rank);

void dhole__rank_signal(struct dhole__rank *rank, int number);
void dhole__rank_kill(struct dhole__rank *rank);

/* To a rank elsewhere: writes what orders there are; adds a sign of life. */
void dhole__rank_write_orders(struct dhole__rank *rank);
void dhole__rank_beat(struct dhole__rank *rank);

/* Whether it has ended and everything that it printed is read. */
bool dhole__rank_is_done(const struct dhole__rank *rank);

#endif
