#include "cli/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/os.h"
#include "base/sys.h"
#include "cli/frame.h"
#include "cli/local.h"
#include "cli/serve.h"
#include "cli/signals.h"
#include "infer/shard.h"

enum {
    ready_timeout_ms = 30000,
    end_timeout_ms = 10000, /* for ranks that end well */
    lost_timeout_ms = 200   /* for ranks whose group is broken */
};

struct child {
    pid_t pid;  /* 0: not running */
    int socket; /* ours of the pair, or -1; closed by the child only when it ends */
};

struct dhole__ranks {
    int count;
    dhole_group *group;
    struct dhole__local local;
    struct child child[dhole__ranks_max]; /* [0] is unused */
};

dhole_group *dhole__ranks_group(const struct dhole__ranks *ranks)
{
    return ranks->group;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Runs in the child between fork and exec. Ctrl-C at a terminal reaches all ranks; rank 0
 * is the one that acts on it. */
static void become_rank(const char *path, int socket, int listener)
{
    char number[16];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
    }
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    fcntl(socket, F_SETFD, 0);
    fcntl(listener, F_SETFD, 0);
    snprintf(number, sizeof number, "%d", socket);
    execl(path, "dhole", "rank", "--fd", number, (char *)NULL);
    _exit(127);
}

static dhole_err start_child(struct dhole__ranks *ranks, int r, const char *path)
{
    int pair[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot make a socket pair");
    fcntl(pair[0], F_SETFD, FD_CLOEXEC);
    fcntl(pair[1], F_SETFD, FD_CLOEXEC);
    pid = fork();
    if (pid == 0)
        become_rank(path, pair[1], ranks->local.listener[r]);
    close(pair[1]);
    ranks->child[r].socket = pair[0];
    if (pid < 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot start rank %d", r);
    ranks->child[r].pid = pid;
    return DHOLE_OK;
}

/* What rank r needs to know, but for the model's path, which need not be UTF-8, and
 * its key. */
static json_t *describe(const struct dhole__ranks *ranks, int r,
                        const struct dhole__spawn_options *options)
{
    json_t *hosts = json_array(), *pins = json_array(), *devices = json_array();

    for (int i = 0; i < ranks->local.devices.size; i++) {
        const char *list = dhole__devices_row(&ranks->local.devices, r)[i];
        json_array_append_new(devices, list != NULL ? json_string(list) : json_null());
    }
    for (int i = 0; i < ranks->count; i++) {
        char fingerprint[DHOLE_FINGERPRINT_SIZE];
        dhole_fingerprint(&ranks->local.pin[i], fingerprint);
        json_array_append_new(hosts, json_string(ranks->local.host[i]));
        json_array_append_new(pins, json_string(fingerprint));
    }
    return json_pack("{s:i, s:i, s:o, s:o, s:o, s:s, s:i, s:s, s:i, s:i}", "rank", r, "listen_fd",
                     ranks->local.listener[r], "hosts", hosts, "pins", pins, "devices", devices,
                     "session", ranks->local.session, "parallel", (int)options->parallel, "backend",
                     options->backend, "sealing", (int)options->sealing, "threads",
                     options->threads);
}

static dhole_err send_key(int socket, const dhole_identity *identity)
{
    char *pem;
    size_t length;
    dhole_err err = dhole_identity_to_pem(identity, &pem, &length);

    if (err)
        return err;
    err = dhole__frame_write(socket, pem, length);
    dhole_secret_free(pem, length);
    return err;
}

static dhole_err configure(const struct dhole__ranks *ranks, int r,
                           const struct dhole__spawn_options *options)
{
    int socket = ranks->child[r].socket;
    json_t *root = describe(ranks, r, options);
    char *text = root != NULL ? json_dumps(root, JSON_COMPACT) : NULL;
    dhole_err err;

    if (text != NULL)
        err = dhole__frame_write(socket, text, strlen(text));
    else
        err = dhole__fail(DHOLE_ERR_NOMEM, "no memory: a message to rank %d", r);
    free(text);
    json_decref(root);
    if (err == DHOLE_OK)
        err = dhole__frame_write(socket, options->path, strlen(options->path));
    return err ? err : send_key(socket, ranks->local.identity[r]);
}

/* How a child that is gone ended. */
static dhole_err fail_ended(struct dhole__ranks *ranks, int r)
{
    struct child *child = &ranks->child[r];
    int status = 0;

    if (child->pid > 0 && waitpid(child->pid, &status, 0) == child->pid)
        child->pid = 0;
    if (WIFSIGNALED(status))
        return dhole__fail(DHOLE_ERR_PEER_LOST, "rank %d was killed by signal %d before it joined",
                           r, WTERMSIG(status));
    return dhole__fail(DHOLE_ERR_PEER_LOST, "rank %d ended with code %d before it joined", r,
                       WEXITSTATUS(status));
}

/* Reads a child's report: {"error": code, "message": text}. */
static dhole_err read_report(struct dhole__ranks *ranks, int r)
{
    struct dhole__buf text;
    json_t *root = NULL;
    const char *message;
    long long code;
    dhole_err err;

    if (dhole__frame_read(ranks->child[r].socket, &text) != DHOLE_OK)
        return fail_ended(ranks, r);
    err = dhole__json_parse((const char *)text.data, text.len, "a rank's report", &root);
    if (err == DHOLE_OK)
        err = dhole__json_int(root, "error", 0, DHOLE_ERR_CANCELLED, &code);
    if (err == DHOLE_OK)
        err = dhole__json_string(root, "message", &message);
    if (err == DHOLE_OK && code != DHOLE_OK)
        err = dhole__fail((dhole_err)code, "rank %d: %s", r, message);
    json_decref(root);
    dhole__buf_free(&text);
    return err;
}

/* Polls every child's socket and, last, the signals; the slot of rank r is fds[r - 1]. */
static int poll_children(const struct dhole__ranks *ranks,
                         struct pollfd fds[static dhole__ranks_max], int timeout_ms)
{
    for (int r = 1; r < ranks->count; r++)
        fds[r - 1] = (struct pollfd){.fd = ranks->child[r].socket, .events = POLLIN};
    fds[ranks->count - 1] = (struct pollfd){.fd = dhole__signals_fd(), .events = POLLIN};
    return dhole__sys.poll(fds, (nfds_t)ranks->count, timeout_ms);
}

/* Reads what the children that have something to say report: *ready of them are ready. */
static dhole_err read_reports(struct dhole__ranks *ranks, const struct pollfd *fds, int *ready)
{
    for (int r = 1; r < ranks->count; r++) {
        dhole_err err;
        if (fds[r - 1].revents == 0)
            continue;
        err = read_report(ranks, r);
        if (err)
            return err;
        ++*ready;
    }
    return DHOLE_OK;
}

/* Ends once every child was ready and nothing more is to be read: whatever happens to a child
 * after that makes the signals' descriptor readable. */
static dhole_err wait_ready(struct dhole__ranks *ranks)
{
    dhole__deadline deadline = dhole__deadline_in(ready_timeout_ms);
    struct pollfd fds[dhole__ranks_max];
    int ready = 0, n = 1;

    while (ready < ranks->count - 1 || n > 0) {
        dhole_err err;
        n = poll_children(ranks, fds, ready < ranks->count - 1 ? dhole__deadline_ms(deadline) : 0);
        if (dhole__signals_caught())
            return dhole__fail(DHOLE_ERR_CANCELLED, "interrupted");
        if (n < 0 && errno != EINTR)
            return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot wait for the ranks");
        if (n < 0)
            continue;
        if (n == 0 && ready < ranks->count - 1)
            return dhole__fail(DHOLE_ERR_TIMEOUT, "%d of %d ranks were ready within %d s",
                               ready + 1, ranks->count, ready_timeout_ms / 1000);
        dhole__signals_drain();
        err = read_reports(ranks, fds, &ready);
        if (err)
            return err;
    }
    return DHOLE_OK;
}

/* Why joining was cancelled: a signal, or a child that failed. */
static dhole_err explain_cancel(struct dhole__ranks *ranks)
{
    struct pollfd fds[dhole__ranks_max];
    int ready = 0;
    dhole_err err = DHOLE_OK;

    if (!dhole__signals_caught() && poll_children(ranks, fds, 0) > 0)
        err = read_reports(ranks, fds, &ready);
    return err ? err : dhole__fail(DHOLE_ERR_CANCELLED, "interrupted");
}

static dhole_err join(struct dhole__ranks *ranks, const struct dhole__spawn_options *spawn)
{
    char agreement[dhole__agreement_size];
    dhole_options options = DHOLE_OPTIONS_INIT;
    dhole_err err;

    dhole__agreement(spawn->model, spawn->parallel, ranks->count, agreement);
    options.backend = spawn->backend;
    dhole__local_options(&ranks->local, 0, spawn->sealing, &options);
    options.agreement = agreement;
    options.cancel_fd = dhole__signals_fd();
    err = dhole_init(&options, &ranks->group);
    close_fd(&ranks->local.listener[0]);
    return err == DHOLE_ERR_CANCELLED ? explain_cancel(ranks) : err;
}

static dhole_err start(struct dhole__ranks *ranks, const struct dhole__spawn_options *options)
{
    char path[4096];
    dhole_err err = dhole__local_prepare(ranks->count, &ranks->local);

    if (err == DHOLE_OK)
        err = dhole__local_devices(&ranks->local, options->backend, options->devices);
    if (err)
        return err;
    if (dhole__self_path(path, sizeof path) != 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot find this program's own file");
    for (int r = 1; r < ranks->count; r++) {
        err = start_child(ranks, r, path);
        if (err == DHOLE_OK)
            err = configure(ranks, r, options);
        if (err == DHOLE_ERR_PEER_LOST)
            err = read_report(ranks, r); /* it says more than the broken pipe */
        dhole__local_close_rank(&ranks->local, r);
        if (err)
            return err;
    }
    err = wait_ready(ranks);
    return err ? err : join(ranks, options);
}

dhole_err dhole__ranks_start(const struct dhole__spawn_options *options, struct dhole__ranks **out)
{
    struct dhole__ranks *ranks = dhole__sys.calloc(1, sizeof *ranks);
    dhole_err err;

    if (ranks == NULL)
        return dhole__fail_nomem(sizeof *ranks, "the ranks");
    ranks->count = options->count;
    for (int r = 0; r < dhole__ranks_max; r++)
        ranks->child[r].socket = -1;
    err = start(ranks, options);
    if (err) {
        dhole__ranks_end(ranks, false);
        return err;
    }
    *out = ranks;
    return DHOLE_OK;
}

/* Waits for the children to end, each of which closes its socket so; those that have not
 * by the deadline are left. */
static void wait_ended(struct dhole__ranks *ranks, dhole__deadline deadline)
{
    for (int r = 1; r < ranks->count; r++) {
        struct child *child = &ranks->child[r];
        while (child->socket >= 0 && child->pid > 0) {
            struct pollfd fd = {.fd = child->socket, .events = POLLIN};
            char rest[256];
            int n = dhole__sys.poll(&fd, 1, dhole__deadline_ms(deadline));
            if (n == 0 || (n < 0 && errno != EINTR))
                break;
            if (n > 0 && read(child->socket, rest, sizeof rest) <= 0)
                close_fd(&child->socket);
        }
    }
}

void dhole__ranks_end(struct dhole__ranks *ranks, bool well)
{
    if (ranks == NULL)
        return;
    dhole_group_free(ranks->group);
    wait_ended(ranks, dhole__deadline_in(well ? end_timeout_ms : lost_timeout_ms));
    for (int r = 1; r < ranks->count; r++) {
        struct child *child = &ranks->child[r];
        if (child->pid > 0) {
            kill(child->pid, SIGKILL); /* ends a stopped one too; no matter for one that ended */
            waitpid(child->pid, NULL, 0);
        }
        close_fd(&child->socket);
    }
    dhole__local_close(&ranks->local);
    free(ranks);
}
