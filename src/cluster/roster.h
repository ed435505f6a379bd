/* Who is in a session, in the order of ranks: what the coordinator makes for each epoch and tells
 * all others. */
#ifndef DHOLE_CLUSTER_ROSTER_H
#define DHOLE_CLUSTER_ROSTER_H

#include "base/json.h"
#include "cluster/places.h"
#include "coll/topology.h"
#include "dhole/cluster.h"

enum { dhole__session_id_size = 33 }; /* 16 random bytes in hexadecimal, NUL-terminated */

struct dhole__roster {
    char session[dhole__session_id_size];
    uint64_t epoch; /* from 1 */
    int rank;       /* of whom it is told */
    int size;
    dhole_trusted who[dhole__rank_max];
    char others[dhole__rank_max][dhole__places_size]; /* addresses of each, beside that in `who` */
};

/* Sorts by address as numbers, those of IPv4 first, then by port, then by key. DHOLE_ERR_CONFIG
 * names an address that cannot be resolved. */
DHOLE__MUST_CHECK dhole_err dhole__roster_order(dhole_trusted *who, int count);

/* NULL for want of memory. */
json_t *dhole__roster_encode(const struct dhole__roster *roster, int rank);

/* From anybody's bytes. DHOLE_ERR_PROTOCOL says what is wrong with it; every name and address is
 * valid, no name or key is there twice, and rank and epoch are in their ranges. */
DHOLE__MUST_CHECK dhole_err dhole__roster_decode(const void *text, size_t length,
                                                 struct dhole__roster *out);

#endif
