/* Collectives over pretended hosts: the right results, the same bits everywhere, and no more bytes
 * between the hosts than they need. */
#include "coll/two_level.h"

#include "world.h"

/* Which host each rank is on; ends with -1. */
static const int layouts[][most_ranks + 1] = {
    {0, 0, 1, 1, -1},       {0, 1, 0, 1, -1},
    {7, 7, 7, 3, -1},       {0, 1, 1, -1},
    {0, 0, 1, 1, 2, 2, -1}, {2, 0, 1, 0, 2, 0, 0, -1},
    {0, 1, 2, 3, 3, 4, -1}, {5, 5, 5, 5, 1, 1, 1, 9, -1},
};

enum { layout_count = sizeof layouts / sizeof layouts[0] };

static void open_hosts(struct world *w, const int *layout)
{
    int size = 0;

    while (layout[size] >= 0)
        size++;
    world_open(w, size);
    for (int i = 0; i < size; i++) {
        dhole__topology_init(&w->rank[i].comm.topology, layout, size);
        for (int j = 0; j < i; j++)
            world_join(w, i, j);
    }
}

/* Bytes that ranks sent to ranks of other hosts. */
static uint64_t bytes_between_hosts(const struct world *w, const int *layout)
{
    uint64_t bytes = 0;

    for (int i = 0; i < w->size; i++)
        for (int j = 0; j < w->size; j++)
            if (layout[i] != layout[j])
                bytes += w->rank[i].comm.lane[j]->sent;
    return bytes;
}

TEST(sums_of_every_type_are_right)
{
    for (int layout = 0; layout < layout_count; layout++) {
        struct world w;
        open_hosts(&w, layouts[layout]);
        for (dhole_dtype dtype = 0; dhole_dtype_size(dtype) > 0; dtype++) {
            size_t count = 40000 / dhole_dtype_size(dtype) + (size_t)dtype;
            world_reduce(&w, DHOLE__SUM, dtype, count, (unsigned)dtype, fill_numbers);
            ASSERT_EQ(first_wrong(DHOLE__SUM, dtype, w.size, (unsigned)dtype, fill_numbers,
                                  w.rank[0].out, count),
                      count);
        }
        world_close(&w);
    }
}

TEST(extremes_of_every_type_are_right)
{
    for (int layout = 0; layout < layout_count; layout += 3) {
        struct world w;
        open_hosts(&w, layouts[layout]);
        for (dhole_dtype dtype = 0; dhole_dtype_size(dtype) > 0; dtype++) {
            size_t count = 40000 / dhole_dtype_size(dtype) + (size_t)dtype;
            enum dhole__op op = dtype % 2 ? DHOLE__MAX : DHOLE__MIN;
            world_reduce(&w, op, dtype, count, (unsigned)dtype, fill_anything);
            ASSERT_EQ(first_wrong(op, dtype, w.size, (unsigned)dtype, fill_anything, w.rank[0].out,
                                  count),
                      count);
        }
        world_close(&w);
    }
}

/* More than a segment, with remainders everywhere. */
TEST(large_sums_are_right)
{
    const size_t count = 1000003;

    for (int layout = 0; layout < layout_count; layout++) {
        struct world w;
        open_hosts(&w, layouts[layout]);
        world_reduce(&w, DHOLE__SUM, layout % 2 ? DHOLE_BF16 : DHOLE_F32, count, (unsigned)layout,
                     fill_numbers);
        ASSERT_EQ(first_wrong(DHOLE__SUM, w.rank[0].dtype, w.size, (unsigned)layout, fill_numbers,
                              w.rank[0].out, count),
                  count);
        world_close(&w);
    }
}

/* Where the order of summation shows. */
TEST(inexact_sums_have_the_same_bits_in_every_run)
{
    enum { count = 100000, runs = 10 };
    float *first = malloc(count * sizeof *first);

    for (int layout = 0; layout < layout_count; layout += 2) {
        struct world w;
        open_hosts(&w, layouts[layout]);
        for (int i = 0; i < runs; i++) {
            world_reduce(&w, DHOLE__SUM, DHOLE_F32, count, 2, fill_fractions);
            if (i == 0)
                memcpy(first, w.rank[0].out, count * sizeof *first);
            ASSERT(memcmp(first, w.rank[0].out, count * sizeof *first) == 0);
        }
        world_close(&w);
    }
    free(first);
}

