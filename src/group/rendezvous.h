/* Where ranks that know no addresses but one find each other: rank 0 listens at the coordinator's
 * address, every other rank calls there and says who it is and where it listens, and gets the
 * complete list. Addresses are all that is exchanged, in the clear; who the peers are is checked
 * when the mesh is built. docs/protocol.md has the bytes. */
#ifndef DHOLE_GROUP_RENDEZVOUS_H
#define DHOLE_GROUP_RENDEZVOUS_H

#include "base/clock.h"
#include "dhole/group.h"
#include "transport/rails.h"
#include "transport/tcp/tcp.h"

struct dhole__rendezvous {
    int size;
    char **hosts;  /* [size], as in dhole_options */
    int listen_fd; /* this rank's, at hosts[rank] */
    int others;    /* sockets at its other addresses, of which the other ranks may know one */
    int other_fds[dhole__rails_max - 1]; /* -1 beyond */
};

/* "host:port", "[ipv6]:port", or the path of a Unix socket, which begins with a slash. A name is
 * looked up until the deadline, or the options' cancel_fd ends it. */
DHOLE__MUST_CHECK dhole_err dhole__coordinator_resolve(const char *coordinator,
                                                       const dhole_options *options,
                                                       dhole__deadline deadline,
                                                       struct dhole__address *out);

/* Blocks until all ranks have come; rank, size, session and cancel_fd of the options are used. The
 * ranks listen where they reach the coordinator, on loopback when that is on this host. At the
 * deadline DHOLE_ERR_TIMEOUT names the ranks that did not come, on those that did too. */
DHOLE__MUST_CHECK dhole_err dhole__rendezvous_open(const char *coordinator,
                                                   const dhole_options *options,
                                                   dhole__deadline deadline,
                                                   struct dhole__rendezvous *out);

/* The same by the options' own all_gather: each rank listens at its entry of hosts, which may list
 * several addresses, at a free port. */
DHOLE__MUST_CHECK dhole_err dhole__rendezvous_gather(const dhole_options *options,
                                                     struct dhole__rendezvous *out);

/* A zeroed one is allowed. */
void dhole__rendezvous_close(struct dhole__rendezvous *rendezvous);

#endif
