/* `dhole join --listen`: takes requests of machines that it trusts, one at a time, until it is told
 * to stop. */
#ifndef DHOLE_CLI_WORKER_H
#define DHOLE_CLI_WORKER_H

#include <stdbool.h>

#include "dhole/cluster.h"

struct dhole__worker;

struct dhole__worker_options {
    const dhole_identity *identity; /* outlives the worker */
    const char *name;
    const char *listen;  /* "host:port" */
    const char *model;   /* path of its file, or NULL */
    const char *devices; /* for RDMA, as in dhole_cluster_options */
    int threads;         /* of each request; 0: as the coordinator says */
    bool hide;           /* do not announce it on the local network */
};

/* Opens the model and listens, from now on with the trust file's machines let in. Returns the exit
 * code, after the fault has been printed. */
int dhole__worker_open(const struct dhole__worker_options *options, struct dhole__worker **out);

/* With the port that was taken. */
const char *dhole__worker_address(const struct dhole__worker *worker);

/* Reads the trust file again. */
dhole_err dhole__worker_reload(struct dhole__worker *worker);

/* Works until SIGINT or SIGTERM, which signals.h collects, or `once` for one request; returns the
 * exit code. */
int dhole__worker_run(struct dhole__worker *worker, bool once);

/* NULL is allowed. */
void dhole__worker_free(struct dhole__worker *worker);

#endif
