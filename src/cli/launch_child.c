#include "cli/launch_child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "base/pipe.h"

/* Our ends and the child's; -1: none. */
struct pipes {
    int ours[3], child[3];
    int report[2]; /* a failure to execute, read and write */
};

struct report {
    int errnum;
    bool is_cwd;
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_all(int *fds, int count)
{
    for (int i = 0; i < count; i++)
        close_fd(&fds[i]);
}

/* The pipe of one standard stream. */
static dhole_err make_stream(const struct dhole__child_options *options, struct pipes *pipes,
                             int stream)
{
    int fds[2], ours = stream == STDIN_FILENO;
    dhole_err err = dhole__pipe_open(fds, 0);

    if (err)
        return err;
    pipes->ours[stream] = fds[ours];
    pipes->child[stream] = fds[!ours];
    if (stream != STDIN_FILENO || options->in == dhole__stdin_queue)
        fcntl(fds[ours], F_SETFL, O_NONBLOCK);
    return DHOLE_OK;
}

static dhole_err make_pipes(const struct dhole__child_options *options, struct pipes *pipes)
{
    dhole_err err = dhole__pipe_open(pipes->report, 0);

    if (err == DHOLE_OK && options->in >= dhole__stdin_pipe)
        err = make_stream(options, pipes, STDIN_FILENO);
    if (err == DHOLE_OK && !options->feeder)
        err = make_stream(options, pipes, STDOUT_FILENO);
    if (err == DHOLE_OK && !options->feeder)
        err = make_stream(options, pipes, STDERR_FILENO);
    return err;
}

static void set_variables(const struct dhole__buf *variables)
{
    for (int i = 0; dhole__launch_unset[i] != NULL; i++)
        unsetenv(dhole__launch_unset[i]);
    for (size_t at = 0; at < variables->len; at += strlen((char *)variables->data + at) + 1)
        putenv((char *)variables->data + at);
}

static void fail(const struct pipes *pipes, bool is_cwd)
{
    struct report report = {errno, is_cwd};

    if (write(pipes->report[1], &report, sizeof report) < 0) { /* the launcher is gone */
    }
    _exit(127);
}

/* Runs in the child between fork and exec. Handlers of signals end with exec. */
static void become(const struct dhole__child_options *options, const struct dhole__guard *guard,
                   const struct pipes *pipes, pid_t parent)
{
    if (options->feeder) {
        signal(SIGINT, SIG_IGN);
        signal(SIGQUIT, SIG_IGN);
    } else {
        setpgid(0, 0);
    }
    dhole__guard_watch(guard, options->feeder ? getpid() : -getpid());
    dhole__die_with_parent();
    if (getppid() != parent)
        _exit(127);
    signal(SIGPIPE, SIG_DFL);
    if (options->in == dhole__stdin_null)
        dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
    if (options->feeder)
        dup2(options->out >= 0 ? options->out : open("/dev/null", O_WRONLY | O_CLOEXEC),
             STDOUT_FILENO);
    for (int i = 0; i < 3; i++)
        if (pipes->child[i] >= 0)
            dup2(pipes->child[i], i);
    if (options->variables != NULL)
        set_variables(options->variables);
    if (options->cwd != NULL && chdir(options->cwd) != 0)
        fail(pipes, true);
    execvp(options->argv[0], options->argv);
    fail(pipes, false);
}

/* The report pipe closes when the program starts. */
static dhole_err await_start(const struct dhole__child_options *options, pid_t pid, int fd,
                             int *errnum)
{
    struct report report;
    ssize_t n;

    do
        n = read(fd, &report, sizeof report);
    while (n < 0 && errno == EINTR);
    if (n != sizeof report)
        return DHOLE_OK;
    waitpid(pid, NULL, 0);
    errno = report.errnum;
    if (report.is_cwd)
        return dhole__fail_errno(DHOLE_ERR_CONFIG, "cannot change to the directory \"%s\"",
                                 options->cwd);
    *errnum = report.errnum;
    return dhole__fail_errno(DHOLE_ERR_CONFIG, "cannot run \"%s\"", options->argv[0]);
}

dhole_err dhole__child_start(const struct dhole__child_options *options,
                             const struct dhole__guard *guard, struct dhole__child *out,
                             int *errnum)
{
    struct pipes pipes = {{-1, -1, -1}, {-1, -1, -1}, {-1, -1}};
    pid_t parent = getpid(), pid = -1;
    dhole_err err = make_pipes(options, &pipes);

    *errnum = 0;
    if (err)
        goto out;
    pid = fork();
    if (pid == 0)
        become(options, guard, &pipes, parent);
    close_fd(&pipes.report[1]);
    if (pid < 0)
        err = dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot start a process");
    else
        err = await_start(options, pid, pipes.report[0], errnum);
out:
    close_all(pipes.child, 3);
    close_all(pipes.report, 2);
    if (err) {
        if (pid > 0)
            dhole__guard_forget(guard, options->feeder ? pid : -pid);
        close_all(pipes.ours, 3);
        return err;
    }
    *out = (struct dhole__child){pid, pipes.ours[0], pipes.ours[1], pipes.ours[2]};
    return DHOLE_OK;
}
