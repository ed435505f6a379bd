#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "base/sys.h"

static dhole_err fits(int length, const char *path)
{
    if (length >= 0 && length < dhole__path_max)
        return DHOLE_OK;
    return dhole__fail(DHOLE_ERR_CONFIG, "the path \"%.60s...\" is too long", path);
}

dhole_err dhole__config_path(const char *name, char out[static dhole__path_max])
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");

    if (config != NULL && config[0] == '/')
        return fits(snprintf(out, dhole__path_max, "%s/dhole/%s", config, name), config);
    if (home != NULL && home[0] == '/')
        return fits(snprintf(out, dhole__path_max, "%s/.config/dhole/%s", home, name), home);
    return dhole__fail(DHOLE_ERR_CONFIG,
                       "no place for %s: neither XDG_CONFIG_HOME nor HOME is an absolute path",
                       name);
}

dhole_err dhole__path_beside(const char *path, const char *name, char out[static dhole__path_max])
{
    const char *slash = strrchr(path, '/');
    int directory = slash != NULL ? (int)(slash + 1 - path) : 0;

    return fits(snprintf(out, dhole__path_max, "%.*s%s", directory, path, name), path);
}

static dhole_err check(const char *path, const struct stat *st, mode_t denied)
{
    if (!S_ISREG(st->st_mode))
        return dhole__fail(DHOLE_ERR_FORMAT, "%s is not a regular file", path);
    if (st->st_uid != geteuid() && st->st_uid != 0)
        return dhole__fail(DHOLE_ERR_AUTH, "%s belongs to another user, number %lu", path,
                           (unsigned long)st->st_uid);
    if ((st->st_mode & denied) == 0)
        return DHOLE_OK;
    return dhole__fail(DHOLE_ERR_AUTH,
                       "%s may be %s by others, as its mode is %04o: see that it is what it should "
                       "be, then chmod %s it",
                       path, denied & 044 ? "read" : "written", (unsigned)st->st_mode & 07777,
                       denied & 044 ? "600" : "go-w");
}

static dhole_err read_whole(int fd, const char *path, struct dhole__buf *out)
{
    uint8_t piece[4096];
    dhole_err err = DHOLE_OK;
    ssize_t n = 1;

    while (!err && n != 0) {
        n = read(fd, piece, sizeof piece);
        if (n > 0)
            err = dhole__buf_add(out, piece, (size_t)n);
        else if (n < 0 && errno != EINTR)
            err = dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot read %s", path);
    }
    dhole__wipe(piece, sizeof piece);
    if (err == DHOLE_ERR_LIMIT)
        err = dhole__fail(DHOLE_ERR_FORMAT, "%s is longer than %zu bytes", path, out->max);
    return err;
}

/* Opening does not wait for the writer of a FIFO. */
dhole_err dhole__file_read(const char *path, mode_t denied, struct dhole__buf *out, bool *there)
{
    int fd = dhole__sys.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    struct stat st;
    dhole_err err;

    *there = fd >= 0;
    if (fd < 0)
        return errno == ENOENT ? DHOLE_OK
                               : dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot open %s", path);
    if (dhole__sys.fstat(fd, &st) < 0)
        err = dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot look at %s", path);
    else
        err = check(path, &st, denied);
    if (!err)
        err = read_whole(fd, path, out);
    close(fd);
    return err;
}
