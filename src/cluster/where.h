/* Addresses of a session: "host:port" as text. */
#ifndef DHOLE_CLUSTER_WHERE_H
#define DHOLE_CLUSTER_WHERE_H

#include <stdbool.h>

#include "dhole/cluster.h"

/* The host of `address` with another port. */
void dhole__where_with_port(const char *address, const char *port, char out[DHOLE_ADDRESS_SIZE]);

/* The port's digits; "" when there is none. */
const char *dhole__where_port(const char *address);

/* Whether the hosts are written alike. */
bool dhole__where_same_host(const char *a, const char *b);

/* An address that stands for all of a host's, such as "0.0.0.0:1": nobody can call it. */
bool dhole__where_is_wild(const char *address);

/* Whether the host is written in digits, so that nobody has to be asked where it is. */
bool dhole__where_is_numeric(const char *address);

/* An address of size bytes that came over a link, in the sender's words. The scope of an IPv6
 * link-local one ("[fe80::1%eth0]:7") is the sender's name of a cable: it becomes that of `own`,
 * this machine's address on the link. */
void dhole__where_localise(char *address, size_t size, const char *own);

#endif
