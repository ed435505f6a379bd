/* Collectives of a group whose ranks are joined in a ring: what is fast between ranks that follow
 * each other is slow between others. Only neighbours exchange, each with both of its own at a time.
 * There are four ranks or more. */
#ifndef DHOLE_COLL_RING_H
#define DHOLE_COLL_RING_H

#include "coll/reduction.h"

/* These take over a call that has begun. */
DHOLE__MUST_CHECK dhole_err dhole__ring_barrier(struct dhole__comm *comm, struct dhole__call *call);
DHOLE__MUST_CHECK dhole_err dhole__ring_all_gather(struct dhole__comm *comm,
                                                   struct dhole__call *call, const void *in,
                                                   void *out);
DHOLE__MUST_CHECK dhole_err dhole__ring_broadcast(struct dhole__comm *comm,
                                                  struct dhole__call *call, void *data);
DHOLE__MUST_CHECK dhole_err dhole__ring_all_reduce(struct dhole__reduction *r, const void *in,
                                                   void *out);
DHOLE__MUST_CHECK dhole_err dhole__ring_sum_scatter(struct dhole__reduction *r, const void *in,
                                                    void *out);

/* What each rank has or gets. */
struct dhole__ring_block {
    uint8_t *data;
    size_t bytes;
};

/* A block of each rank, this one's filled in, goes to all; by rank. */
DHOLE__MUST_CHECK dhole_err dhole__ring_pass_round(struct dhole__comm *comm,
                                                   struct dhole__call *call,
                                                   const struct dhole__ring_block *block);

/* The rank `steps` after this one, or before it. */
int dhole__ring_rank(const struct dhole__comm *comm, int steps);

#endif
