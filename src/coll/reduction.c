#include "coll/reduction.h"

/* Peer's place in the scratch memory, which has one for each rank but this one. */
static uint8_t *slot(const struct dhole__comm *comm, int peer, size_t bytes)
{
    return comm->scratch + (size_t)(peer - (peer > comm->rank)) * bytes;
}

size_t dhole__reduction_room(const struct dhole__reduction *r)
{
    return r->comm->scratch_size / ((size_t)r->comm->size - 1) / r->element;
}

dhole_err dhole__reduction_exchange(struct dhole__reduction *r, const struct dhole__part *to,
                                    int to_count, const void *own, void *out, size_t count)
{
    struct dhole__comm *comm = r->comm;
    struct dhole__part from[dhole__rank_max];
    const void *source[dhole__rank_max];
    size_t bytes = count * r->element;
    int n = 0;
    dhole_err err;

    for (int rank = 0; rank < comm->size; rank++) {
        if (rank == comm->rank) {
            source[rank] = own;
            continue;
        }
        source[rank] = slot(comm, rank, bytes);
        from[n++] = (struct dhole__part){rank, slot(comm, rank, bytes), bytes};
    }
    err = dhole__comm_exchange(comm, &r->call, to, to_count, from, n);
    return err ? err : dhole__reduce_many(r->op, r->call.dtype, source, comm->size, out, count);
}
