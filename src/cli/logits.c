#include "cli/logits.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "rows are written as they are in memory");

struct dhole__logits_file {
    FILE *file;
    char *path;
    char *temporary; /* NULL: written in place, as path is a device or a pipe */
};

static dhole_err fail(const struct dhole__logits_file *f, const char *what)
{
    return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot %s %s", what, f->path);
}

static void forget_temporary(struct dhole__logits_file *f)
{
    free(f->temporary);
    f->temporary = NULL;
}

/* mkstemp makes a private file; this gives it the mode that open() would have given. */
static void set_usual_mode(int fd)
{
    mode_t mask = umask(0);

    umask(mask);
    (void)fchmod(fd, 0666 & ~mask);
}

static dhole_err open_temporary(struct dhole__logits_file *f)
{
    size_t size = strlen(f->path) + sizeof ".XXXXXX";
    int fd;

    f->temporary = dhole__sys.malloc(size);
    if (f->temporary == NULL)
        return dhole__fail_nomem(size, "a file name");
    snprintf(f->temporary, size, "%s.XXXXXX", f->path);
    fd = mkstemp(f->temporary);
    if (fd < 0) {
        dhole_err err = fail(f, "create");
        forget_temporary(f);
        return err;
    }
    set_usual_mode(fd);
    f->file = fdopen(fd, "wb");
    if (f->file == NULL) {
        close(fd);
        return fail(f, "open");
    }
    return DHOLE_OK;
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static dhole_err open_file(struct dhole__logits_file *f, const char *path)
{
    struct stat st;
    bool exists = stat(path, &st) == 0;

    /* The name behind a symbolic link, so that the link stays. */
    f->path = exists ? realpath(path, NULL) : strdup(path);
    if (f->path == NULL)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot write to %s", path);
    if (!exists || S_ISREG(st.st_mode))
        return open_temporary(f);
    f->file = fopen(path, "wb");
    return f->file != NULL ? DHOLE_OK : fail(f, "open");
}

dhole_err dhole__logits_open(const char *path, const char *model, struct dhole__logits_file **out)
{
    struct dhole__logits_file *f;
    dhole_err err;

    if (same_file(path, model))
        return dhole__fail(DHOLE_ERR_INVALID, "%s is the model: write the logits to another file",
                           path);
    f = dhole__sys.calloc(1, sizeof *f);
    if (f == NULL)
        return dhole__fail_nomem(sizeof *f, "a file");
    err = open_file(f, path);
    if (err) {
        dhole__logits_discard(f);
        return err;
    }
    fcntl(fileno(f->file), F_SETFD, FD_CLOEXEC);
    *out = f;
    return DHOLE_OK;
}

dhole_err dhole__logits_add(struct dhole__logits_file *f, const float *row, size_t n)
{
    if (f == NULL || fwrite(row, sizeof *row, n, f->file) == n)
        return DHOLE_OK;
    return fail(f, "write to");
}

dhole_err dhole__logits_finish(struct dhole__logits_file *f)
{
    dhole_err err = DHOLE_OK;

    if (f == NULL)
        return DHOLE_OK;
    if (fclose(f->file) != 0)
        err = fail(f, "write to");
    f->file = NULL;
    if (err == DHOLE_OK && f->temporary != NULL) {
        if (rename(f->temporary, f->path) != 0)
            err = fail(f, "put in place");
        else
            forget_temporary(f);
    }
    dhole__logits_discard(f);
    return err;
}

void dhole__logits_discard(struct dhole__logits_file *f)
{
    if (f == NULL)
        return;
    if (f->file != NULL)
        fclose(f->file);
    if (f->temporary != NULL)
        unlink(f->temporary);
    forget_temporary(f);
    free(f->path);
    free(f);
}
