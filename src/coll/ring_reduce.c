/* Values are added up from rank 0 to the last, each rank's to what comes from the one before, and
 * the results go back the same way; in pieces, so that all cables carry data both ways at a time.
 * So sums are taken in rank order, as everywhere, and their bits do not depend on the shape of the
 * group. 16-bit floats go up as partial sums in f32, and are rounded once, by the last rank.
 *
 * In turn t rank r sends piece t - r up, which it received in the turn before; piece p is complete
 * at the last rank, n - 1, in turn p + n - 2, and goes down from there in the turns that follow. */
#include <string.h>

#include "coll/ring.h"
#include "coll/two_level.h"

enum {
    small_bytes = 32 << 10, /* up to here all ranks' values go round, and each rank reduces them */
    piece_bytes = 64 << 10
};

struct chain {
    struct dhole__reduction *r;
    const uint8_t *in;
    uint8_t *out;
    bool scatters;         /* a part for each rank, instead of all for all */
    size_t part;           /* elements; of all_reduce there is one */
    size_t partial;        /* bytes of a partial result */
    size_t most;           /* elements of a piece */
    long each, pieces;     /* of a part, and in all */
    uint8_t *up[2];        /* partial results of this turn and of the one before */
    uint8_t *down[2];      /* results that are other ranks', likewise */
    uint8_t *own;          /* this rank's values as partial results */
    struct dhole__parts x; /* this turn's exchange */
};

/* Where a piece is in its part, in elements, and whose it is. */
struct piece {
    int owner; /* of all_reduce: 0, but all that it comes by keep it */
    size_t begin, count;
};

static bool is_piece(const struct chain *c, long number)
{
    return number >= 0 && number < c->pieces;
}

static struct piece piece_of(const struct chain *c, long number)
{
    size_t begin = (size_t)(number % c->each) * c->most, left = c->part - begin;

    return (struct piece){(int)(number / c->each), begin, left < c->most ? left : c->most};
}

static void lay_out(struct chain *c, struct dhole__reduction *r)
{
    size_t partial = dhole__reduce_partial_size(r->op, r->call.dtype);
    size_t room = r->comm->scratch_size / (3 * partial + 2 * r->element);
    uint8_t *at = r->comm->scratch;

    c->r = r;
    c->partial = partial;
    c->most = piece_bytes / partial < room ? piece_bytes / partial : room;
    for (int i = 0; i < 2; i++, at += c->most * partial)
        c->up[i] = at;
    c->own = at;
    at += c->most * partial;
    for (int i = 0; i < 2; i++, at += c->most * r->element)
        c->down[i] = at;
    c->x.to_count = c->x.from_count = 0;
}

/* This rank's values of a piece as partial results, in `place` if they are not so already. */
static dhole_err as_partial(const struct chain *c, const struct piece *piece, uint8_t *place,
                            const uint8_t **out)
{
    size_t at = (size_t)piece->owner * (c->scatters ? c->part : 0) + piece->begin;
    const void *own = c->in + at * c->r->element;

    *out = c->partial == c->r->element ? own : place;
    if (*out == own)
        return DHOLE_OK;
    return dhole__reduce_partial(c->r->op, c->r->call.dtype, &own, 1, place, piece->count);
}

/* A result's place between the turn in which it comes, or is made, and the next. */
static uint8_t *result_at(const struct chain *c, const struct piece *piece, long turn)
{
    if (c->scatters && piece->owner != c->r->comm->rank)
        return c->down[turn & 1];
    return c->out + piece->begin * c->r->element;
}

/* Adds this rank's values to what has come up; the last one makes results of them. */
static dhole_err fold(const struct chain *c, const struct piece *piece, long turn)
{
    enum dhole__op op = c->r->op;
    dhole_dtype dtype = c->r->call.dtype;
    bool is_last = c->r->comm->rank == c->r->comm->size - 1, wide = c->partial != c->r->element;
    uint8_t *sum = c->up[turn & 1], *result = is_last ? result_at(c, piece, turn) : sum;
    const uint8_t *own;
    dhole_err err = as_partial(c, piece, c->own, &own);

    if (err)
        return err;
    if (is_last && wide)
        return dhole__reduce_partials(op, dtype, (const void *[]){sum, own}, 2, result,
                                      piece->count);
    return dhole__reduce(op, wide ? DHOLE_F32 : dtype, sum, own, result, piece->count);
}

