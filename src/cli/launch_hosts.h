/* Which ranks there are: from a host file in MLX's form, or from the command line. */
#ifndef DHOLE_CLI_LAUNCH_HOSTS_H
#define DHOLE_CLI_LAUNCH_HOSTS_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "cli/launch_options.h"
#include "coll/comm.h"

struct dhole__launch_host {
    const char *name;    /* what ssh is told, and what messages say */
    const char *address; /* the same without a user's name */
    bool local;          /* this machine */
    const json_t *ips;   /* a list of strings, or NULL */
    const json_t *rdma;  /* a device, a list of them or null for each rank, or NULL */
};

/* Strings and lists belong to `root`. */
struct dhole__launch_hosts {
    json_t *root;
    const char *backend; /* NULL: the file names none */
    const json_t *envs;  /* a list of "NAME=VALUE", or NULL */
    struct dhole__launch_host rank[dhole__rank_max];
    int count;
    bool all_local;
};

/* DHOLE_ERR_CONFIG names the file, the entry and what was expected there. To be freed when it
 * succeeded. */
DHOLE__MUST_CHECK dhole_err dhole__launch_hosts_read(const struct dhole__launch_options *options,
                                                     struct dhole__launch_hosts *out);
void dhole__launch_hosts_free(struct dhole__launch_hosts *hosts);

#endif
