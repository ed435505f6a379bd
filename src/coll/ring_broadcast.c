/* The data goes both ways round to the ranks on the other side, in pieces: a rank passes one on
 * while the next comes in. */
#include "coll/ring.h"

enum { piece_bytes = 128 << 10 };

/* Where a rank is on its way: the root's neighbours are at 1. */
struct place {
    int at;         /* 0: the root, at the beginning of both ways */
    int from, next; /* ranks; -1: none */
    int end;        /* the last place of this way */
};

static struct place place_of(const struct dhole__comm *comm, int root)
{
    int ahead = comm->size / 2, behind = comm->size - 1 - ahead; /* ranks on both ways */
    int at = (comm->rank - root + comm->size) % comm->size;
    int after = dhole__ring_rank(comm, 1), before = dhole__ring_rank(comm, -1);

    if (at == 0)
        return (struct place){0, -1, after, ahead};
    if (at <= ahead)
        return (struct place){at, before, at < ahead ? after : -1, ahead};
    at = comm->size - at;
    return (struct place){at, after, at < behind ? before : -1, behind};
}

static struct dhole__part piece_of(const struct dhole__call *call, uint8_t *data, long piece,
                                   int peer)
{
    size_t bytes = call->count * dhole_dtype_size(call->dtype);
    size_t begin = (size_t)piece * piece_bytes, left = bytes - begin;

    return (struct dhole__part){peer, bytes > 0 ? data + begin : NULL,
                                left < piece_bytes ? left : piece_bytes};
}

/* Of who waits for the way that the data comes by, the first knows best; of who waits for the way
 * that it goes, the last. */
static int hearsay(const struct place *place, int culprit)
{
    return culprit == place->from ? place->at - 1 : place->end - 1 - place->at;
}

dhole_err dhole__ring_broadcast(struct dhole__comm *comm, struct dhole__call *call, void *data)
{
    size_t bytes = call->count * dhole_dtype_size(call->dtype);
    long pieces = bytes > 0 ? (long)((bytes - 1) / piece_bytes) + 1 : 1;
    struct place place = place_of(comm, call->root);
    dhole_err err = DHOLE_OK;

    /* Piece i comes to place p in turn i + p - 1 and leaves it in the next. */
    for (long turn = 0; turn < pieces + comm->size / 2 - 1 && !err; turn++) {
        long goes = turn - place.at, comes = goes + 1;
        struct dhole__part to[2], from;
        int sends = 0, receives = 0;
        if (goes >= 0 && goes < pieces && place.next >= 0)
            to[sends++] = piece_of(call, data, goes, place.next);
        if (goes >= 0 && goes < pieces && place.at == 0)
            to[sends++] = piece_of(call, data, goes, dhole__ring_rank(comm, -1));
        if (comes >= 0 && comes < pieces && place.at > 0) {
            from = piece_of(call, data, comes, place.from);
            receives = 1;
        }
        err = dhole__comm_exchange(comm, call, to, sends, &from, receives);
        if (err == DHOLE_ERR_TIMEOUT)
            comm->hearsay = hearsay(&place, comm->culprit);
    }
    return err;
}