static dhole_err send_up(struct chain *c, const struct piece *piece, long turn)
{
    const uint8_t *data = c->up[(turn - 1) & 1];
    dhole_err err = DHOLE_OK;

    if (c->r->comm->rank == 0)
        err = as_partial(c, piece, c->own, &data);
    if (!err)
        dhole__parts_send(&c->x, c->r->comm->rank + 1, data, piece->count * c->partial);
    return err;
}

/* Of who waits for what goes up, the lowest rank knows best who is late, and the highest of those
 * who wait for what goes down. */
static int hearsay(const struct dhole__comm *comm)
{
    return comm->culprit < comm->rank ? comm->rank - 1 : comm->size - 2 - comm->rank;
}

static dhole_err take_turn(struct chain *c, long turn)
{
    struct dhole__comm *comm = c->r->comm;
    int rank = comm->rank, last = comm->size - 1;
    long goes_up = turn - rank, comes_up = goes_up + 1;
    long goes_down = turn - 2 * last + rank, comes_down = goes_down + 1;
    struct piece piece, arriving = {0};
    dhole_err err = DHOLE_OK;

    if (rank < last && is_piece(c, goes_up)) {
        piece = piece_of(c, goes_up);
        err = send_up(c, &piece, turn);
    }
    if (rank > 0 && is_piece(c, goes_down)) {
        piece = piece_of(c, goes_down);
        if (rank > piece.owner)
            dhole__parts_send(&c->x, rank - 1, result_at(c, &piece, turn - 1),
                              piece.count * c->r->element);
    }
    if (rank < last && is_piece(c, comes_down)) {
        piece = piece_of(c, comes_down);
        if (rank >= piece.owner)
            dhole__parts_recv(&c->x, rank + 1, result_at(c, &piece, turn),
                              piece.count * c->r->element);
    }
    if (rank > 0 && is_piece(c, comes_up)) {
        arriving = piece_of(c, comes_up);
        dhole__parts_recv(&c->x, rank - 1, c->up[turn & 1], arriving.count * c->partial);
    }
    if (!err)
        err = dhole__parts_exchange(&c->x, comm, &c->r->call);
    if (err == DHOLE_ERR_TIMEOUT)
        comm->hearsay = hearsay(comm);
    return err || rank == 0 || !is_piece(c, comes_up) ? err : fold(c, &arriving, turn);
}

static dhole_err run(struct chain *c, int parts)
{
    int last = c->r->comm->size - 1;
    dhole_err err = DHOLE_OK;

    c->each = c->part > 0 ? (long)((c->part - 1) / c->most) + 1 : 1;
    c->pieces = c->each * parts;
    for (long turn = 0; turn < c->pieces + 2 * last - 1 && !err; turn++)
        err = take_turn(c, turn);
    return err;
}

dhole_err dhole__ring_sum_scatter(struct dhole__reduction *r, const void *in, void *out)
{
    struct chain c; /* too big to be cleared */

    lay_out(&c, r);
    c.in = in;
    c.out = out;
    c.scatters = true;
    c.part = r->call.count;
    return run(&c, r->comm->size);
}

/* All values to all ranks, into the scratch memory. */
static dhole_err reduce_small(struct dhole__reduction *r, const void *in, void *out)
{
    struct dhole__comm *comm = r->comm;
    struct dhole__ring_block block[dhole__rank_max];
    const void *source[dhole__rank_max];
    size_t bytes = r->call.count * r->element;
    dhole_err err;

    for (int rank = 0; rank < comm->size; rank++) {
        block[rank] = (struct dhole__ring_block){comm->scratch + (size_t)rank * bytes, bytes};
        source[rank] = block[rank].data;
    }
    if (bytes > 0)
        memcpy(block[comm->rank].data, in, bytes);
    err = dhole__ring_pass_round(comm, &r->call, block);
    return err ? err
               : dhole__reduce_many(r->op, r->call.dtype, source, comm->size, out, r->call.count);
}

dhole_err dhole__ring_all_reduce(struct dhole__reduction *r, const void *in, void *out)
{
    size_t bytes = r->call.count * r->element;
    struct chain c; /* too big to be cleared */

    if (bytes <= small_bytes && bytes <= r->comm->scratch_size / (size_t)r->comm->size)
        return reduce_small(r, in, out);
    lay_out(&c, r);
    c.in = in;
    c.out = out;
    c.scatters = false;
    c.part = r->call.count;
    return run(&c, 1);
}
