#include "coll/coll.h"
#include "coll/ring.h"

/* Everyone tells everyone: one latency, and few ranks. */
dhole_err dhole__barrier(struct dhole__comm *comm, dhole__deadline deadline)
{
    struct dhole__call call = {.coll = DHOLE__COLL_BARRIER, .deadline = deadline};
    struct dhole__part part[dhole__rank_max];
    int n = 0;

    dhole__comm_begin(comm, &call);
    if (comm->ring)
        return dhole__ring_barrier(comm, &call);
    for (int peer = 0; peer < comm->size; peer++)
        if (peer != comm->rank)
            part[n++] = (struct dhole__part){.peer = peer};
    return dhole__comm_exchange(comm, &call, part, n, part, n);
}
