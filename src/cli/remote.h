/* The ranks of `dhole generate --peers`: this process is rank 0, and the workers of other machines
 * (`dhole join --listen`) are the others, in the order in which they are named. */
#ifndef DHOLE_CLI_REMOTE_H
#define DHOLE_CLI_REMOTE_H

#include <stdbool.h>

#include "cli/local.h"
#include "dhole/infer.h"

struct dhole__remote;

struct dhole__remote_options {
    const char *const *names; /* in the trust file */
    int count;                /* of them */
    const dhole_model *model;
    dhole_parallel parallel;
    const char *backend; /* of the group */
    const char *devices; /* of this machine, as in dhole_cluster_options */
    bool seal_memory;    /* that is shared with workers of this host */
    int threads;         /* of each rank; 0: each as it can */
};

/* Invites the workers, and joins the group as rank 0. DHOLE_ERR_CANCELLED when a signal of
 * signals.h came first. Who failed is named. */
dhole_err dhole__remote_start(const struct dhole__remote_options *options,
                              struct dhole__remote **out);

dhole_group *dhole__remote_group(const struct dhole__remote *remote);

/* Puts the name of the machine that a broken group was lost for in front of this thread's message;
 * returns what the error is to the caller. */
dhole_err dhole__remote_explain(const struct dhole__remote *remote, dhole_err err);

/* Ends the group and the session, and gives the workers a while to be ready for another request
 * (less when not all is well). NULL is allowed. */
void dhole__remote_end(struct dhole__remote *remote, bool well);

#endif
