#include "coll/ring.h"

#include <string.h>

int dhole__ring_rank(const struct dhole__comm *comm, int steps)
{
    return ((comm->rank + steps) % comm->size + comm->size) % comm->size;
}

/* One exchange with both neighbours: [0] goes to the next rank and comes from the one before, [1]
 * the other way round. Who is late in the first step has not come; later it may wait for a rank
 * that is as many steps further away. */
static dhole_err exchange(struct dhole__comm *comm, struct dhole__call *call,
                          const struct dhole__ring_block out[2],
                          const struct dhole__ring_block in[2])
{
    int next = dhole__ring_rank(comm, 1), before = dhole__ring_rank(comm, -1);
    struct dhole__part to[2] = {{next, out[0].data, out[0].bytes},
                                {before, out[1].data, out[1].bytes}};
    struct dhole__part from[2] = {{before, in[0].data, in[0].bytes},
                                  {next, in[1].data, in[1].bytes}};
    int step = call->step;
    dhole_err err = dhole__comm_exchange(comm, call, to, 2, from, 2);

    if (err == DHOLE_ERR_TIMEOUT)
        comm->hearsay = step;
    return err;
}

/* The first or the second half of a block. */
static struct dhole__ring_block half(struct dhole__ring_block whole, int way)
{
    size_t first = whole.bytes / 2;

    if (way == 0)
        return (struct dhole__ring_block){whole.data, first};
    return (struct dhole__ring_block){whole.data != NULL ? whole.data + first : NULL,
                                      whole.bytes - first};
}

/* In step i blocks come of the ranks i steps away. Where these are one rank, each way brings half
 * of its block. */
dhole_err dhole__ring_pass_round(struct dhole__comm *comm, struct dhole__call *call,
                                 const struct dhole__ring_block *block)
{
    dhole_err err = DHOLE_OK;

    for (int step = 1; step <= comm->size / 2 && !err; step++) {
        struct dhole__ring_block out[2] = {block[dhole__ring_rank(comm, 1 - step)],
                                           block[dhole__ring_rank(comm, step - 1)]};
        struct dhole__ring_block in[2] = {block[dhole__ring_rank(comm, -step)],
                                          block[dhole__ring_rank(comm, step)]};
        for (int way = 0; way < 2 && 2 * step == comm->size; way++) {
            out[way] = half(out[way], way);
            in[way] = half(in[way], way);
        }
        err = exchange(comm, call, out, in);
    }
    return err;
}

/* When a rank's nothing has come round, the rank has called. */
dhole_err dhole__ring_barrier(struct dhole__comm *comm, struct dhole__call *call)
{
    struct dhole__ring_block nothing[dhole__rank_max] = {{NULL, 0}};

    return dhole__ring_pass_round(comm, call, nothing);
}

dhole_err dhole__ring_all_gather(struct dhole__comm *comm, struct dhole__call *call, const void *in,
                                 void *out)
{
    size_t bytes = call->count * dhole_dtype_size(call->dtype);
    struct dhole__ring_block block[dhole__rank_max];

    for (int rank = 0; rank < comm->size; rank++)
        block[rank] = (struct dhole__ring_block){
            bytes > 0 ? (uint8_t *)out + (size_t)rank * bytes : NULL, bytes};
    if (bytes > 0)
        memmove(block[comm->rank].data, in, bytes);
    return dhole__ring_pass_round(comm, call, block);
}
