/* Where this machine can be called. */
#ifndef DHOLE_CLUSTER_OWN_ADDRESSES_H
#define DHOLE_CLUSTER_OWN_ADDRESSES_H

#include <stdbool.h>

#include "base/error.h"
#include "dhole/cluster.h"

/* Whether "host:port" names all addresses of a machine: 0.0.0.0 or [::]. */
bool dhole__is_wildcard(const char *address);

/* The addresses of this machine that others can call when it listens at the wildcard address
 * `listens`, with its port; those of IPv4 first, at most `most`. DHOLE_ERR_CONFIG when there are
 * none. */
DHOLE__MUST_CHECK dhole_err dhole__own_addresses(const char *listens,
                                                 char (*out)[DHOLE_ADDRESS_SIZE], int most,
                                                 int *count);

/* `address` with the host of `seen` where it is a wildcard. */
void dhole__replace_wildcard(char address[static DHOLE_ADDRESS_SIZE], const char *seen);

#endif
