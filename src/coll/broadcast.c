/* Small data, or two ranks: the root sends to each, side by side. Large data: the root sends each
 * rank a piece, and the ranks pass their pieces on to each other (van de Geijn's scatter and
 * all-gather, with direct exchanges), so that no rank sends much more than the data once. That is
 * done in segments, and the ranks pass one on while the next comes in. */
#include "coll/coll.h"
#include "coll/ring.h"
#include "coll/two_level.h"

enum { flat_bytes = 64 << 10, piece_bytes = 128 << 10 };

struct broadcast {
    struct dhole__comm *comm;
    struct dhole__call call;
    uint8_t *data;
    size_t bytes;
};

static dhole_err flat(struct broadcast *b)
{
    struct dhole__comm *comm = b->comm;
    struct dhole__part part[dhole__rank_max];
    int n = 0;

    if (comm->rank != b->call.root) {
        part[0] = (struct dhole__part){b->call.root, b->data, b->bytes};
        return dhole__comm_exchange(comm, &b->call, NULL, 0, part, 1);
    }
    for (int peer = 0; peer < comm->size; peer++)
        if (peer != b->call.root)
            part[n++] = (struct dhole__part){peer, b->data, b->bytes};
    return dhole__comm_exchange(comm, &b->call, part, n, NULL, 0);
}

/* Bytes that each but the root passes on of a segment, the last perhaps fewer. */
static size_t segment_bytes(const struct dhole__comm *comm)
{
    return piece_bytes * ((size_t)comm->size - 1);
}

/* What `rank` is to pass on of the segment that begins at `done`; may be empty. */
static struct dhole__part piece_of(const struct broadcast *b, size_t done, int rank)
{
    size_t index = (size_t)(rank - (rank > b->call.root));
    size_t left = b->bytes - done, n = (size_t)b->comm->size - 1;
    size_t segment = left < segment_bytes(b->comm) ? left : segment_bytes(b->comm);
    size_t piece = (segment + n - 1) / n;
    size_t begin = index * piece < segment ? index * piece : segment;
    size_t bytes = segment - begin < piece ? segment - begin : piece;

    return (struct dhole__part){rank, b->data + done + begin, bytes};
}

static dhole_err hand_out(struct broadcast *b)
{
    for (size_t done = 0; done < b->bytes; done += segment_bytes(b->comm)) {
        struct dhole__part to[dhole__rank_max];
        int n = 0;
        dhole_err err;
        for (int peer = 0; peer < b->comm->size; peer++)
            if (peer != b->call.root)
                to[n++] = piece_of(b, done, peer);
        err = dhole__comm_exchange(b->comm, &b->call, to, n, NULL, 0);
        if (err)
            return err;
    }
    return DHOLE_OK;
}

/* Fills in the exchange of the pieces of one segment between all but the root. */
static int pass_on(const struct broadcast *b, size_t done, struct dhole__part *to,
                   struct dhole__part *from)
{
    struct dhole__part own = piece_of(b, done, b->comm->rank);
    int n = 0;

    for (int peer = 0; peer < b->comm->size; peer++) {
        if (peer == b->call.root || peer == b->comm->rank)
            continue;
        to[n] = (struct dhole__part){peer, own.data, own.bytes};
        from[n++] = piece_of(b, done, peer);
    }
    return n;
}

/* Receives the own piece of a segment while those of the one before are passed on. */
static dhole_err take_and_pass_on(struct broadcast *b)
{
    size_t step = segment_bytes(b->comm);

    for (size_t done = 0; done < b->bytes + step; done += step) {
        struct dhole__part to[dhole__rank_max], from[dhole__rank_max];
        int sends = done > 0 ? pass_on(b, done - step, to, from) : 0, receives = sends;
        dhole_err err;
        if (done < b->bytes) {
            from[receives] = piece_of(b, done, b->comm->rank);
            from[receives++].peer = b->call.root;
        }
        err = dhole__comm_exchange(b->comm, &b->call, to, sends, from, receives);
        if (err)
            return err;
    }
    return DHOLE_OK;
}

dhole_err dhole__broadcast(struct dhole__comm *comm, void *data, size_t count, dhole_dtype dtype,
                           int root, dhole__deadline deadline)
{
    struct broadcast b = {
        .comm = comm,
        .call = {.coll = DHOLE__COLL_BROADCAST,
                 .dtype = dtype,
                 .root = root,
                 .count = count,
                 .deadline = deadline},
        .data = data,
        .bytes = count * dhole_dtype_size(dtype),
    };

    dhole__comm_begin(comm, &b.call);
    if (comm->ring)
        return dhole__ring_broadcast(comm, &b.call, data);
    if (dhole__two_level_pays(comm, b.bytes))
        return dhole__two_level_broadcast(comm, &b.call, data);
    if (comm->size < 3 || b.bytes <= flat_bytes)
        return flat(&b);
    return comm->rank == root ? hand_out(&b) : take_and_pass_on(&b);
}
