/* What a rank is told in its environment: our variables, and MLX's. */
#ifndef DHOLE_CLI_LAUNCH_VARIABLES_H
#define DHOLE_CLI_LAUNCH_VARIABLES_H

#include "cli/launch.h"
#include "cli/launch_hosts.h"

/* What all ranks are told alike. */
struct dhole__launch_cluster {
    const char *backend;
    const char *meeting_ip; /* of rank 0; NULL where the backend needs none */
    const char *seal;       /* what DHOLE_SEAL is to be */
    bool keys;              /* the job has a key for each rank */
    const struct dhole__launch_hosts *hosts;
    const struct dhole__launch_options *options;
};

extern const char dhole__launch_addresses_file[], dhole__launch_devices_file[];

/* Appends the variables of every rank of the job, whose files are known. */
DHOLE__MUST_CHECK dhole_err dhole__launch_variables(const struct dhole__launch_cluster *cluster,
                                                    struct dhole__launch_job *job);

/* Appends only those that the user asked for. */
DHOLE__MUST_CHECK dhole_err
dhole__launch_user_variables(const struct dhole__launch_hosts *hosts,
                             const struct dhole__launch_options *options, struct dhole__buf *out);

#endif
