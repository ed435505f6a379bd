#include "group/runtime_dir.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "group/env.h"

/* After sudo it can be somebody else's. */
static bool is_ours(const char *path)
{
    struct stat st;

    return path != NULL && stat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid();
}

const char *dhole__runtime_base(void)
{
    const char *base = dhole__env_value("XDG_RUNTIME_DIR");

    if (!is_ours(base))
        base = dhole__env_value("TMPDIR");
    return base != NULL ? base : "/tmp";
}

static dhole_err make_private(const char *path)
{
    struct stat st;

    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot make the directory %s", path);
    if (lstat(path, &st) < 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot look at %s", path);
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "%s is not a directory of this user's alone (mode 0700): remove it",
                           path);
    return DHOLE_OK;
}

dhole_err dhole__runtime_path(const char *name, char *out, size_t size)
{
    const char *base = dhole__env_value("XDG_RUNTIME_DIR");
    char path[400];
    int length;
    dhole_err err;

    if (is_ours(base)) {
        length = snprintf(path, sizeof path, "%s/dhole", base);
    } else {
        base = dhole__env_value("TMPDIR");
        length = snprintf(path, sizeof path, "%s/dhole-%lu", base != NULL ? base : "/tmp",
                          (unsigned long)geteuid());
    }
    if ((size_t)length >= sizeof path || (size_t)length + strlen(name) + 2 > size)
        return dhole__fail(DHOLE_ERR_CONFIG, "the path \"%.60s...\" is too long", base);
    err = make_private(path);
    if (!err)
        snprintf(out, size, "%s/%s", path, name);
    return err;
}
