#include "cli/launch_rank.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "cli/cli.h"
#include "cli/launch_ssh.h"

enum { orders_max = 16 << 20, local_close_ms = 200, remote_close_ms = 3000 };

void dhole__rank_init(struct dhole__rank *rank, const struct dhole__launch_job *job, int number,
                      const struct dhole__guard *guard)
{
    *rank = (struct dhole__rank){.job = job, .guard = guard, .number = number};
    rank->host = job->rank[number].host;
    rank->child = (struct dhole__child){0, -1, -1, -1};
    rank->ssh_code = -1;
    rank->out.fd = rank->err.fd = -1;
    dhole__marks_init(&rank->marks, job->id);
    dhole__buf_init(&rank->orders, orders_max);
}

static void close_orders(struct dhole__rank *rank)
{
    if (rank->child.in >= 0)
        close(rank->child.in);
    rank->child.in = -1;
    dhole__buf_free(&rank->orders);
}

void dhole__rank_free(struct dhole__rank *rank)
{
    close_orders(rank);
    dhole__stream_free(&rank->out);
    dhole__stream_free(&rank->err);
    dhole__marks_free(&rank->marks);
}

/* Only a terminal is not handed on as it is: another process group may not read from one. */
static dhole_err start_here(struct dhole__rank *rank, int *errnum)
{
    const struct dhole__launch_job *job = rank->job;
    bool terminal = rank->number == 0 && isatty(STDIN_FILENO);
    char *cat[] = {"cat", NULL};
    struct dhole__child_options options = {.argv = job->command,
                                           .variables = &job->rank[rank->number].variables,
                                           .cwd = job->cwd,
                                           .in = rank->number > 0 ? dhole__stdin_null
                                                 : terminal       ? dhole__stdin_pipe
                                                                  : dhole__stdin_ours};
    struct dhole__child feeder;
    dhole_err err = dhole__child_start(&options, rank->guard, &rank->child, errnum);

    if (err || !terminal)
        return err;
    options = (struct dhole__child_options){
        .argv = cat, .in = dhole__stdin_ours, .feeder = true, .out = rank->child.in};
    err = dhole__child_start(&options, rank->guard, &feeder, errnum);
    close_orders(rank);
    rank->feeder = err ? 0 : feeder.pid;
    return err;
}

static dhole_err start_there(struct dhole__rank *rank, int *errnum)
{
    struct dhole__ssh_command ssh;
    struct dhole__child_options options = {.argv = ssh.argv, .in = dhole__stdin_queue};
    dhole_err err = dhole__ssh_script(rank->job, rank->number, &rank->orders);

    if (err)
        return err;
    dhole__ssh_start(rank->job, rank->number, rank->orders.len, &ssh);
    err = dhole__ssh_files(rank->job, rank->number, &rank->orders);
    if (err)
        return err;
    return dhole__child_start(&options, rank->guard, &rank->child, errnum);
}

dhole_err dhole__rank_start(struct dhole__rank *rank, struct dhole__sink *out,
                            struct dhole__sink *err_sink, int *errnum)
{
    bool raw = !rank->job->prefix;
    dhole_err err;

    *errnum = 0;
    err = rank->host != NULL ? start_there(rank, errnum) : start_here(rank, errnum);
    if (err && rank->child.pid == 0)
        return err;
    rank->state = rank->host != NULL ? dhole__rank_starting : dhole__rank_running;
    dhole__stream_init(&rank->out, rank->child.out, out, rank->number, raw,
                       rank->host != NULL ? &rank->marks : NULL);
    dhole__stream_init(&rank->err, rank->child.err, err_sink, rank->number, raw, NULL);
    return err;
}

static void set_ended(struct dhole__rank *rank, int code)
{
    rank->state = dhole__rank_ended;
    rank->code = code;
    rank->close_due = dhole__deadline_in(rank->host != NULL ? remote_close_ms : local_close_ms);
}

static void set_code(struct dhole__rank *rank, int code)
{
    set_ended(rank, code);
    if (code > DHOLE__EXIT_SIGNAL && code < DHOLE__EXIT_SIGNAL + NSIG)
        snprintf(rank->how, sizeof rank->how, "ended with code %d, as after signal %d (%s)", code,
                 code - DHOLE__EXIT_SIGNAL, strsignal(code - DHOLE__EXIT_SIGNAL));
    else if (code == 127)
        snprintf(rank->how, sizeof rank->how,
                 "ended with code 127, as where a program is not found");
    else
        snprintf(rank->how, sizeof rank->how, "ended with code %d", code);
}

static dhole_err start_feeder(struct dhole__rank *rank)
{
    struct dhole__ssh_command ssh;
    struct dhole__child_options options = {
        .argv = ssh.argv, .in = dhole__stdin_ours, .feeder = true, .out = -1};
    struct dhole__child feeder;
    int errnum;
    dhole_err err;

    dhole__ssh_feed(rank->job, &ssh);
    err = dhole__child_start(&options, rank->guard, &feeder, &errnum);
    rank->feeder = err ? 0 : feeder.pid;
    return err;
}

void dhole__rank_read_marks(struct dhole__rank *rank)
{
    const struct dhole__marks *marks = &rank->marks;

    if (rank->state == dhole__rank_starting && marks->started) {
        rank->state = dhole__rank_running;
        if (rank->number == 0 && start_feeder(rank) != DHOLE_OK) {
            set_ended(rank, DHOLE__EXIT_FAILED);
            snprintf(rank->how, sizeof rank->how, "%s", dhole_error_message());
        }
    }
    if (rank->state == dhole__rank_ended)
        return;
    if (marks->ended) {
        set_code(rank, marks->code);
    } else if (marks->failed) {
        set_ended(rank, DHOLE__EXIT_FAILED);
        snprintf(rank->how, sizeof rank->how, "could not start: %s", marks->text);
    }
}

