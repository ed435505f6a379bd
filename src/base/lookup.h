/* Where a host is, as the system's resolver says, which knows no deadline. */
#ifndef DHOLE_BASE_LOOKUP_H
#define DHOLE_BASE_LOOKUP_H

#include <netdb.h>

#include "base/clock.h"
#include "base/error.h"

/* getaddrinfo() of both. Nobody waits for it longer than the deadline, nor once cancel_fd, if it is
 * not -1, is readable: DHOLE_ERR_TIMEOUT, DHOLE_ERR_CANCELLED. DHOLE_ERR_CONFIG: no such host. */
DHOLE__MUST_CHECK dhole_err dhole__lookup(const char *host, const char *port,
                                          const struct addrinfo *hints, dhole__deadline deadline,
                                          int cancel_fd, struct addrinfo **out);

#endif
