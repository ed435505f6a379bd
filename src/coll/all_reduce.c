/* Every element is reduced once, from all ranks' values in rank order: by everyone when
 * the vector is small (one exchange), by the rank that owns its chunk when it is large
 * (reduce-scatter, then all-gather, both directly between all pairs; the bandwidth bound of
 * Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms", JPDC 2009). Hence
 * the same bits on every rank, and 16-bit floats are rounded once. */
#include <string.h>

#include "coll/coll.h"

/* Up to here one exchange of everything beats two exchanges of parts. */
enum { small_bytes = 32 << 10 };

struct reduction {
    struct dhole__comm *comm;
    struct dhole__call call;
    enum dhole__op op;
    size_t element;
};

static enum dhole__coll coll_of(enum dhole__op op)
{
    switch (op) {
    case DHOLE__MAX: return DHOLE__COLL_ALL_MAX;
    case DHOLE__MIN: return DHOLE__COLL_ALL_MIN;
    default: return DHOLE__COLL_ALL_SUM;
    }
}

/* Peer's place in the scratch memory, which has one for each rank but this one. */
static uint8_t *slot(const struct dhole__comm *comm, int peer, size_t bytes)
{
    return comm->scratch + (size_t)(peer - (peer > comm->rank)) * bytes;
}

/* out = own values and those in the scratch slots, folded in rank order. */
static dhole_err fold(const struct reduction *r, const void *own, void *out, size_t count)
{
    const struct dhole__comm *comm = r->comm;
    const void *source[dhole__rank_max];

    for (int rank = 0; rank < comm->size; rank++)
        source[rank] = rank == comm->rank ? own : slot(comm, rank, count * r->element);
    return dhole__reduce_many(r->op, r->call.dtype, source, comm->size, out, count);
}

static dhole_err reduce_small(struct reduction *r, const void *in, void *out, size_t count)
{
    struct dhole__comm *comm = r->comm;
    struct dhole__part to[dhole__rank_max], from[dhole__rank_max];
    size_t bytes = count * r->element;
    int n = 0;
    dhole_err err;

    for (int peer = 0; peer < comm->size; peer++) {
        if (peer == comm->rank)
            continue;
        to[n] = (struct dhole__part){peer, (void *)in, bytes};
        from[n++] = (struct dhole__part){peer, slot(comm, peer, bytes), bytes};
    }
    err = dhole__comm_exchange(comm, &r->call, to, n, from, n);
    return err ? err : fold(r, in, out, count);
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

static dhole_err reduce_segment(struct reduction *r, const uint8_t *in, uint8_t *out, size_t count)
{
    struct dhole__comm *comm = r->comm;
    struct dhole__part to[dhole__rank_max], from[dhole__rank_max];
    size_t own = chunk_begin(comm, count, comm->rank) * r->element;
    size_t own_count = chunk_count(comm, count, comm->rank);
    size_t own_bytes = own_count * r->element;
    int n = 0;
    dhole_err err;

    for (int peer = 0; peer < comm->size; peer++) {
        if (peer == comm->rank)
            continue;
        to[n] =
            (struct dhole__part){peer, (void *)(in + chunk_begin(comm, count, peer) * r->element),
                                 chunk_count(comm, count, peer) * r->element};
        from[n++] = (struct dhole__part){peer, slot(comm, peer, own_bytes), own_bytes};
    }
    err = dhole__comm_exchange(comm, &r->call, to, n, from, n);
    if (err)
        return err;
    err = fold(r, in + own, out + own, own_count);
    if (err)
        return err;
    for (int i = 0; i < n; i++) {
        int peer = to[i].peer;
        from[i] = (struct dhole__part){peer, out + chunk_begin(comm, count, peer) * r->element,
                                       to[i].bytes};
        to[i] = (struct dhole__part){peer, out + own, own_bytes};
    }
    return dhole__comm_exchange(comm, &r->call, to, n, from, n);
}

/* In segments, so that the scratch memory is bounded and stays in the cache. */
static dhole_err reduce_large(struct reduction *r, const void *in, void *out, size_t count)
{
    size_t peers = (size_t)r->comm->size - 1;
    size_t chunk = r->comm->scratch_size / peers / r->element;
    size_t segment = chunk * (peers + 1);

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
    struct reduction r = {
        .comm = comm,
        .call = {.coll = coll_of(op), .dtype = dtype, .count = count, .deadline = deadline},
        .op = op,
        .element = dhole_dtype_size(dtype),
    };
    size_t others = (size_t)comm->size - 1;

    dhole__comm_begin(comm, &r.call);
    if (others == 0) {
        if (count > 0)
            memmove(out, in, count * r.element);
        return DHOLE_OK;
    }
    if (count * r.element <= small_bytes && count * r.element * others <= comm->scratch_size)
        return reduce_small(&r, in, out, count);
    return reduce_large(&r, in, out, count);
}
