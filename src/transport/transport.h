/* A transport: how this rank reaches the others. It only makes connections; what
 * they are for is said in their first bytes, which is the caller's business. */
#ifndef DHOLE_TRANSPORT_TRANSPORT_H
#define DHOLE_TRANSPORT_TRANSPORT_H

#include "base/clock.h"
#include "transport/rails.h"

struct dhole__transport_config {
    int rank, size;
    const char *const *hosts; /* addresses of each rank, where the transport has any */
    int listen_fd;            /* a listening socket for this rank's first address, or -1 */
    /* The same for its other addresses, dhole__rails_max - 1 of them; NULL: none. More than there
     * are addresses of a rank are where it listens for those who reach it on other networks. */
    const int *other_fds;
    const char *session;      /* never NULL */
    bool on_host;             /* refuse addresses that are on a network */
    dhole__deadline deadline; /* of open, where names have to be looked up */
};

struct dhole__transport;

struct dhole__transport_ops {
    const char *name;
    size_t size; /* bytes of state, a struct that begins with struct dhole__transport */

    /* Makes this rank reachable. `transport` is zeroed but for ops; after a failure it is
     * not closed. The config's strings outlive the transport. */
    dhole_err (*open)(struct dhole__transport *transport,
                      const struct dhole__transport_config *config);

    /* Connects to a peer, which may be yet to start, at its address number `rail`. Blocks until the
     * deadline. */
    dhole_err (*connect)(struct dhole__transport *transport, int peer, int rail,
                         dhole__deadline deadline, struct dhole__conn **out);

    /* Takes a connection that has come in, from whomever; *out is NULL when there is none.
     * Does not wait. */
    dhole_err (*accept)(struct dhole__transport *transport, struct dhole__conn **out);

    /* Fills what to poll for to learn of the next one, and returns how many. */
    int (*arm)(struct dhole__transport *transport, struct pollfd pfds[static dhole__rails_max]);

    /* Connections that it made live on. */
    void (*close)(struct dhole__transport *transport);
};

struct dhole__transport {
    const struct dhole__transport_ops *ops;
    int rails; /* addresses of each rank, which are to share the load; set by open */
};

extern const struct dhole__transport_ops dhole__transport_tcp;
extern const struct dhole__transport_ops dhole__transport_mem;

DHOLE__MUST_CHECK dhole_err dhole__transport_open(const struct dhole__transport_ops *ops,
                                                  const struct dhole__transport_config *config,
                                                  struct dhole__transport **out);

/* NULL is allowed. */
void dhole__transport_close(struct dhole__transport *transport);

#endif
