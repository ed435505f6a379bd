/* Small files of this user's that hold secrets or trust: where they are, and reading one whole. */
#ifndef DHOLE_BASE_FILE_H
#define DHOLE_BASE_FILE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"

enum { dhole__path_max = 1024 };

/* "$XDG_CONFIG_HOME/dhole/<name>", or "~/.config/dhole/<name>" where that is not set or not
 * absolute. DHOLE_ERR_CONFIG where there is no home either, or the path is too long. */
DHOLE__MUST_CHECK dhole_err dhole__config_path(const char *name, char out[static dhole__path_max]);

/* The path of `name` in the directory of the file `path`. */
DHOLE__MUST_CHECK dhole_err dhole__path_beside(const char *path, const char *name,
                                               char out[static dhole__path_max]);

/* Appends what a file holds; *there is false, and nothing appended, when there is none. It must be
 * this user's or root's and give others none of the rights in `denied`, such as 077, else
 * DHOLE_ERR_AUTH; a regular file of at most out's maximum, else DHOLE_ERR_FORMAT. */
DHOLE__MUST_CHECK dhole_err dhole__file_read(const char *path, mode_t denied,
                                             struct dhole__buf *out, bool *there);

#endif
