/* What the reducing collectives share: every element is reduced once, by one rank, from all ranks'
 * values in rank order. */
#ifndef DHOLE_COLL_REDUCTION_H
#define DHOLE_COLL_REDUCTION_H

#include "coll/comm.h"

struct dhole__reduction {
    struct dhole__comm *comm;
    struct dhole__call call;
    enum dhole__op op;
    size_t element; /* bytes */
};

/* Elements of each peer's that the scratch memory has room for at once. There must be peers. */
size_t dhole__reduction_room(const struct dhole__reduction *r);

/* Sends each peer its part of this rank's values, and gathers the peers' `count` values for this
 * rank, at most dhole__reduction_room; out = those and `own`, reduced. out may be own. */
DHOLE__MUST_CHECK dhole_err dhole__reduction_exchange(struct dhole__reduction *r,
                                                      const struct dhole__part *to, int to_count,
                                                      const void *own, void *out, size_t count);

#endif
