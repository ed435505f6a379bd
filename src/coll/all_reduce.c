/* Every element is reduced once, from all ranks' values in rank order: by everyone when
 * the vector is small (one exchange with all, or fewer messages in more rounds), by the rank that
 * owns its chunk when it is large (reduce-scatter, then all-gather, both directly between all
 * pairs; the bandwidth bound of Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms", JPDC
 * 2009). Hence the same bits on every rank, and 16-bit floats are rounded once. */
#include <string.h>

#include "coll/coll.h"
#include "coll/ring.h"
#include "coll/two_level.h"

/* Up to here one exchange of everything beats two exchanges of parts. */
enum { small_bytes = 32 << 10 };

static enum dhole__coll coll_of(enum dhole__op op)
{
    switch (op) {
    case DHOLE__MAX: return DHOLE__COLL_ALL_MAX;
    case DHOLE__MIN: return DHOLE__COLL_ALL_MIN;
    default: return DHOLE__COLL_ALL_SUM;
    }
}

static dhole_err reduce_small(struct dhole__reduction *r, const void *in, void *out, size_t count)
{
    struct dhole__part to[dhole__rank_max];
    int n = 0;

    for (int peer = 0; peer < r->comm->size; peer++)
        if (peer != r->comm->rank)
            to[n++] = (struct dhole__part){peer, (void *)in, count * r->element};
    return dhole__reduction_exchange(r, to, n, in, out, count);
}

/* Recursive doubling (Thakur, Rabenseifner and Gropp, "Optimization of collective communication
 * operations in MPICH", IJHPCA 2005): after round i a rank has the values of its 2^i neighbours.
 * As many bytes, but log2(size) messages instead of size - 1: where ranks share processors and
 * messages go over TCP, that counts and the rounds do not. */
static dhole_err reduce_in_rounds(struct dhole__reduction *r, const void *in, void *out,
                                  size_t count)
{
    struct dhole__comm *comm = r->comm;
    size_t bytes = count * r->element;
    const void *source[dhole__rank_max];

    for (int rank = 0; rank < comm->size; rank++)
        source[rank] = comm->scratch + (size_t)rank * bytes;
    if (bytes > 0)
        memcpy(comm->scratch + (size_t)comm->rank * bytes, in, bytes);
    for (int have = 1; have < comm->size; have *= 2) {
        int peer = comm->rank ^ have;
        int ours = comm->rank & -have, theirs = peer & -have; /* the first of the neighbours */
        struct dhole__part to = {peer, (void *)source[ours], (size_t)have * bytes};
        struct dhole__part from = {peer, (void *)source[theirs], (size_t)have * bytes};
        dhole_err err = dhole__comm_exchange(comm, &r->call, &to, 1, &from, 1);
        if (err)
            return err;
    }
    return dhole__reduce_many(r->op, r->call.dtype, source, comm->size, out, count);
}

static bool rounds_pay(const struct dhole__comm *comm, size_t bytes)
{
    bool power_of_two = (comm->size & (comm->size - 1)) == 0;

    return comm->crowded && comm->topology.hosts > 1 && comm->size > 2 && power_of_two &&
           bytes <= comm->scratch_size / (size_t)comm->size;
}

/* The part of `count` elements that a rank owns. */
static size_t chunk_begin(const struct dhole__comm *comm, size_t count, int rank)
{
    size_t n = (size_t)comm->size, i = (size_t)rank;

    return count / n * i + (count % n < i ? count % n : i);
}

static size_t chunk_count(const struct dhole__comm *comm, size_t count, int rank)
{
    return chunk_begin(comm, count, rank + 1) - chunk_begin(comm, count, rank);
}

/* The chunks of all other ranks in `vector`; returns how many. */
static int chunks_of_peers(const struct dhole__reduction *r, const uint8_t *vector, size_t count,
                           struct dhole__part *part)
{
    int n = 0;

    for (int peer = 0; peer < r->comm->size; peer++)
        if (peer != r->comm->rank)
            part[n++] = (struct dhole__part){
                peer, (void *)(vector + chunk_begin(r->comm, count, peer) * r->element),
                chunk_count(r->comm, count, peer) * r->element};
    return n;
}

static dhole_err reduce_segment(struct dhole__reduction *r, const uint8_t *in, uint8_t *out,
                                size_t count)
{
    struct dhole__comm *comm = r->comm;
    struct dhole__part to[dhole__rank_max], from[dhole__rank_max];
    size_t own = chunk_begin(comm, count, comm->rank) * r->element;
    size_t own_count = chunk_count(comm, count, comm->rank);
    int n = chunks_of_peers(r, in, count, to);
    dhole_err err = dhole__reduction_exchange(r, to, n, in + own, out + own, own_count);

    if (err)
        return err;
    n = chunks_of_peers(r, out, count, from);
    for (int i = 0; i < n; i++)
        to[i] = (struct dhole__part){from[i].peer, out + own, own_count * r->element};
    return dhole__comm_exchange(comm, &r->call, to, n, from, n);
}

/* In segments of about one size, so that the scratch memory is bounded and stays in the cache. */
static dhole_err reduce_large(struct dhole__reduction *r, const void *in, void *out, size_t count)
{
    size_t most = dhole__reduction_room(r) * (size_t)r->comm->size;
    size_t segments = count / most + (count % most > 0);
    size_t segment = count / segments + (count % segments > 0);

    for (size_t done = 0; done < count; done += segment) {
        size_t n = count - done < segment ? count - done : segment;
        dhole_err err = reduce_segment(r, (const uint8_t *)in + done * r->element,
                                       (uint8_t *)out + done * r->element, n);
        if (err)
            return err;
    }
    return DHOLE_OK;
}

dhole_err dhole__all_reduce(struct dhole__comm *comm, enum dhole__op op, const void *in, void *out,
                            size_t count, dhole_dtype dtype, dhole__deadline deadline)
{
    struct dhole__reduction r = {
        .comm = comm,
        .call = {.coll = coll_of(op), .dtype = dtype, .count = count, .deadline = deadline},
        .op = op,
        .element = dhole_dtype_size(dtype),
    };

    dhole__comm_begin(comm, &r.call);
    if (comm->size == 1) {
        if (count > 0)
            memmove(out, in, count * r.element);
        return DHOLE_OK;
    }
    if (comm->ring)
        return dhole__ring_all_reduce(&r, in, out);
    if (dhole__two_level_pays(comm, count * r.element))
        return dhole__two_level_all_reduce(&r, in, out);
    if (count * r.element <= small_bytes && rounds_pay(comm, count * r.element))
        return reduce_in_rounds(&r, in, out, count);
    if (count * r.element <= small_bytes && count <= dhole__reduction_room(&r))
        return reduce_small(&r, in, out, count);
    return reduce_large(&r, in, out, count);
}