/* ssh has ended, and no mark had said before that the rank did. What is left in its
 * pipe may. */
static void judge_ssh(struct dhole__rank *rank)
{
    bool started = rank->marks.started;

    if (dhole__stream_drain(&rank->out) == DHOLE_OK)
        dhole__rank_read_marks(rank);
    if (rank->state == dhole__rank_ended || rank->out.fd >= 0)
        return;
    set_ended(rank, DHOLE__EXIT_PEER_LOST);
    snprintf(rank->how, sizeof rank->how, "%s: ssh ended with code %d",
             started ? "was lost with the connection to its host" : "could not be started",
             rank->ssh_code);
}

static void judge(struct dhole__rank *rank, const siginfo_t *end)
{
    bool killed = end->si_code != CLD_EXITED;
    int code = killed ? DHOLE__EXIT_SIGNAL + end->si_status : end->si_status;

    if (rank->host != NULL) {
        rank->ssh_code = code;
    } else if (killed) {
        set_ended(rank, code);
        snprintf(rank->how, sizeof rank->how, "was killed by signal %d (%s)", end->si_status,
                 strsignal(end->si_status));
    } else {
        set_code(rank, code);
    }
}

/* Whether the child has ended; it is still to be waited for. */
static bool has_ended(pid_t pid, siginfo_t *end)
{
    *end = (siginfo_t){0};
    return pid > 0 && waitid(P_PID, (id_t)pid, end, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           end->si_pid == pid;
}

/* One that ends because rank 0 reads no more is nothing to report. */
static void reap_feeder(struct dhole__rank *rank)
{
    enum { ssh_failed = 255 };
    siginfo_t end;

    if (!has_ended(rank->feeder, &end))
        return;
    dhole__guard_forget(rank->guard, rank->feeder);
    waitpid(rank->feeder, NULL, 0);
    rank->feeder = 0;
    if (rank->host == NULL || rank->state != dhole__rank_running || end.si_status != ssh_failed)
        return;
    set_ended(rank, DHOLE__EXIT_PEER_LOST);
    snprintf(rank->how, sizeof rank->how, "has no stdin: ssh ended with code %d", end.si_status);
}

/* As long as the process is not waited for, no other can have its number: what is left of its
 * group is killed before. */
void dhole__rank_reap(struct dhole__rank *rank)
{
    siginfo_t end;

    reap_feeder(rank);
    if (has_ended(rank->child.pid, &end)) {
        kill(-rank->child.pid, SIGKILL);
        dhole__guard_forget(rank->guard, -rank->child.pid);
        waitpid(rank->child.pid, NULL, 0);
        rank->child.pid = 0;
        close_orders(rank);
        judge(rank, &end);
    }
    if (rank->ssh_code >= 0 && rank->state != dhole__rank_ended)
        judge_ssh(rank);
}

void dhole__rank_give_up(struct dhole__rank *rank)
{
    if (rank->state != dhole__rank_ended)
        set_ended(rank, DHOLE__EXIT_FAILED);
}

static void order(struct dhole__rank *rank, const char *verb, const char *word)
{
    char text[64];

    snprintf(text, sizeof text, "%s %s\n", verb, word);
    if (rank->child.in >= 0 && dhole__buf_add(&rank->orders, text, strlen(text)) == DHOLE_OK)
        dhole__rank_write_orders(rank);
}

void dhole__rank_signal(struct dhole__rank *rank, int number)
{
    static const struct {
        int number;
        const char *name;
    } names[] = {{SIGHUP, "HUP"},   {SIGINT, "INT"},   {SIGQUIT, "QUIT"},
                 {SIGTERM, "TERM"}, {SIGUSR1, "USR1"}, {SIGUSR2, "USR2"}};

    if (rank->host == NULL && rank->child.pid > 0)
        kill(-rank->child.pid, number);
    for (size_t i = 0; rank->host != NULL && i < sizeof names / sizeof names[0]; i++)
        if (names[i].number == number)
            order(rank, "signal", names[i].name);
}

/* ssh itself is left to end when the script there has. */
void dhole__rank_kill(struct dhole__rank *rank)
{
    if (rank->host != NULL && rank->state == dhole__rank_running)
        close_orders(rank);
    else if (rank->child.pid > 0)
        kill(-rank->child.pid, SIGKILL);
}

void dhole__rank_write_orders(struct dhole__rank *rank)
{
    while (rank->orders.len > 0 && rank->child.in >= 0) {
        ssize_t n = write(rank->child.in, rank->orders.data, rank->orders.len);
        if (n > 0)
            dhole__buf_drop(&rank->orders, (size_t)n);
        else if (n < 0 && errno == EAGAIN)
            return;
        else if (n < 0 && errno != EINTR)
            close_orders(rank); /* ssh ends, and is asked why then */
    }
}

void dhole__rank_beat(struct dhole__rank *rank)
{
    char number[32];

    if (rank->host == NULL || rank->orders.len > 0)
        return;
    snprintf(number, sizeof number, "%lld", (long long)dhole__now());
    order(rank, "beat", number);
}

bool dhole__rank_is_done(const struct dhole__rank *rank)
{
    return rank->state == dhole__rank_ended && rank->out.fd < 0 && rank->err.fd < 0;
}
