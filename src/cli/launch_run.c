/* Runs a job: starts its ranks, watches them, and sees to it that they end.
 *
 * Everything that can be waited for is in one poll(): the signals that the launcher got, the
 * ranks' output, the launcher's own, and the orders for ranks elsewhere. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/os.h"
#include "base/sys.h"
#include "cli/cli.h"
#include "cli/launch_rank.h"
#include "cli/launch_ssh.h"
#include "cli/signals.h"

enum {
    exit_timeout = 124, /* as with timeout(1) */
    exit_cannot_run = 126,
    exit_not_found = 127, /* both as in a shell */
    settle_ms = 200,
    grace_ms = 5000, /* from a signal to the next, stronger one */
    beat_ms = dhole__ssh_silence_s * 1000 / 4,
    logins_max = 8, /* at a time: sshd refuses more than 10 that are not done yet */
    fds_max = 3 + 3 * dhole__rank_max
};

enum phase { going, ending, killing, abandoned };

struct run {
    const struct dhole__launch_job *job;
    struct dhole__guard guard;
    struct dhole__sink out, err_own, *err; /* err: where stderr goes, which may be out */
    struct dhole__rank rank[dhole__rank_max];
    enum phase phase;
    const struct dhole__rank *suspect; /* the first that failed, if no other was killed */
    bool hurried; /* told to end: the job does not wait for a reader of its output */
    dhole__deadline phase_due, timeout_due, beat_due, suspect_due;
    int code;
    struct pollfd fds[fds_max];
    struct dhole__stream *stream[fds_max]; /* of an entry of fds, or NULL */
    struct dhole__rank *orders[fds_max];
    nfds_t count;
};

static void say(struct run *run, const char *format, ...) DHOLE__PRINTF(2, 3);

static void say(struct run *run, const char *format, ...)
{
    char text[dhole__message_max], line[dhole__message_max + 16];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(line, sizeof line, "dhole: %s", text);
    dhole__sink_say(run->err, line);
}

static void kill_all(struct run *run)
{
    run->phase = killing;
    run->phase_due = dhole__deadline_in(grace_ms);
    for (int r = 0; r < run->job->count; r++)
        dhole__rank_kill(&run->rank[r]);
}

/* Ends the job with that exit code, unless it is ending with another one already. */
static void end_job(struct run *run, int code, int signal)
{
    if (run->phase != going)
        return;
    run->phase = ending;
    run->code = code;
    run->phase_due = dhole__deadline_in(grace_ms);
    for (int r = 0; r < run->job->count; r++) {
        struct dhole__rank *rank = &run->rank[r];
        if (rank->state == dhole__rank_waiting)
            dhole__rank_give_up(rank);
        else if (rank->state == dhole__rank_starting)
            dhole__rank_kill(rank);
        else if (rank->state == dhole__rank_running)
            dhole__rank_signal(rank, signal);
    }
}

/* The launcher itself failed. */
static void fail_job(struct run *run, dhole_err err)
{
    if (run->phase == going)
        say(run, "%s", dhole_error_message());
    end_job(run, dhole__exit_code(err), SIGTERM);
}

static const char *place(const struct dhole__rank *rank)
{
    return rank->host != NULL ? rank->host : "this machine";
}

static void start_rank(struct run *run, struct dhole__rank *rank)
{
    int errnum;
    dhole_err err = dhole__rank_start(rank, &run->out, run->err, &errnum);

    if (err == DHOLE_OK) {
        if (run->job->verbose)
            say(run, "rank %d: %s, process %d", rank->number,
                rank->host != NULL ? rank->host : "here", (int)rank->child.pid);
        return;
    }
    dhole__rank_give_up(rank);
    say(run, "rank %d: %s", rank->number, dhole_error_message());
    end_job(run,
            errnum == 0        ? DHOLE__EXIT_FAILED
            : errnum == ENOENT ? exit_not_found
                               : exit_cannot_run,
            SIGTERM);
}

static void start_ranks(struct run *run)
{
    int logins = 0;

    for (int r = 0; r < run->job->count; r++)
        logins += run->rank[r].state == dhole__rank_starting;
    for (int r = 0; r < run->job->count && run->phase == going; r++) {
        struct dhole__rank *rank = &run->rank[r];
        if (rank->state != dhole__rank_waiting || (rank->host != NULL && logins >= logins_max))
            continue;
        start_rank(run, rank);
        logins += rank->host != NULL;
    }
}

static void watch(struct run *run, int fd, short events, struct dhole__stream *stream,
                  struct dhole__rank *orders)
{
    run->fds[run->count] = (struct pollfd){.fd = fd, .events = events};
    run->stream[run->count] = stream;
    run->orders[run->count++] = orders;
}

static void watch_sink(struct run *run, const struct dhole__sink *sink)
{
    if (sink->pending.len > 0)
        watch(run, sink->fd, POLLOUT, NULL, NULL);
}

static void watch_stream(struct run *run, struct dhole__stream *stream)
{
    if (stream->fd >= 0 && dhole__sink_has_room(stream->sink))
        watch(run, stream->fd, POLLIN, stream, NULL);
}

