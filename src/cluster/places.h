/* The addresses of a rank that has several: texts that separate them by commas, as the hosts of a
 * group do, and lists of strings in notes. */
#ifndef DHOLE_CLUSTER_PLACES_H
#define DHOLE_CLUSTER_PLACES_H

#include <stdbool.h>

#include "base/json.h"
#include "dhole/cluster.h"

enum {
    dhole__places_max = 8,
    dhole__places_size = 256, /* of a text of other addresses than the first */
    dhole__dial_size = DHOLE_ADDRESS_SIZE + dhole__places_size
};

/* Adds an address to a text of `size` bytes, unless it is there or does not fit. */
void dhole__places_add(char *places, size_t size, const char *address);

/* The addresses in a text, NULL for want of memory. */
json_t *dhole__places_encode(const char *places);

/* From anybody's note; NULL is none. DHOLE_ERR_PROTOCOL when one is not in digits, or they are too
 * many. */
DHOLE__MUST_CHECK dhole_err dhole__places_decode(const json_t *list,
                                                 char out[static dhole__places_size]);

/* Puts what most likely leads there first: of a host that this machine reaches by loopback, as
 * `own` says, its loopback; then what is on a network that this machine is on too; loopback of
 * another host last. */
void dhole__places_order(char *places, const char *own);

#endif
