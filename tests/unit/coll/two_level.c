/* Collectives over pretended hosts: the right results, the same bits everywhere, and no more bytes
 * between the hosts than they need. */
#include "coll/two_level.h"

#include <pthread.h>

#include "coll/coll.h"
#include "data.h"
#include "dhole/error.h"
#include "test.h"
#include "transport/mem/mem.h"

enum { most_ranks = 8 };

/* Which host each rank is on; ends with -1. */
static const int layouts[][most_ranks + 1] = {
    {0, 0, 1, 1, -1},       {0, 1, 0, 1, -1},
    {7, 7, 7, 3, -1},       {0, 1, 1, -1},
    {0, 0, 1, 1, 2, 2, -1}, {2, 0, 1, 0, 2, 0, 0, -1},
    {0, 1, 2, 3, 3, 4, -1}, {5, 5, 5, 5, 1, 1, 1, 9, -1},
};

enum { layout_count = sizeof layouts / sizeof layouts[0] };

struct rank {
    struct dhole__comm comm;
    pthread_t thread;
    const int *layout;
    dhole_dtype dtype;
    enum dhole__op op;
    size_t count;
    int root;
    bool in_place;
    unsigned seed;
    uint8_t *in, *out;
};

struct world {
    int size;
    struct rank rank[most_ranks];
};

static void world_open(struct world *w, const int *layout)
{
    memset(w, 0, sizeof *w);
    while (layout[w->size] >= 0)
        w->size++;
    for (int i = 0; i < w->size; i++) {
        struct dhole__comm *comm = &w->rank[i].comm;
        comm->rank = i;
        comm->size = w->size;
        w->rank[i].layout = layout;
        ASSERT_OK(dhole__comm_init(comm));
        dhole__topology_init(&comm->topology, layout, w->size);
        for (int j = 0; j < i; j++) {
            struct dhole__conn *pair[2];
            ASSERT_OK(dhole__mem_pair(pair));
            comm->lane[j] = pair[0];
            w->rank[j].comm.lane[i] = pair[1];
        }
    }
}

static void world_close(struct world *w)
{
    for (int i = 0; i < w->size; i++) {
        for (int j = 0; j < w->size; j++)
            dhole__conn_close(w->rank[i].comm.lane[j]);
        dhole__comm_free(&w->rank[i].comm);
        free(w->rank[i].in);
        free(w->rank[i].out);
        w->rank[i].in = w->rank[i].out = NULL;
    }
}

static void run(struct world *w, void *(*body)(void *arg))
{
    for (int i = 0; i < w->size; i++)
        ASSERT(pthread_create(&w->rank[i].thread, NULL, body, &w->rank[i]) == 0);
    for (int i = 0; i < w->size; i++)
        pthread_join(w->rank[i].thread, NULL);
}

static dhole__deadline soon(void)
{
    return dhole__deadline_in(40000);
}

/* Bytes that ranks sent to ranks of other hosts. */
static uint64_t bytes_between_hosts(const struct world *w)
{
    uint64_t bytes = 0;

    for (int i = 0; i < w->size; i++)
        for (int j = 0; j < w->size; j++)
            if (w->rank[i].layout[i] != w->rank[i].layout[j])
                bytes += w->rank[i].comm.lane[j]->sent;
    return bytes;
}

static void *reduce(void *arg)
{
    struct rank *r = arg;
    const void *in = r->in_place ? r->out : r->in;

    ASSERT_OK(dhole__all_reduce(&r->comm, r->op, in, r->out, r->count, r->dtype, soon()));
    return NULL;
}

/* Ranks take `out` with what `fill` gives; the same result on all is left there. */
static void reduce_everywhere(struct world *w, fill_function *fill)
{
    size_t bytes = w->rank[0].count * dhole_dtype_size(w->rank[0].dtype);

    for (int i = 0; i < w->size; i++) {
        struct rank *r = &w->rank[i];
        r->in = realloc(r->in, bytes);
        r->out = realloc(r->out, bytes);
        fill(r->dtype, i, r->seed, r->in, r->count);
        memcpy(r->out, r->in, bytes);
    }
    run(w, reduce);
    for (int i = 1; i < w->size; i++)
        ASSERT(memcmp(w->rank[i].out, w->rank[0].out, bytes) == 0);
}

static void set_up(struct world *w, enum dhole__op op, dhole_dtype dtype, size_t count,
                   unsigned seed)
{
    for (int i = 0; i < w->size; i++) {
        w->rank[i].op = op;
        w->rank[i].dtype = dtype;
        w->rank[i].count = count;
        w->rank[i].seed = seed;
        w->rank[i].in_place = seed % 2;
    }
}

