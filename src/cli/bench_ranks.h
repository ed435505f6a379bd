/* The ranks that `dhole bench` starts on this machine: copies of the process, which is rank 0. */
#ifndef DHOLE_CLI_BENCH_RANKS_H
#define DHOLE_CLI_BENCH_RANKS_H

#include <sys/types.h>

#include "cli/local.h"

struct dhole__bench_ranks {
    struct dhole__local local;
    int rank;                   /* of this process */
    pid_t pid[dhole__rank_max]; /* at rank 0; 0: not running */
    int alive[2];               /* a pipe whose writing end only rank 0 has */
};

/* Returns in every rank; the caller ends it in every rank, whatever it returned. No thread may be
 * running. The first process watches signals of signals.h, the others ignore them and end when it
 * does. */
dhole_err dhole__bench_ranks_start(int count, struct dhole__bench_ranks *ranks);

/* Readable when this rank has no reason to join any more. */
int dhole__bench_ranks_cancel_fd(const struct dhole__bench_ranks *ranks);

/* At rank 0, when it was cancelled: why. */
dhole_err dhole__bench_ranks_explain(struct dhole__bench_ranks *ranks);

/* Says what failed, unless rank 0 does; returns the exit code. */
int dhole__bench_ranks_fail(int rank, dhole_err err);

/* At rank 0: gives the others a while to end (less when not all is well), and kills those that did
 * not. */
void dhole__bench_ranks_end(struct dhole__bench_ranks *ranks, bool well);

#endif
