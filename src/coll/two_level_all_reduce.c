/* The vector is cut into as many columns as the host with the fewest ranks has ranks; on each host
 * one rank owns each column. Four stages:
 *
 *   gather   inside a host: everyone sends each column to its owner, who folds them, in rank order
 *   scatter  between the owners of a column: each sends the others their hosts' shares of its
 *            partial results, and folds what it gets for its own host's share, in host order
 *   share    between the owners of a column: each sends the others its result
 *   spread   inside a host: the owners send their columns to everyone
 *
 * Large vectors go in segments, and while one is on the network, the next is gathered and the one
 * before is spread: two exchanges a segment. Partial sums of 16-bit floats are f32, in memory and
 * on the network, and are rounded once, after the last fold. */
#include "coll/two_level.h"

struct columns {
    struct dhole__reduction *r;
    const struct dhole__topology *t;
    const uint8_t *in;
    uint8_t *out;
    int host, place;
    bool owns;                                /* the column at its place */
    size_t partial;                           /* bytes of a partial result */
    size_t segment;                           /* elements of the longest */
    uint8_t *gathered, *partials, *scattered; /* in the scratch memory */
    struct dhole__parts parts;
};

/* Elements [begin, begin + count) of the vector. */
struct range {
    size_t begin, count;
};

/* Part i of n of a range. */
static struct range cut(struct range whole, int n, int i)
{
    size_t parts = (size_t)n, at = (size_t)i;
    size_t each = whole.count / parts, longer = whole.count % parts;

    return (struct range){whole.begin + each * at + (at < longer ? at : longer),
                          each + (at < longer)};
}

static struct range column(const struct columns *c, size_t segment, int place)
{
    size_t begin = segment * c->segment, left = c->r->call.count - begin;
    struct range whole = {begin, left < c->segment ? left : c->segment};

    return cut(whole, c->t->fewest, place);
}

/* What of this rank's column it reduces to the end, and what its counterpart on another host. */
static struct range share(const struct columns *c, size_t segment, int host)
{
    return cut(column(c, segment, c->place), c->t->hosts, host);
}