/* The soonest time at which something is to be done though nothing has happened. */
static dhole__deadline next_due(const struct run *run)
{
    dhole__deadline due = dhole__deadline_min(run->phase_due, run->timeout_due);

    due = dhole__deadline_min(due, run->beat_due);
    if (run->suspect != NULL && run->phase == going)
        due = dhole__deadline_min(due, run->suspect_due);
    for (int r = 0; r < run->job->count; r++) {
        const struct dhole__rank *rank = &run->rank[r];
        if (rank->state == dhole__rank_ended && !dhole__rank_is_done(rank))
            due = dhole__deadline_min(due, rank->close_due);
        if (rank->out.line.len > 0 && dhole__sink_has_room(rank->out.sink))
            due = dhole__deadline_min(due, rank->out.line_due);
        if (rank->err.line.len > 0 && dhole__sink_has_room(rank->err.sink))
            due = dhole__deadline_min(due, rank->err.line_due);
    }
    return due;
}

static void read_ready(struct run *run)
{
    for (nfds_t i = 0; i < run->count; i++) {
        dhole_err err = DHOLE_OK;
        if (run->fds[i].revents == 0)
            continue;
        if (run->stream[i] != NULL && run->stream[i]->fd >= 0)
            err = dhole__stream_read(run->stream[i]);
        if (run->orders[i] != NULL)
            dhole__rank_write_orders(run->orders[i]);
        if (err)
            fail_job(run, err);
    }
}

static void wait_for_something(struct run *run)
{
    run->count = 0;
    watch(run, dhole__signals_fd(), POLLIN, NULL, NULL);
    watch_sink(run, &run->out);
    watch_sink(run, &run->err_own);
    for (int r = 0; r < run->job->count; r++) {
        struct dhole__rank *rank = &run->rank[r];
        watch_stream(run, &rank->out);
        watch_stream(run, &rank->err);
        if (rank->orders.len > 0)
            watch(run, rank->child.in, POLLOUT, NULL, rank);
    }
    if (dhole__sys.poll(run->fds, run->count, dhole__deadline_ms(next_due(run))) > 0)
        read_ready(run);
}

static void take_signal(struct run *run, int number)
{
    if (number == SIGCHLD)
        return;
    if (number == SIGUSR1 || number == SIGUSR2) {
        for (int r = 0; r < run->job->count; r++)
            dhole__rank_signal(&run->rank[r], number);
    } else if (run->phase == going) {
        end_job(run, DHOLE__EXIT_SIGNAL + number, number);
        run->hurried = true;
    } else if (run->phase == ending) {
        kill_all(run);
    } else {
        run->phase = abandoned;
    }
}

static void blame(struct run *run, const struct dhole__rank *rank)
{
    say(run, "rank %d on %s failed first: it %s", rank->number, place(rank), rank->how);
    end_job(run, rank->code, SIGTERM);
}

/* What one rank's end means for the job. The peers of one that is killed can be gone before it is:
 * its connections are closed before its parent hears of it. So what merely failed is only
 * suspected for a moment. */
static void note_end(struct run *run, const struct dhole__rank *rank)
{
    if (rank->code > DHOLE__EXIT_SIGNAL && run->phase == going) {
        blame(run, rank);
    } else if (rank->code != 0 && run->phase == going && run->suspect == NULL) {
        run->suspect = rank;
        run->suspect_due = dhole__deadline_in(settle_ms);
    } else if (run->job->verbose) {
        say(run, "rank %d on %s %s", rank->number, place(rank), rank->how);
    }
}

static bool have_all_ended(const struct run *run)
{
    for (int r = 0; r < run->job->count; r++)
        if (run->rank[r].state != dhole__rank_ended)
            return false;
    return true;
}

static void reap(struct run *run)
{
    for (int r = 0; r < run->job->count; r++) {
        struct dhole__rank *rank = &run->rank[r];
        bool ended = rank->state == dhole__rank_ended;
        dhole__rank_read_marks(rank);
        dhole__rank_reap(rank);
        if (!ended && rank->state == dhole__rank_ended)
            note_end(run, rank);
    }
    if (run->suspect != NULL && run->phase == going &&
        (have_all_ended(run) || dhole__deadline_ms(run->suspect_due) == 0))
        blame(run, run->suspect);
    if (run->phase == going && dhole__guard_is_gone(&run->guard)) {
        say(run, "the process that watches over the ranks was killed: ending them");
        end_job(run, DHOLE__EXIT_FAILED, SIGTERM);
    }
}

static void take_streams_due(struct run *run, struct dhole__rank *rank)
{
    struct dhole__stream *streams[] = {&rank->out, &rank->err};
    char mark[sizeof DHOLE__LAUNCH_MARK + dhole__launch_id_size + 8];
    bool late = rank->state == dhole__rank_ended && !dhole__rank_is_done(rank) &&
                dhole__deadline_ms(rank->close_due) == 0;

    snprintf(mark, sizeof mark, DHOLE__LAUNCH_MARK "=%s-%02d", run->job->id, rank->number);
    if (late && rank->host == NULL)
        dhole__kill_marked(mark); /* what has left the rank's group holds the streams open */
    for (int i = 0; i < 2; i++) {
        dhole_err err = dhole__stream_due(streams[i]);
        if (err == DHOLE_OK && late && streams[i]->fd >= 0)
            err = dhole__stream_drain(streams[i]);
        if (err)
            fail_job(run, err);
    }
}

