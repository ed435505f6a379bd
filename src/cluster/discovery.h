/* What machines say of themselves on the local network, whatever carries it: made, read, gathered.
 */
#ifndef DHOLE_CLUSTER_DISCOVERY_H
#define DHOLE_CLUSTER_DISCOVERY_H

#include <stdbool.h>
#include <sys/socket.h>

#include "base/error.h"
#include "dhole/cluster.h"

#define DHOLE__SERVICE_TYPE "_dhole._tcp"

/* ---- A TXT record (RFC 6763, section 6): strings "key=value" of at most 255 bytes ---- */

enum {
    dhole__txt_version,
    dhole__txt_fingerprint,
    dhole__txt_name,
    dhole__txt_keys,
    dhole__txt_max = 96
};

struct dhole__txt {
    char item[dhole__txt_keys][dhole__txt_max];
};

/* DHOLE_ERR_INVALID for a name or port that cannot be announced. */
DHOLE__MUST_CHECK dhole_err dhole__txt_make(const char *name, int port, const dhole_pin *pin,
                                            struct dhole__txt *out);

/* Who somebody says to be. Begins as zeros; is shown each string of its record; is whole when it
 * has been shown each key once, and what it says can be true. Other keys are passed over. */
struct dhole__claim {
    char name[DHOLE_NAME_SIZE];
    dhole_pin pin;
    unsigned shown; /* a bit a key */
    bool bad;
};

void dhole__claim_item(struct dhole__claim *claim, const void *item, size_t size);
bool dhole__claim_is_whole(const struct dhole__claim *claim);

/* ---- What was seen ---- */

enum { dhole__sightings_max = 256 };

struct dhole__sighting {
    char service[DHOLE_NAME_SIZE]; /* unique on a network, unlike what a claim says */
    dhole_found machine;
    int worth; /* of the address */
};

struct dhole__sightings {
    struct dhole__sighting seen[dhole__sightings_max];
    int count;
    bool more; /* than can be held */
};

/* Each machine once, with the best of its addresses: IPv4, else global IPv6, else link-local with
 * its scope. What is no claim, and an address that nobody else can have, such as loopback, is
 * passed over. `address` has the port. */
void dhole__sightings_add(struct dhole__sightings *sightings, const char *service,
                          const struct dhole__claim *claim, const struct sockaddr *address);

void dhole__sightings_report(const struct dhole__sightings *sightings,
                             void (*found)(void *arg, const dhole_found *machine), void *arg);

#endif