static size_t align(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* The most that a column of `count` elements takes of any owner's scratch memory. */
static size_t scratch_of(const struct columns *c, size_t count)
{
    size_t hosts = (size_t)c->t->hosts, shared = (count + hosts - 1) / hosts;

    return align((size_t)(c->t->most - 1) * count * c->r->element) + align(count * c->partial) +
           (hosts - 1) * shared * c->partial;
}

static void lay_out(struct columns *c)
{
    size_t others = (size_t)(c->t->most - 1) * c->r->element;
    size_t most = c->r->comm->scratch_size / (others + 2 * c->partial);

    while (scratch_of(c, most) > c->r->comm->scratch_size)
        most -= most / 64 + 1;
    c->segment = most * (size_t)c->t->fewest;
    c->gathered = c->r->comm->scratch;
    c->partials = c->gathered + align(most * others);
    c->scattered = c->partials + align(most * c->partial);
}

/* Where the values of the rank at `place` are gathered; this rank's own stay where they are. */
static uint8_t *gathered_at(const struct columns *c, int place, size_t count)
{
    return c->gathered + (size_t)(place - (place > c->place)) * count * c->r->element;
}

static uint8_t *scattered_at(const struct columns *c, int host, size_t count)
{
    return c->scattered + (size_t)(host - (host > c->host)) * count * c->partial;
}

static void gather(struct columns *c, size_t segment)
{
    size_t element = c->r->element, own = column(c, segment, c->place).count;

    for (int place = 0; place < c->t->ranks[c->host]; place++) {
        int peer = c->t->rank[c->host][place];
        if (place == c->place)
            continue;
        if (place < c->t->fewest) {
            struct range theirs = column(c, segment, place);
            dhole__parts_send(&c->parts, peer, c->in + theirs.begin * element,
                              theirs.count * element);
        }
        if (c->owns)
            dhole__parts_recv(&c->parts, peer, gathered_at(c, place, own), own * element);
    }
}

static dhole_err fold_gathered(struct columns *c, size_t segment)
{
    struct range own = column(c, segment, c->place);
    const void *source[dhole__rank_max];
    int n = c->t->ranks[c->host];

    for (int place = 0; place < n; place++)
        source[place] = gathered_at(c, place, own.count);
    source[c->place] = c->in + own.begin * c->r->element;
    return dhole__reduce_partial(c->r->op, c->r->call.dtype, source, n, c->partials, own.count);
}

static uint8_t *partial_of(const struct columns *c, size_t segment, struct range part)
{
    return c->partials + (part.begin - column(c, segment, c->place).begin) * c->partial;
}

static void scatter(struct columns *c, size_t segment)
{
    size_t own = share(c, segment, c->host).count;

    for (int host = 0; host < c->t->hosts; host++) {
        struct range theirs = share(c, segment, host);
        int peer = c->t->rank[host][c->place];
        if (host == c->host)
            continue;
        dhole__parts_send(&c->parts, peer, partial_of(c, segment, theirs),
                          theirs.count * c->partial);
        dhole__parts_recv(&c->parts, peer, scattered_at(c, host, own), own * c->partial);
    }
}

static dhole_err fold_scattered(struct columns *c, size_t segment)
{
    struct range own = share(c, segment, c->host);
    const void *source[dhole__rank_max];

    for (int host = 0; host < c->t->hosts; host++)
        source[host] = scattered_at(c, host, own.count);
    source[c->host] = partial_of(c, segment, own);
    return dhole__reduce_partials(c->r->op, c->r->call.dtype, source, c->t->hosts,
                                  c->out + own.begin * c->r->element, own.count);
}

static void share_results(struct columns *c, size_t segment)
{
    struct range own = share(c, segment, c->host);
    size_t element = c->r->element;

    for (int host = 0; host < c->t->hosts; host++) {
        struct range theirs = share(c, segment, host);
        int peer = c->t->rank[host][c->place];
        if (host == c->host)
            continue;
        dhole__parts_send(&c->parts, peer, c->out + own.begin * element, own.count * element);
        dhole__parts_recv(&c->parts, peer, c->out + theirs.begin * element, theirs.count * element);
    }
}

static void spread(struct columns *c, size_t segment)
{
    struct range own = column(c, segment, c->place);
    size_t element = c->r->element;

    for (int place = 0; place < c->t->ranks[c->host]; place++) {
        int peer = c->t->rank[c->host][place];
        if (place == c->place)
            continue;
        if (c->owns)
            dhole__parts_send(&c->parts, peer, c->out + own.begin * element, own.count * element);
        if (place < c->t->fewest) {
            struct range theirs = column(c, segment, place);
            dhole__parts_recv(&c->parts, peer, c->out + theirs.begin * element,
                              theirs.count * element);
        }
    }
}

/* Who is late in the first turn has not come. Later the owners wait for another host, and the rest
 * for the owners. */
static dhole_err exchange(struct columns *c, size_t turn)
{
    struct dhole__comm *comm = c->r->comm;
    dhole_err err = dhole__parts_exchange(&c->parts, comm, &c->r->call);

    if (err == DHOLE_ERR_TIMEOUT && turn > 0)
        comm->hearsay = c->t->host[comm->culprit] == c->host ? 2 : 1;
    return err;
}

/* One turn: segment `turn` is gathered, the one before is reduced, the one before that is spread.
 */
static dhole_err take_turn(struct columns *c, size_t turn, size_t segments)
{
    bool gathers = turn < segments, reduces = c->owns && turn >= 1 && turn <= segments;
    dhole_err err;

    if (gathers)
        gather(c, turn);
    if (reduces)
        scatter(c, turn - 1);
    err = exchange(c, turn);
    if (!err && reduces)
        err = fold_scattered(c, turn - 1);
    if (!err && gathers && c->owns)
        err = fold_gathered(c, turn);
    if (err)
        return err;
    if (reduces)
        share_results(c, turn - 1);
    if (turn >= 2)
        spread(c, turn - 2);
    return exchange(c, turn);
}

dhole_err dhole__two_level_all_reduce(struct dhole__reduction *r, const void *in, void *out)
{
    const struct dhole__topology *t = &r->comm->topology;
    struct columns c; /* too big to be cleared */
    size_t segments;
    dhole_err err = DHOLE_OK;

    c.r = r;
    c.t = t;
    c.in = in;
    c.out = out;
    c.host = t->host[r->comm->rank];
    c.place = t->place[r->comm->rank];
    c.owns = c.place < t->fewest;
    c.partial = dhole__reduce_partial_size(r->op, r->call.dtype);
    c.parts.to_count = c.parts.from_count = 0;
    lay_out(&c);
    segments = (r->call.count + c.segment - 1) / c.segment;
    for (size_t turn = 0; turn < segments + 2 && !err; turn++)
        err = take_turn(&c, turn, segments);
    return err;
}