/* The time that the ranks had to end is over. What SIGKILL did not end is left to the
 * guard. When all have ended, there is only output that nobody has read yet. */
static void take_phase(struct run *run)
{
    bool ended = have_all_ended(run);

    if (!ended && run->phase == ending)
        kill_all(run);
    else if (!ended || run->hurried)
        run->phase = abandoned;
    else
        run->phase_due = INT64_MAX;
}

static void take_deadlines(struct run *run)
{
    if (dhole__deadline_ms(run->timeout_due) == 0) {
        if (run->phase == going)
            say(run, "ended after --timeout, %g s", (double)run->job->timeout_ms / 1000);
        end_job(run, exit_timeout, SIGTERM);
        run->hurried = true;
        run->timeout_due = INT64_MAX;
    }
    if (dhole__deadline_ms(run->phase_due) == 0)
        take_phase(run);
    if (dhole__deadline_ms(run->beat_due) == 0) {
        run->beat_due = dhole__deadline_in(beat_ms);
        for (int r = 0; r < run->job->count; r++)
            dhole__rank_beat(&run->rank[r]);
    }
    for (int r = 0; r < run->job->count; r++)
        take_streams_due(run, &run->rank[r]);
}

/* Where nobody reads any more, the ranks get to know it as they would without a launcher: their
 * streams break. */
static void flush(struct run *run, struct dhole__sink *sink)
{
    bool failed = sink->fault != 0;

    dhole__sink_flush(sink);
    if (sink->fault == 0 || failed)
        return;
    if (sink->fault != EPIPE) {
        errno = sink->fault;
        fail_job(run, dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot write to %s",
                                        sink->fd == 1 ? "stdout" : "stderr"));
    }
    for (int r = 0; r < run->job->count; r++) {
        struct dhole__rank *rank = &run->rank[r];
        if (rank->out.sink == sink)
            dhole__stream_free(&rank->out);
        if (rank->err.sink == sink)
            dhole__stream_free(&rank->err);
    }
}

static bool is_over(const struct run *run)
{
    if (run->phase == abandoned)
        return true;
    for (int r = 0; r < run->job->count; r++)
        if (!dhole__rank_is_done(&run->rank[r]))
            return false;
    return run->out.pending.len == 0 && run->err_own.pending.len == 0;
}

static void loop(struct run *run)
{
    while (!is_over(run)) {
        int number;
        start_ranks(run);
        wait_for_something(run);
        while ((number = dhole__signals_next()) != 0)
            take_signal(run, number);
        reap(run);
        take_deadlines(run);
        flush(run, &run->out);
        flush(run, &run->err_own);
    }
}

static bool any_elsewhere(const struct dhole__launch_job *job)
{
    for (int r = 0; r < job->count; r++)
        if (job->rank[r].host != NULL)
            return true;
    return false;
}

static void init(struct run *run, const struct dhole__launch_job *job)
{
    *run = (struct run){.job = job, .phase_due = INT64_MAX, .timeout_due = INT64_MAX};
    run->beat_due = any_elsewhere(job) ? dhole__deadline_in(beat_ms) : INT64_MAX;
    if (job->timeout_ms > 0)
        run->timeout_due = dhole__deadline_in(job->timeout_ms);
    dhole__sink_init(&run->out, 1);
    dhole__sink_init(&run->err_own, 2);
    run->err = dhole__sink_same(&run->out, &run->err_own) ? &run->out : &run->err_own;
    for (int r = 0; r < job->count; r++)
        dhole__rank_init(&run->rank[r], job, r, &run->guard);
}

/* Those that the guard killed: nobody else may be there to wait for them. */
static void wait_for_children(void)
{
    dhole__deadline deadline = dhole__deadline_in(1000);
    pid_t pid;

    while ((pid = waitpid(-1, NULL, WNOHANG)) >= 0 && dhole__deadline_ms(deadline) > 0)
        if (pid == 0)
            dhole__sys.poll(NULL, 0, 2);
}

int dhole__launch_run(const struct dhole__launch_job *job)
{
    static const int signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
    struct run *run = dhole__sys.malloc(sizeof *run);
    dhole_err err;
    int code;

    if (run == NULL)
        return dhole__report(dhole__fail_nomem(sizeof *run, "the ranks"));
    init(run, job);
    err = dhole__guard_start(job, &run->guard);
    if (err == DHOLE_OK) {
        err = dhole__signals_collect(signals, sizeof signals / sizeof signals[0]);
        if (err == DHOLE_OK)
            loop(run);
        dhole__guard_end(&run->guard, job);
        wait_for_children();
    }
    code = err ? dhole__report(err) : run->code;
    for (int r = 0; r < job->count; r++)
        dhole__rank_free(&run->rank[r]);
    dhole__sink_free(&run->out);
    dhole__sink_free(&run->err_own);
    free(run);
    return code;
}
