/* In rounds of at most `width` side by side: in round k, ranks r and (k - r) mod size exchange
 * their parts. That pairs all ranks with each other and, unlike sending to r + k while receiving
 * from r - k, lets a part be replaced by the one it is exchanged for. Parts go in segments that the
 * scratch memory holds, in place or not: ranks may differ in that. */
#include <string.h>

#include "coll/coll.h"

enum { width = 8 };

struct swap {
    struct dhole__comm *comm;
    struct dhole__call call;
    const uint8_t *in;
    uint8_t *out;
    size_t part; /* bytes */
};

/* The ranks that this one exchanges with in the rounds from `round` on; returns how many. */
static int peers_of(const struct dhole__comm *comm, int round, int peers[static width])
{
    int n = 0;

    for (int end = round + width; round < end && round < comm->size; round++) {
        int peer = (round - comm->rank + comm->size) % comm->size;
        if (peer != comm->rank)
            peers[n++] = peer;
    }
    return n;
}

/* `bytes` of every part from `done` on, at most a width-th of the scratch memory. */
static dhole_err swap_segment(struct swap *s, const int *peers, int n, size_t done, size_t bytes)
{
    struct dhole__part to[width], from[width];
    const bool in_place = s->in == s->out;
    dhole_err err;

    for (int i = 0; i < n; i++) {
        size_t at = (size_t)peers[i] * s->part + done;
        uint8_t *into = in_place ? s->comm->scratch + (size_t)i * bytes : s->out + at;
        to[i] = (struct dhole__part){peers[i], (void *)(s->in + at), bytes};
        from[i] = (struct dhole__part){peers[i], into, bytes};
    }
    err = dhole__comm_exchange(s->comm, &s->call, to, n, from, n);
    for (int i = 0; i < n && in_place && !err; i++)
        memcpy(to[i].data, from[i].data, bytes);
    return err;
}

static dhole_err swap_parts(struct swap *s, const int *peers, int n)
{
    size_t room = s->comm->scratch_size / width, done = 0;

    do { /* once when there is nothing, as that is to be agreed on too */
        size_t bytes = s->part - done < room ? s->part - done : room;
        dhole_err err = swap_segment(s, peers, n, done, bytes);
        if (err)
            return err;
        done += bytes;
    } while (done < s->part);
    return DHOLE_OK;
}

dhole_err dhole__all_to_all(struct dhole__comm *comm, const void *in, void *out, size_t count,
                            dhole_dtype dtype, dhole__deadline deadline)
{
    struct swap s = {
        .comm = comm,
        .call = {.coll = DHOLE__COLL_ALL_TO_ALL,
                 .dtype = dtype,
                 .count = count,
                 .deadline = deadline},
        .in = count > 0 ? in : comm->scratch, /* nothing needs no buffer, but a place */
        .out = count > 0 ? out : comm->scratch,
        .part = count * dhole_dtype_size(dtype),
    };
    size_t own = (size_t)comm->rank * s.part;

    dhole__comm_begin(comm, &s.call);
    if (s.in != s.out)
        memcpy(s.out + own, s.in + own, s.part);
    for (int round = 0; round < comm->size; round += width) {
        int peers[width];
        int n = peers_of(comm, round, peers);
        dhole_err err = swap_parts(&s, peers, n);
        if (err)
            return err;
    }
    return DHOLE_OK;
}
