/* The roll call of a shrink: where each rank of a broken group stands, as its watcher hears it
 * (liveness.h) and dhole_shrink looks at it (shrink.c). */
#ifndef DHOLE_GROUP_ROLL_H
#define DHOLE_GROUP_ROLL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "coll/comm.h"
#include "transport/rails.h"

enum dhole__phase { DHOLE__COMES, DHOLE__BUILDS, DHOLE__HAS_BUILT, DHOLE__HAS_AGREED };

/* What a rank says of itself; the last word counts. Sets of ranks have a bit for each. */
struct dhole__stance {
    uint32_t round; /* 0: it has not come */
    enum dhole__phase phase;
    uint64_t members; /* of the new group; from DHOLE__BUILDS on */
    uint64_t nonce;
    int port_count;
    uint16_t port[dhole__rails_max]; /* where it listens in this round */
};

enum { dhole__stance_size = 24 + 2 * dhole__rails_max };

void dhole__stance_encode(const struct dhole__stance *stance,
                          uint8_t out[static dhole__stance_size]);

/* False: no rank says that. */
bool dhole__stance_decode(const uint8_t in[static dhole__stance_size], struct dhole__stance *out);

struct dhole__roll {
    pthread_mutex_t lock;
    struct dhole__stance stance[dhole__rank_max];
    uint64_t gone;
    int bell; /* -1: none */
    uint64_t bell_members;
    uint32_t bell_round;
};

void dhole__roll_init(struct dhole__roll *roll);
void dhole__roll_destroy(struct dhole__roll *roll);

void dhole__roll_hear(struct dhole__roll *roll, int rank, const struct dhole__stance *stance);
void dhole__roll_strike(struct dhole__roll *roll, int rank); /* it is gone */

void dhole__roll_look(struct dhole__roll *roll, struct dhole__stance stance[static dhole__rank_max],
                      uint64_t *gone);

/* From now on has a byte written to `fd` when one of `members` is gone or in a later round than
 * this, also if it is so already; at every change when there are no members. -1: no longer. */
void dhole__roll_set_bell(struct dhole__roll *roll, int fd, uint64_t members, uint32_t round);

#endif
