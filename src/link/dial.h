/* Where a peer is, and how the side that calls comes to a connected socket. */
#ifndef DHOLE_LINK_DIAL_H
#define DHOLE_LINK_DIAL_H

#include <stdbool.h>

#include "base/clock.h"
#include "base/error.h"
#include "dhole/link.h"
#include "transport/tcp/tcp.h"

/* The addresses of one side, as a text separates them by commas. */
struct dhole__book {
    const char *text; /* the caller's */
    struct dhole__address address[DHOLE_LANES_MAX];
    int count;
};

struct dhole__dial {
    dhole__deadline deadline;
    int cancel_fd; /* as the link's options have it */
    bool no_retry;
};

/* As the options have it, from now on. */
struct dhole__dial dhole__dial_of(const dhole_link_options *options);

/* Looks names up, no longer than the dial has time. DHOLE_ERR_CONFIG quotes what is no address, or
 * says that there are more than DHOLE_LANES_MAX. */
DHOLE__MUST_CHECK dhole_err dhole__book_read(struct dhole__book *book, const char *text,
                                             const struct dhole__dial *how);

/* A socket that is connected to the first of address[0..n) that answers: each is called when the
 * one before has refused, or has not answered for a while. Sets *which of them that is. */
DHOLE__MUST_CHECK dhole_err dhole__dial(const struct dhole__address *address, int n,
                                        const struct dhole__dial *how, int *fd, int *which);

/* poll() with the dial's deadline, or an earlier one, and its cancel_fd, which pfds[0] is for. */
DHOLE__MUST_CHECK dhole_err dhole__dial_poll(const struct dhole__dial *how, struct pollfd *pfds,
                                             int n, dhole__deadline deadline);

#endif
