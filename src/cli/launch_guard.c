#include "cli/launch_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "base/pipe.h"
#include "base/sys.h"

enum {
    targets_max = 2 * dhole__rank_max,
    sweeps_max = 500 /* a process that starts others faster than they are found is given up */
};

struct note {
    int watch; /* or forget */
    pid_t target;
};

static void write_note(const struct dhole__guard *guard, struct note note)
{
    while (write(guard->fd, &note, sizeof note) < 0 && errno == EINTR) {
    }
}

void dhole__guard_watch(const struct dhole__guard *guard, pid_t target)
{
    write_note(guard, (struct note){1, target});
}

void dhole__guard_forget(const struct dhole__guard *guard, pid_t target)
{
    write_note(guard, (struct note){0, target});
}

static void remove_files(const struct dhole__launch_job *job, const char *dir)
{
    char path[dhole__launch_path_size + 32];

    for (int i = 0; i < job->files; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, job->file[i].name);
        unlink(path);
    }
    rmdir(dir);
}

static void clean_up(const struct dhole__launch_job *job)
{
    char mark[sizeof DHOLE__LAUNCH_MARK + dhole__launch_id_size], dir[dhole__launch_path_size];

    snprintf(mark, sizeof mark, DHOLE__LAUNCH_MARK "=%s", job->id);
    for (int i = 0; i < sweeps_max && dhole__kill_marked(mark) > 0; i++)
        dhole__sys.poll(NULL, 0, 2); /* until they are gone */
    dhole__launch_dir(job, -1, dir);
    remove_files(job, dir);
}

/* Keeps none of the launcher's streams open, and no signal for the launcher ends it: it was forked
 * with all signals blocked. */
static void detach(const sigset_t *mask)
{
    static const int signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2};
    int null = open("/dev/null", O_RDWR);

    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], SIG_IGN);
    pthread_sigmask(SIG_SETMASK, mask, NULL);
    setpgid(0, 0);
    for (int fd = 0; fd <= 2; fd++)
        dup2(null, fd);
    if (chdir("/") != 0) { /* it only frees the directory for others */
    }
    dhole__thread_name("launch-guard");
}

static void guard(const struct dhole__launch_job *job, int fd, const sigset_t *mask)
{
    pid_t target[targets_max];
    int count = 0;
    struct note note;
    ssize_t n;

    detach(mask);
    while ((n = read(fd, &note, sizeof note)) == sizeof note || (n < 0 && errno == EINTR)) {
        if (n < 0)
            continue;
        if (note.watch && count < targets_max)
            target[count++] = note.target;
        for (int i = 0; i < count && !note.watch; i++)
            if (target[i] == note.target)
                target[i--] = target[--count];
    }
    for (int i = 0; i < count; i++)
        kill(target[i], SIGKILL);
    clean_up(job);
    _exit(0);
}

static dhole_err write_file(const char *dir, const struct dhole__launch_file *file)
{
    char path[dhole__launch_path_size + 32];
    size_t length = strlen(file->text), done = 0;
    ssize_t n = 0;
    int fd;

    snprintf(path, sizeof path, "%s/%s", dir, file->name);
    fd = dhole__sys.open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    while (fd >= 0 && done < length && n >= 0) {
        n = write(fd, file->text + done, length - done);
        done += n > 0 ? (size_t)n : 0;
    }
    if (fd < 0 || n < 0) {
        dhole_err err = dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot write %s", path);
        if (fd >= 0)
            close(fd);
        return err;
    }
    close(fd);
    return DHOLE_OK;
}

static dhole_err start(const struct dhole__launch_job *job, struct dhole__guard *out)
{
    int fds[2];
    sigset_t all, mask;
    dhole_err err = dhole__pipe_open(fds, 0);

    if (err)
        return err;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    out->pid = fork();
    if (out->pid == 0) {
        close(fds[1]);
        guard(job, fds[0], &mask);
    }
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    close(fds[0]);
    if (out->pid < 0) {
        close(fds[1]);
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot start a process");
    }
    out->fd = fds[1];
    return DHOLE_OK;
}

dhole_err dhole__guard_start(const struct dhole__launch_job *job, struct dhole__guard *out)
{
    char dir[dhole__launch_path_size];
    dhole_err err;

    dhole__launch_dir(job, -1, dir);
    err = start(job, out);
    if (err)
        return err;
    if (mkdir(dir, 0700) != 0)
        err = dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot make the directory %s", dir);
    for (int i = 0; i < job->files && err == DHOLE_OK; i++) {
        int rank = job->file[i].rank;
        if (rank < 0 || job->rank[rank].host == NULL)
            err = write_file(dir, &job->file[i]);
    }
    if (err)
        dhole__guard_end(out, job);
    return err;
}

bool dhole__guard_is_gone(const struct dhole__guard *guard)
{
    siginfo_t end = {0};

    return waitid(P_PID, (id_t)guard->pid, &end, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           end.si_pid == guard->pid;
}

void dhole__guard_end(struct dhole__guard *guard, const struct dhole__launch_job *job)
{
    int status;

    close(guard->fd);
    if (waitpid(guard->pid, &status, 0) != guard->pid || status != 0)
        clean_up(job); /* it was killed */
}
