/* Collectives in groups whose ranks share hosts: data crosses the network once for each pair of
 * hosts, not once for each pair of ranks. */
#ifndef DHOLE_COLL_TWO_LEVEL_H
#define DHOLE_COLL_TWO_LEVEL_H

#include "coll/reduction.h"

/* Whether the second step is worth it for messages of `bytes`. The same on all ranks. */
bool dhole__two_level_pays(const struct dhole__comm *comm, size_t bytes);

/* These take over a call that has begun. */
DHOLE__MUST_CHECK dhole_err dhole__two_level_all_reduce(struct dhole__reduction *r, const void *in,
                                                        void *out);
DHOLE__MUST_CHECK dhole_err dhole__two_level_all_gather(struct dhole__comm *comm,
                                                        struct dhole__call *call, const void *in,
                                                        void *out);
DHOLE__MUST_CHECK dhole_err dhole__two_level_broadcast(struct dhole__comm *comm,
                                                       struct dhole__call *call, void *data);

/* The messages of one exchange while they are put together. */
struct dhole__parts {
    struct dhole__part to[dhole__rank_max], from[dhole__rank_max];
    int to_count, from_count;
};

static inline void dhole__parts_send(struct dhole__parts *p, int peer, const void *data,
                                     size_t bytes)
{
    p->to[p->to_count++] = (struct dhole__part){peer, (void *)data, bytes};
}

static inline void dhole__parts_recv(struct dhole__parts *p, int peer, void *data, size_t bytes)
{
    p->from[p->from_count++] = (struct dhole__part){peer, data, bytes};
}

/* Runs them and empties *p; ranks without a message just count the step. */
DHOLE__MUST_CHECK dhole_err dhole__parts_exchange(struct dhole__parts *p, struct dhole__comm *comm,
                                                  struct dhole__call *call);

#endif
