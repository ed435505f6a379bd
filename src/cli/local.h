/* What ranks of this machine need to join one group: sockets that listen, keys, a session.
 *
 * All is made in one process before the others start, so no port can be lost to another program
 * meanwhile, and nothing of it is ever in arguments or the environment. */
#ifndef DHOLE_CLI_LOCAL_H
#define DHOLE_CLI_LOCAL_H

#include <stdbool.h>

#include "coll/comm.h"
#include "dhole/group.h"
#include "group/devices.h"
#include "group/keys.h"

struct dhole__local {
    int count;
    int listener[dhole__rank_max]; /* on loopback; or -1 */
    char host[dhole__rank_max][32];
    const char *hosts[dhole__rank_max];
    dhole_identity *identity[dhole__rank_max]; /* thrown away with the group; or NULL */
    dhole_pin pin[dhole__rank_max];
    char session[2 * DHOLE_PIN_SIZE + 1];
    struct dhole__devices devices; /* of jaccl; else empty */
};

/* What has been made when it fails is there to be closed. */
dhole_err dhole__local_prepare(int count, struct dhole__local *out);

/* The device matrix in a file, for the backend of that name, "jaccl" or "jaccl-ring". A NULL file
 * is none. */
dhole_err dhole__local_devices(struct dhole__local *local, const char *backend, const char *file);

/* Sets rank, size, hosts, socket, devices and session, and the keys of a sealed group; they stay
 * here. */
void dhole__local_options(const struct dhole__local *local, int rank, enum dhole__sealing sealing,
                          dhole_options *options);

/* The socket and the key of a rank that has its own. */
void dhole__local_close_rank(struct dhole__local *local, int rank);
void dhole__local_close(struct dhole__local *local);

#endif
