/* The new content is written to a file beside the old one, which then takes its place. That file is
 * the lock too, so no lock is left behind: whoever got it looks whether the file still has its
 * name, as it has been renamed or removed where another change ended meanwhile. */
#include "base/change.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sys.h"

enum { turn_ms = 10000, look_ms = 5 };

static dhole_err make_directories_above(const char *path)
{
    char above[dhole__path_max];
    struct stat st;

    snprintf(above, sizeof above, "%s", path);
    for (char *slash = above; (slash = strchr(slash + 1, '/')) != NULL; *slash = '/') {
        *slash = '\0';
        if (stat(above, &st) < 0 && mkdir(above, 0700) < 0 && errno != EEXIST)
            return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot make the directory %s", above);
    }
    return DHOLE_OK;
}

/* Who may put a link into the directory must not have this user write elsewhere. */
static dhole_err check_link(const char *path)
{
    struct stat st;

    if (lstat(path, &st) < 0 || !S_ISLNK(st.st_mode) || st.st_uid == geteuid() || st.st_uid == 0)
        return DHOLE_OK;
    return dhole__fail(DHOLE_ERR_AUTH, "%s is a symbolic link of another user, number %lu", path,
                       (unsigned long)st.st_uid);
}

static dhole_err name_files(const char *path, struct dhole__change *change)
{
    char *target = realpath(path, NULL);
    const char *text = target != NULL ? target : path;
    dhole_err err = DHOLE_OK;

    if (strlen(text) + sizeof ".new" > dhole__path_max) {
        err = dhole__fail(DHOLE_ERR_CONFIG, "the path \"%.60s...\" is too long", text);
    } else {
        strcpy(change->path, text);
        stpcpy(stpcpy(change->successor, text), ".new");
    }
    free(target);
    return err;
}

static dhole_err open_successor(struct dhole__change *change)
{
    const int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    struct stat st;

    change->fd = dhole__sys.open(change->successor, flags, 0600);
    if (change->fd < 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot write %s", change->successor);
    if (dhole__sys.fstat(change->fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink <= 1 &&
        st.st_uid == geteuid())
        return DHOLE_OK;
    close(change->fd);
    return dhole__fail(DHOLE_ERR_AUTH, "%s is in the way, and not this user's: remove it",
                       change->successor);
}

static bool take_turn(const struct dhole__change *change)
{
    struct stat named, ours;

    return flock(change->fd, LOCK_EX | LOCK_NB) == 0 && stat(change->successor, &named) == 0 &&
           fstat(change->fd, &ours) == 0 && named.st_ino == ours.st_ino &&
           named.st_dev == ours.st_dev;
}

dhole_err dhole__change_begin(const char *path, struct dhole__change *out)
{
    dhole__deadline deadline = dhole__deadline_in(turn_ms);
    dhole_err err = check_link(path);

    if (!err)
        err = name_files(path, out);
    if (!err)
        err = make_directories_above(out->path);
    while (!err) {
        err = open_successor(out);
        if (err || take_turn(out))
            return err;
        close(out->fd);
        if (dhole__now() >= deadline)
            err = dhole__fail(DHOLE_ERR_TIMEOUT, "another process keeps %s locked", out->successor);
        dhole__sys.poll(NULL, 0, look_ms);
    }
    return err;
}

static bool write_whole(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = dhole__sys.write(fd, data, size);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0) {
            data += n;
            size -= (size_t)n;
        }
    }
    return true;
}

/* The new name survives a loss of power if its directory has been written too; if that fails the
 * file is whole all the same. */
static void sync_directory(const char *path)
{
    char directory[dhole__path_max];
    int fd;

    if (dhole__path_beside(path, ".", directory))
        return;
    fd = dhole__sys.open(directory, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    dhole__sys.fsync(fd);
    close(fd);
}

dhole_err dhole__change_commit(struct dhole__change *change, mode_t mode, const void *data,
                               size_t size)
{
    dhole_err err;

    if (ftruncate(change->fd, 0) < 0 || fchmod(change->fd, mode) < 0 ||
        !write_whole(change->fd, data, size) || dhole__sys.fsync(change->fd) < 0 ||
        dhole__sys.rename(change->successor, change->path) < 0) {
        err = dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot write %s", change->path);
        dhole__change_drop(change);
        return err;
    }
    close(change->fd);
    sync_directory(change->path);
    return DHOLE_OK;
}

void dhole__change_drop(struct dhole__change *change)
{
    unlink(change->successor); /* before its lock ends */
    close(change->fd);
}
