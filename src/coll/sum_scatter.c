/* Each rank gets its part of every rank's values, and sums it: the first half of a large
 * all-reduce. */
#include <string.h>

#include "coll/coll.h"
#include "coll/reduction.h"
#include "coll/ring.h"

/* The elements from `done` on of every part. */
static dhole_err sum_segment(struct dhole__reduction *r, const uint8_t *in, uint8_t *out,
                             size_t done, size_t count)
{
    const struct dhole__comm *comm = r->comm;
    const size_t part = r->call.count * r->element, offset = done * r->element;
    struct dhole__part to[dhole__rank_max];
    int n = 0;

    for (int peer = 0; peer < comm->size; peer++)
        if (peer != comm->rank)
            to[n++] = (struct dhole__part){peer, (void *)(in + (size_t)peer * part + offset),
                                           count * r->element};
    return dhole__reduction_exchange(r, to, n, in + (size_t)comm->rank * part + offset,
                                     out + offset, count);
}

dhole_err dhole__sum_scatter(struct dhole__comm *comm, const void *in, void *out, size_t count,
                             dhole_dtype dtype, dhole__deadline deadline)
{
    struct dhole__reduction r = {
        .comm = comm,
        .call = {.coll = DHOLE__COLL_SUM_SCATTER,
                 .dtype = dtype,
                 .count = count,
                 .deadline = deadline},
        .op = DHOLE__SUM,
        .element = dhole_dtype_size(dtype),
    };
    size_t done = 0, n;

    dhole__comm_begin(comm, &r.call);
    if (count == 0)
        in = out = comm->scratch; /* nothing needs no buffer, but a place */
    if (comm->size == 1) {
        memmove(out, in, count * r.element);
        return DHOLE_OK;
    }
    if (comm->ring)
        return dhole__ring_sum_scatter(&r, in, out);
    do { /* once when there is nothing, as that is to be agreed on too */
        size_t room = dhole__reduction_room(&r);
        dhole_err err;
        n = count - done < room ? count - done : room;
        err = sum_segment(&r, in, out, done, n);
        if (err)
            return err;
        done += n;
    } while (done < count);
    return DHOLE_OK;
}
