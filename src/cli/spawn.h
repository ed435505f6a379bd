/* The ranks of one machine: `dhole generate --ranks N` is rank 0 and starts the others.
 *
 * Rank 0 binds every rank's listening socket itself, so no port can be lost to another program
 * meanwhile, and makes a throwaway identity for every rank. A child gets its
 * socket by inheritance and the rest over a socket pair: never in its arguments or
 * environment. It opens the model and says that it is ready, or why not, before anyone joins, so
 * that a rank that cannot start is an error at once. */
#ifndef DHOLE_CLI_SPAWN_H
#define DHOLE_CLI_SPAWN_H

#include <stdbool.h>

#include "cli/local.h"
#include "dhole/infer.h"

struct dhole__ranks;

struct dhole__spawn_options {
    int count;        /* ranks, this one included: >= 2 */
    const char *path; /* of the model's file, for the others to open */
    const dhole_model *model;
    dhole_parallel parallel;
    const char *backend; /* of the group */
    const char *devices; /* the file with the device matrix, or NULL */
    enum dhole__sealing sealing;
    int threads; /* of each rank */
};

/* Starts ranks 1..count-1 and joins the group as rank 0. DHOLE_ERR_CANCELLED when a signal of
 * signals.h came first. */
dhole_err dhole__ranks_start(const struct dhole__spawn_options *options, struct dhole__ranks **out);

dhole_group *dhole__ranks_group(const struct dhole__ranks *ranks);

/* Frees the group, gives the ranks a while to end (less when not all is well), and
 * kills those that did not. NULL is allowed. */
void dhole__ranks_end(struct dhole__ranks *ranks, bool well);

#endif