TEST(sums_of_every_type_are_right)
{
    for (int layout = 0; layout < layout_count; layout++) {
        struct world w;
        world_open(&w, layouts[layout]);
        for (dhole_dtype dtype = 0; dhole_dtype_size(dtype) > 0; dtype++) {
            size_t count = 40000 / dhole_dtype_size(dtype) + (size_t)dtype;
            set_up(&w, DHOLE__SUM, dtype, count, (unsigned)dtype);
            reduce_everywhere(&w, fill_numbers);
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
        world_open(&w, layouts[layout]);
        for (dhole_dtype dtype = 0; dhole_dtype_size(dtype) > 0; dtype++) {
            size_t count = 40000 / dhole_dtype_size(dtype) + (size_t)dtype;
            enum dhole__op op = dtype % 2 ? DHOLE__MAX : DHOLE__MIN;
            set_up(&w, op, dtype, count, (unsigned)dtype);
            reduce_everywhere(&w, fill_anything);
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
        world_open(&w, layouts[layout]);
        set_up(&w, DHOLE__SUM, layout % 2 ? DHOLE_BF16 : DHOLE_F32, count, (unsigned)layout);
        reduce_everywhere(&w, fill_numbers);
        ASSERT_EQ(first_wrong(DHOLE__SUM, w.rank[0].dtype, w.size, (unsigned)layout, fill_numbers,
                              w.rank[0].out, count),
                  count);
        world_close(&w);
    }
}

static void fill_fractions(dhole_dtype dtype, int rank, unsigned seed, void *data, size_t count)
{
    unsigned long long state = (unsigned long long)seed * 64 + (unsigned)rank;

    ASSERT(dtype == DHOLE_F32);
    for (size_t i = 0; i < count; i++)
        ((float *)data)[i] = (float)test_random(&state) / (float)(1 + test_random(&state) % 1000);
}

/* Where the order of summation shows. */
TEST(inexact_sums_have_the_same_bits_in_every_run)
{
    enum { count = 100000, runs = 10 };
    float *first = malloc(count * sizeof *first);

    for (int layout = 0; layout < layout_count; layout += 2) {
        struct world w;
        world_open(&w, layouts[layout]);
        for (int i = 0; i < runs; i++) {
            set_up(&w, DHOLE__SUM, DHOLE_F32, count, 2);
            reduce_everywhere(&w, fill_fractions);
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
        world_open(&w, layouts[layout]);
        hosts = (uint64_t)w.rank[0].comm.topology.hosts;
        set_up(&w, DHOLE__SUM, DHOLE_F32, count, 1);
        reduce_everywhere(&w, fill_numbers);
        ASSERT(bytes_between_hosts(&w) <= 2 * (hosts - 1) * count * 4 + headers);
        set_up(&w, DHOLE__SUM, DHOLE_BF16, count, 1);
        reduce_everywhere(&w, fill_numbers);
        ASSERT(bytes_between_hosts(&w) <= (hosts - 1) * count * (8 + 4 + 2) + 2 * headers);
        world_close(&w);
    }
}

static void *gather(void *arg)
{
    struct rank *r = arg;
    uint8_t *slot = r->out + (size_t)r->comm.rank * r->count;

    memcpy(slot, r->in, r->count);
    ASSERT_OK(dhole__all_gather(&r->comm, r->in_place ? slot : r->in, r->out, r->count, DHOLE_U8,
                                soon()));
    return NULL;
}

TEST(parts_are_gathered_and_cross_the_network_once_a_host)
{
    const size_t count = 300001;

    for (int layout = 0; layout < layout_count; layout++) {
        struct world w;
        uint64_t hosts;
        world_open(&w, layouts[layout]);
        set_up(&w, DHOLE__SUM, DHOLE_U8, count, (unsigned)layout);
        for (int i = 0; i < w.size; i++) {
            w.rank[i].in = malloc(count);
            w.rank[i].out = calloc((size_t)w.size, count);
            fill_anything(DHOLE_U8, i, 1, w.rank[i].in, count);
        }
        run(&w, gather);
        for (int i = 0; i < w.size; i++)
            for (int j = 0; j < w.size; j++)
                ASSERT(memcmp(w.rank[i].out + (size_t)j * count, w.rank[j].in, count) == 0);
        hosts = (uint64_t)w.rank[0].comm.topology.hosts;
        ASSERT(bytes_between_hosts(&w) <= (uint64_t)w.size * (hosts - 1) * (count + 100));
        world_close(&w);
    }
}

static void *broadcast(void *arg)
{
    struct rank *r = arg;

    ASSERT_OK(dhole__broadcast(&r->comm, r->out, r->count, DHOLE_U8, r->root, soon()));
    return NULL;
}

TEST(a_broadcast_crosses_the_network_once_a_host)
{
    static const size_t counts[] = {40000, 3 << 19, 1300001};

    for (int layout = 0; layout < layout_count; layout++) {
        struct world w;
        uint64_t most = 0;
        world_open(&w, layouts[layout]);
        for (int root = 0; root < w.size; root++) {
            size_t count = counts[root % 3];
            for (int i = 0; i < w.size; i++) {
                w.rank[i].root = root;
                w.rank[i].count = count;
                w.rank[i].out = realloc(w.rank[i].out, count);
                fill_anything(DHOLE_U8, i, (unsigned)root, w.rank[i].out, count);
            }
            run(&w, broadcast);
            fill_anything(DHOLE_U8, root, (unsigned)root,
                          w.rank[0].in = realloc(w.rank[0].in, count), count);
            for (int i = 0; i < w.size; i++)
                ASSERT(memcmp(w.rank[i].out, w.rank[0].in, count) == 0);
            most += (uint64_t)(w.rank[0].comm.topology.hosts - 1) * (count + 1000);
        }
        ASSERT(bytes_between_hosts(&w) <= most);
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
        world_open(&w, layouts[layout]);
        set_up(&w, DHOLE__SUM, DHOLE_F32, count, 1);
        for (int i = 0; i < w.size; i++) {
            w.rank[i].in = calloc(count + 1, 4);
            w.rank[i].out = calloc(count + 1, 4);
        }
        run(&w, reduce_unevenly);
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
