/* Changes of a small file: all at once or not at all, and one after the other. */
#ifndef DHOLE_BASE_CHANGE_H
#define DHOLE_BASE_CHANGE_H

#include "base/file.h"

/* A change under way. */
struct dhole__change {
    int fd;
    char path[dhole__path_max];      /* what a symbolic link leads to */
    char successor[dhole__path_max]; /* "<path>.new" */
};

/* Makes the directories above `path` that are not there, mode 0700, and waits until no other
 * process or thread changes the file: DHOLE_ERR_TIMEOUT after 10 s. DHOLE_ERR_AUTH when `path` is
 * a link of another user's. */
DHOLE__MUST_CHECK dhole_err dhole__change_begin(const char *path, struct dhole__change *out);

/* Gives the file this content and mode; it is what it was if that fails. Ends the change. */
DHOLE__MUST_CHECK dhole_err dhole__change_commit(struct dhole__change *change, mode_t mode,
                                                 const void *data, size_t size);

/* Ends the change; the file is what it was. */
void dhole__change_drop(struct dhole__change *change);

#endif
