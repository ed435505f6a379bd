#include "cli/bench_ranks.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/pipe.h"
#include "base/sys.h"
#include "cli/cli.h"
#include "cli/signals.h"

enum {
    end_timeout_ms = 5000, /* for ranks that end well */
    lost_timeout_ms = 200  /* for ranks whose group is broken */
};

/* In the new process. Ctrl-C at a terminal reaches all ranks; rank 0 is the one that acts on it. */
static void become_rank(struct dhole__bench_ranks *ranks, int rank)
{
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    ranks->rank = rank;
    close(ranks->alive[1]);
    ranks->alive[1] = -1;
    for (int r = 0; r < ranks->local.count; r++) {
        ranks->pid[r] = 0;
        if (r != rank)
            dhole__local_close_rank(&ranks->local, r);
    }
}

dhole_err dhole__bench_ranks_start(int count, struct dhole__bench_ranks *ranks)
{
    dhole_err err;

    *ranks = (struct dhole__bench_ranks){.alive = {-1, -1}};
    err = dhole__local_prepare(count, &ranks->local);
    if (err)
        return err;
    err = dhole__pipe_open(ranks->alive, 0);
    if (err)
        return err;
    for (int r = 1; r < count; r++) {
        pid_t pid = fork();
        if (pid < 0)
            return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot start rank %d", r);
        if (pid == 0) {
            become_rank(ranks, r);
            return DHOLE_OK;
        }
        ranks->pid[r] = pid;
    }
    for (int r = 1; r < count; r++)
        dhole__local_close_rank(&ranks->local, r);
    return dhole__signals_install();
}

int dhole__bench_ranks_cancel_fd(const struct dhole__bench_ranks *ranks)
{
    return ranks->rank == 0 ? dhole__signals_fd() : ranks->alive[0];
}

dhole_err dhole__bench_ranks_explain(struct dhole__bench_ranks *ranks)
{
    for (int r = 1; r < ranks->local.count && !dhole__signals_caught(); r++) {
        int status;
        if (ranks->pid[r] == 0 || waitpid(ranks->pid[r], &status, WNOHANG) != ranks->pid[r])
            continue;
        ranks->pid[r] = 0;
        if (WIFSIGNALED(status))
            return dhole__fail(DHOLE_ERR_PEER_LOST,
                               "rank %d was killed by signal %d before all was done", r,
                               WTERMSIG(status));
        return dhole__fail(DHOLE_ERR_PEER_LOST, "rank %d ended with code %d before all was done", r,
                           WEXITSTATUS(status));
    }
    return dhole__fail(DHOLE_ERR_CANCELLED, "interrupted");
}

int dhole__bench_ranks_fail(int rank, dhole_err err)
{
    if (rank != 0)
        return dhole__exit_code(err);
    if (err != DHOLE_ERR_CANCELLED || !dhole__signals_caught())
        return dhole__report(err);
    fprintf(stderr, "dhole: interrupted\n");
    return DHOLE__EXIT_SIGNAL + dhole__signals_caught();
}

/* How many are still running. */
static int reap(struct dhole__bench_ranks *ranks)
{
    int running = 0;

    for (int r = 1; r < ranks->local.count; r++) {
        if (ranks->pid[r] > 0 && waitpid(ranks->pid[r], NULL, WNOHANG) == ranks->pid[r])
            ranks->pid[r] = 0;
        running += ranks->pid[r] > 0;
    }
    return running;
}

void dhole__bench_ranks_end(struct dhole__bench_ranks *ranks, bool well)
{
    dhole__deadline deadline = dhole__deadline_in(well ? end_timeout_ms : lost_timeout_ms);

    dhole__pipe_close(ranks->alive);
    while (reap(ranks) > 0 && dhole__deadline_ms(deadline) > 0) {
        struct pollfd fd = {.fd = dhole__signals_fd(), .events = POLLIN};
        (void)dhole__sys.poll(&fd, 1, dhole__deadline_ms(deadline));
        dhole__signals_drain();
    }
    for (int r = 1; r < ranks->local.count; r++)
        if (ranks->pid[r] > 0) {
            kill(ranks->pid[r], SIGKILL);
            waitpid(ranks->pid[r], NULL, 0);
        }
    dhole__local_close(&ranks->local);
}
