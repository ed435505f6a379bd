/* The addresses at which the ranks of a job meet. */
#ifndef DHOLE_CLI_LAUNCH_ADDRESSES_H
#define DHOLE_CLI_LAUNCH_ADDRESSES_H

#include "cli/launch_hosts.h"

/* A list with a list of addresses, "ip:port" or "[v6]:port", for each rank; the caller owns it.
 * Ports count up from rank to rank and from address to address, as in MLX. Those of this machine
 * are free; without options->starting_port, and when all ranks are here, free ones are
 * looked for. */
DHOLE__MUST_CHECK dhole_err dhole__launch_addresses(const struct dhole__launch_hosts *hosts,
                                                    const struct dhole__launch_options *options,
                                                    json_t **out);

/* An IP or name of rank 0 that all ranks reach, into `out`. */
DHOLE__MUST_CHECK dhole_err dhole__launch_meeting_ip(const struct dhole__launch_hosts *hosts,
                                                     const char **out);

#endif
