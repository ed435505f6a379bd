/* Host files of a ring, in both forms that MLX reads: a list with a list of addresses for each
 * rank, or with one address for each rank. */
#ifndef DHOLE_GROUP_HOSTFILE_H
#define DHOLE_GROUP_HOSTFILE_H

#include "base/error.h"
#include "base/json.h"

struct dhole__hostfile {
    int size;     /* ranks */
    int rails;    /* addresses of each */
    char **hosts; /* [size], as in dhole_options: a rank's addresses, separated by commas */
};

/* DHOLE_ERR_CONFIG names the file and the entry. *out is untouched on failure. */
DHOLE__MUST_CHECK dhole_err dhole__hostfile_read(const char *path, struct dhole__hostfile *out);

/* The same of parsed JSON; `what` names it in errors. */
DHOLE__MUST_CHECK dhole_err dhole__hostfile_parse(const json_t *root, const char *what,
                                                  struct dhole__hostfile *out);

/* A zeroed one is allowed. */
void dhole__hostfile_free(struct dhole__hostfile *file);

#endif
