/* Each rank sends its part to the ranks of its own host, and to one rank on every other host, which
 * passes it on there. */
#include <string.h>

#include "coll/two_level.h"

struct gather {
    const struct dhole__topology *t;
    int host, place;
    uint8_t *out;
    size_t bytes; /* of a part */
    struct dhole__parts parts;
};

static uint8_t *part_of(const struct gather *g, int rank)
{
    return g->out + (size_t)rank * g->bytes;
}

/* A rank's part comes to `host` by way of the rank there at its place, counted round. */
static int porter(const struct dhole__topology *t, int rank, int host)
{
    return t->place[rank] % t->ranks[host];
}

static void first_step(struct gather *g, int rank, int size)
{
    for (int peer = 0; peer < size; peer++) {
        int host = g->t->host[peer];
        if (peer == rank)
            continue;
        if (host == g->host || porter(g->t, rank, host) == g->t->place[peer])
            dhole__parts_send(&g->parts, peer, part_of(g, rank), g->bytes);
        if (host == g->host || porter(g->t, peer, g->host) == g->place)
            dhole__parts_recv(&g->parts, peer, part_of(g, peer), g->bytes);
    }
}

/* Every rank of this host passes on what came from `host` to its place, counted round `round`
 * times. */
static void pass_on(struct gather *g, int host, int round)
{
    int here = g->t->ranks[g->host];

    for (int place = 0; place < here; place++) {
        int peer = g->t->rank[g->host][place];
        int ours = round * here + g->place, theirs = round * here + place;
        if (place == g->place)
            continue;
        if (ours < g->t->ranks[host])
            dhole__parts_send(&g->parts, peer, part_of(g, g->t->rank[host][ours]), g->bytes);
        if (theirs < g->t->ranks[host])
            dhole__parts_recv(&g->parts, peer, part_of(g, g->t->rank[host][theirs]), g->bytes);
    }
}

dhole_err dhole__two_level_all_gather(struct dhole__comm *comm, struct dhole__call *call,
                                      const void *in, void *out)
{
    const struct dhole__topology *t = &comm->topology;
    struct gather g = {.t = t,
                       .host = t->host[comm->rank],
                       .place = t->place[comm->rank],
                       .out = out,
                       .bytes = call->count * dhole_dtype_size(call->dtype)};
    dhole_err err;

    memmove(part_of(&g, comm->rank), in, g.bytes);
    first_step(&g, comm->rank, comm->size);
    err = dhole__parts_exchange(&g.parts, comm, call);
    for (int host = 0; host < t->hosts; host++) {
        if (host == g.host)
            continue;
        for (int round = 0; round * t->ranks[g.host] < t->ranks[host] && !err; round++) {
            pass_on(&g, host, round);
            err = dhole__parts_exchange(&g.parts, comm, call);
            comm->hearsay = err == DHOLE_ERR_TIMEOUT;
        }
    }
    return err;
}
