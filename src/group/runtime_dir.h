/* Where this user's files live that are there for a while. */
#ifndef DHOLE_GROUP_RUNTIME_DIR_H
#define DHOLE_GROUP_RUNTIME_DIR_H

#include <stddef.h>

#include "base/error.h"

/* XDG_RUNTIME_DIR if it is this user's, else TMPDIR or /tmp. */
const char *dhole__runtime_base(void);

/* Path of `name` in dhole/ under XDG_RUNTIME_DIR, or else in dhole-UID/ under TMPDIR or /tmp. Makes
 * the directory, and refuses one that others may enter. */
DHOLE__MUST_CHECK dhole_err dhole__runtime_path(const char *name, char *out, size_t size);

#endif
