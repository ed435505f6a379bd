#include "coll/coll.h"

/* Flat: the root sends to each, side by side. */
dhole_err dhole__broadcast(struct dhole__comm *comm, void *data, size_t count, dhole_dtype dtype,
                           int root, dhole__deadline deadline)
{
    struct dhole__call call = {.coll = DHOLE__COLL_BROADCAST,
                               .dtype = dtype,
                               .root = root,
                               .count = count,
                               .deadline = deadline};
    size_t bytes = count * dhole_dtype_size(dtype);
    struct dhole__part part[dhole__rank_max];
    int n = 0;

    dhole__comm_begin(comm, &call);
    if (comm->rank != root) {
        part[0] = (struct dhole__part){root, data, bytes};
        return dhole__comm_exchange(comm, &call, NULL, 0, part, 1);
    }
    for (int peer = 0; peer < comm->size; peer++)
        if (peer != root)
            part[n++] = (struct dhole__part){peer, data, bytes};
    return dhole__comm_exchange(comm, &call, part, n, NULL, 0);
}
