#include <string.h>

#include "coll/coll.h"
#include "coll/ring.h"
#include "coll/two_level.h"

/* Everyone sends its part to everyone: each part crosses one link once. */
dhole_err dhole__all_gather(struct dhole__comm *comm, const void *in, void *out, size_t count,
                            dhole_dtype dtype, dhole__deadline deadline)
{
    struct dhole__call call = {
        .coll = DHOLE__COLL_ALL_GATHER, .dtype = dtype, .count = count, .deadline = deadline};
    size_t bytes = count * dhole_dtype_size(dtype);
    struct dhole__part to[dhole__rank_max], from[dhole__rank_max];
    int n = 0;

    dhole__comm_begin(comm, &call);
    if (comm->ring)
        return dhole__ring_all_gather(comm, &call, in, out);
    if (dhole__two_level_pays(comm, bytes))
        return dhole__two_level_all_gather(comm, &call, in, out);
    for (int peer = 0; peer < comm->size; peer++) {
        uint8_t *slot = bytes > 0 ? (uint8_t *)out + (size_t)peer * bytes : NULL;
        if (peer == comm->rank) {
            if (bytes > 0)
                memmove(slot, in, bytes);
            continue;
        }
        to[n] = (struct dhole__part){peer, (void *)in, bytes};
        from[n++] = (struct dhole__part){peer, slot, bytes};
    }
    return dhole__comm_exchange(comm, &call, to, n, from, n);
}