/* Each of n hosts sends (n - 1) / n of the vector as partial results, and as much as results. */
TEST(a_sum_crosses_the_network_once_a_host)
{
    const size_t count = 1000000;

    for (int layout = 0; layout < layout_count; layout++) {
        struct world w;
        uint64_t hosts, headers = 100000;
        open_hosts(&w, layouts[layout]);
        hosts = (uint64_t)w.rank[0].comm.topology.hosts;
        world_reduce(&w, DHOLE__SUM, DHOLE_F32, count, 1, fill_numbers);
        ASSERT(bytes_between_hosts(&w, layouts[layout]) <= 2 * (hosts - 1) * count * 4 + headers);
        world_reduce(&w, DHOLE__SUM, DHOLE_BF16, count, 1, fill_numbers);
        ASSERT(bytes_between_hosts(&w, layouts[layout]) <=
               (hosts - 1) * count * (8 + 4 + 2) + 2 * headers);
        world_close(&w);
    }
}

TEST(parts_are_gathered_and_cross_the_network_once_a_host)
{
    const size_t count = 300001;

    for (int layout = 0; layout < layout_count; layout++) {
        struct world w;
        uint64_t hosts;
        open_hosts(&w, layouts[layout]);
        world_set(&w, DHOLE__SUM, DHOLE_U8, count, count, (size_t)w.size * count);
        for (int i = 0; i < w.size; i++) {
            w.rank[i].in_place = layout % 2;
            fill_anything(DHOLE_U8, i, 1, w.rank[i].in, count);
        }
        world_run(&w, rank_gather);
        for (int i = 0; i < w.size; i++)
            for (int j = 0; j < w.size; j++)
                ASSERT(memcmp(w.rank[i].out + (size_t)j * count, w.rank[j].in, count) == 0);
        hosts = (uint64_t)w.rank[0].comm.topology.hosts;
        ASSERT(bytes_between_hosts(&w, layouts[layout]) <=
               (uint64_t)w.size * (hosts - 1) * (count + 100));
        world_close(&w);
    }
}

TEST(a_broadcast_crosses_the_network_once_a_host)
{
    static const size_t counts[] = {40000, 3 << 19, 1300001};

    for (int layout = 0; layout < layout_count; layout++) {
        struct world w;
        uint64_t most = 0;
        open_hosts(&w, layouts[layout]);
        for (int root = 0; root < w.size; root++) {
            size_t count = counts[root % 3];
            world_set(&w, DHOLE__SUM, DHOLE_U8, count, count, count);
            for (int i = 0; i < w.size; i++) {
                w.rank[i].root = root;
                fill_anything(DHOLE_U8, i, (unsigned)root, w.rank[i].out, count);
            }
            world_run(&w, rank_broadcast);
            fill_anything(DHOLE_U8, root, (unsigned)root, w.rank[0].in, count);
            for (int i = 0; i < w.size; i++)
                ASSERT(memcmp(w.rank[i].out, w.rank[0].in, count) == 0);
            most += (uint64_t)(w.rank[0].comm.topology.hosts - 1) * (count + 1000);
        }
        ASSERT(bytes_between_hosts(&w, layouts[layout]) <= most);
        world_close(&w);
    }
}

/* One rank with another count: an error at both ends, not a hang or wrong data. */
static void *reduce_unevenly(void *arg)
{
    struct rank *r = arg;
    size_t count = r->comm.rank == 1 ? r->count + 1 : r->count;
    dhole_err err =
        dhole__all_reduce(&r->comm, DHOLE__SUM, r->in, r->out, count, DHOLE_F32, soon());

    ASSERT(err == DHOLE_ERR_MISMATCH || err == DHOLE_ERR_PEER_LOST);
    for (int i = 0; i < r->comm.size; i++) /* as a group does */
        if (i != r->comm.rank)
            r->comm.lane[i]->ops->shutdown(r->comm.lane[i]);
    return NULL;
}

TEST(ranks_that_disagree_are_told)
{
    for (int layout = 0; layout < layout_count; layout++) {
        const size_t count = 50000;
        struct world w;
        open_hosts(&w, layouts[layout]);
        world_set(&w, DHOLE__SUM, DHOLE_F32, count, (count + 1) * 4, (count + 1) * 4);
        for (int i = 0; i < w.size; i++)
            memset(w.rank[i].in, 0, (count + 1) * 4);
        world_run(&w, reduce_unevenly);
        world_close(&w);
    }
}

TEST(the_topology_counts_hosts_and_places)
{
    static const int label[] = {4, 2, 4, 9, 2, 4};
    struct dhole__topology t;

    dhole__topology_init(&t, label, 6);
    ASSERT(t.two_level);
    ASSERT_EQ(t.hosts, 3);
    ASSERT_EQ(t.fewest, 1);
    ASSERT_EQ(t.most, 3);
    ASSERT_EQ(t.host[4], 1);
    ASSERT_EQ(t.place[4], 1);
    ASSERT_EQ(t.rank[0][2], 5);
    dhole__topology_init(&t, (const int[]){1, 1, 1}, 3);
    ASSERT(!t.two_level);
    dhole__topology_init(&t, (const int[]){1, 2, 3}, 3);
    ASSERT(!t.two_level);
}
