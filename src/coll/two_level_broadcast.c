/* The root sends to the ranks of its own host and to one rank on every other host, which passes it
 * on there; in segments, so that one is passed on while the next comes in. */
#include "coll/two_level.h"

enum { segment_bytes = 512 << 10 };

/* Adds what this rank does in one step: of segment `step`, and of the one before, which the porters
 * pass on. */
static void add_step(struct dhole__parts *parts, const struct dhole__comm *comm, int root,
                     uint8_t *now, size_t now_bytes, uint8_t *before, size_t before_bytes)
{
    const struct dhole__topology *t = &comm->topology;
    int host = t->host[comm->rank];
    int porter = host == t->host[root] ? root : t->rank[host][0];

    for (int i = 0; i < t->hosts && comm->rank == root && now_bytes > 0; i++)
        if (i != host)
            dhole__parts_send(parts, t->rank[i][0], now, now_bytes);
    if (comm->rank == porter && porter != root && now_bytes > 0)
        dhole__parts_recv(parts, root, now, now_bytes);
    for (int place = 0; place < t->ranks[host] && before_bytes > 0; place++) {
        int peer = t->rank[host][place];
        if (comm->rank == porter && peer != porter)
            dhole__parts_send(parts, peer, before, before_bytes);
        else if (comm->rank != porter && peer == porter)
            dhole__parts_recv(parts, peer, before, before_bytes);
    }
}

/* How far the rank that is late may be from this one, who waited for `culprit`: a porter knows best
 * about its own host, then the root about the porters. */
static int hearsay(const struct dhole__comm *comm, int root, int culprit)
{
    const struct dhole__topology *t = &comm->topology;
    int host = t->host[comm->rank];
    bool passes_on = comm->rank == root || (host != t->host[root] && t->place[comm->rank] == 0);

    if (passes_on && t->host[culprit] == host)
        return 0;
    if (comm->rank == root)
        return 1;
    return passes_on ? 2 : 3;
}

dhole_err dhole__two_level_broadcast(struct dhole__comm *comm, struct dhole__call *call, void *data)
{
    size_t bytes = call->count * dhole_dtype_size(call->dtype), before = 0;
    struct dhole__parts parts;
    uint8_t *at = data;
    dhole_err err = DHOLE_OK;

    parts.to_count = parts.from_count = 0;
    do {
        size_t now = bytes < segment_bytes ? bytes : segment_bytes;
        add_step(&parts, comm, call->root, at, now, at - before, before);
        err = dhole__parts_exchange(&parts, comm, call);
        if (err == DHOLE_ERR_TIMEOUT)
            comm->hearsay = hearsay(comm, call->root, comm->culprit);
        at += now;
        bytes -= now;
        before = now;
    } while (before > 0 && !err);
    return err;
}
