#include "cli/bench.h"

static dhole_err all_sum(const struct dhole__bench_case *c)
{
    return dhole_all_sum(c->group, c->in, c->out, c->count, c->plan->dtype);
}

static dhole_err all_gather(const struct dhole__bench_case *c)
{
    return dhole_all_gather(c->group, c->in, c->out, c->count, c->plan->dtype);
}

static dhole_err sum_scatter(const struct dhole__bench_case *c)
{
    return dhole_sum_scatter(c->group, c->in, c->out, c->count, c->plan->dtype);
}

static dhole_err broadcast(const struct dhole__bench_case *c)
{
    return dhole_broadcast(c->group, c->rank == c->root ? c->in : c->out, c->count, c->plan->dtype,
                           c->root);
}

static dhole_err all_to_all(const struct dhole__bench_case *c)
{
    return dhole_all_to_all(c->group, c->in, c->out, c->count, c->plan->dtype);
}

static dhole_err barrier(const struct dhole__bench_case *c)
{
    return dhole_barrier(c->group);
}

/* The other of the first and the last rank, between which it goes; -1 for those in between. */
static int ping_pong_peer(const struct dhole__bench_case *c)
{
    if (c->rank == 0)
        return c->ranks - 1;
    return c->rank == c->ranks - 1 ? 0 : -1;
}

static dhole_err ping_pong(const struct dhole__bench_case *c)
{
    int peer = ping_pong_peer(c);
    dhole_err err = DHOLE_OK;

    if (c->rank == 0)
        err = dhole_send(c->group, c->in, c->count, c->plan->dtype, peer);
    if (err == DHOLE_OK && peer >= 0)
        err = dhole_recv(c->group, c->out, c->count, c->plan->dtype, peer);
    if (err == DHOLE_OK && peer == 0)
        err = dhole_send(c->group, c->in, c->count, c->plan->dtype, peer);
    return err;
}

/* Bus bandwidth as nccl-tests defines it:
 * https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md */
static double bus_sum(int ranks)
{
    return 2.0 * (ranks - 1) / ranks;
}

static double bus_parts(int ranks)
{
    return (double)(ranks - 1) / ranks;
}

static double bus_whole(int ranks)
{
    (void)ranks;
    return 1;
}

static int from_part(const struct dhole__bench_case *c, size_t part)
{
    (void)c;
    return (int)part;
}

static int from_root(const struct dhole__bench_case *c, size_t part)
{
    (void)part;
    return c->rank == c->root ? -1 : c->root;
}

static int from_peer(const struct dhole__bench_case *c, size_t part)
{
    (void)part;
    return ping_pong_peer(c);
}

/* clang-format off */
const struct dhole__bench_operation dhole__bench_operations[] = {
    {.name = "all_sum", .call = all_sum, .bus = bus_sum},
    {.name = "all_gather", .call = all_gather, .bus = bus_parts, .source = from_part,
     .out_parts = true},
    {.name = "sum_scatter", .call = sum_scatter, .bus = bus_parts, .in_parts = true},
    {.name = "broadcast", .call = broadcast, .bus = bus_whole, .source = from_root},
    {.name = "all_to_all", .call = all_to_all, .bus = bus_parts, .source = from_part,
     .in_parts = true, .out_parts = true},
    {.name = "sendrecv", .call = ping_pong, .bus = bus_whole, .source = from_peer,
     .ping_pong = true},
    {.name = "barrier", .call = barrier, .bus = bus_whole, .empty = true},
    {.name = NULL},
};
/* clang-format on */
