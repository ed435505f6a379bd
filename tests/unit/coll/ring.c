/* Collectives round a ring: ranks have lanes to their neighbours only, so whoever used another one
 * would crash. */
#include "coll/ring.h"

#include <pthread.h>

#include "coll/coll.h"
#include "data.h"
#include "dhole/error.h"
#include "test.h"
#include "transport/mem/mem.h"

enum { fewest_ranks = 4, most_ranks = 8 };

struct rank {
    struct dhole__comm comm;
    pthread_t thread;
    dhole_dtype dtype;
    enum dhole__op op;
    size_t count;
    int root;
    bool in_place;
    uint8_t *in, *out;
};

struct world {
    int size;
    struct rank rank[most_ranks];
};

static void world_open(struct world *w, int size)
{
    memset(w, 0, sizeof *w);
    w->size = size;
    for (int i = 0; i < size; i++) {
        w->rank[i].comm.rank = i;
        w->rank[i].comm.size = size;
        w->rank[i].comm.ring = true;
        ASSERT_OK(dhole__comm_init(&w->rank[i].comm));
    }
    for (int i = 0; i < size; i++) {
        int next = (i + 1) % size;
        struct dhole__conn *pair[2];
        ASSERT_OK(dhole__mem_pair(pair));
        w->rank[i].comm.lane[next] = pair[0];
        w->rank[next].comm.lane[i] = pair[1];
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
    }
}

/* Every rank gets `in` and `out` of these bytes. */
static void set_up(struct world *w, enum dhole__op op, dhole_dtype dtype, size_t count,
                   size_t in_bytes, size_t out_bytes)
{
    for (int i = 0; i < w->size; i++) {
        struct rank *r = &w->rank[i];
        r->op = op;
        r->dtype = dtype;
        r->count = count;
        r->in = realloc(r->in, in_bytes + 1);
        r->out = realloc(r->out, out_bytes + 1);
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

static void *reduce(void *arg)
{
    struct rank *r = arg;
    const void *in = r->in_place ? r->out : r->in;

    ASSERT_OK(dhole__all_reduce(&r->comm, r->op, in, r->out, r->count, r->dtype, soon()));
    return NULL;
}

/* Leaves the result, which is the same on all, in `out`. */
static void reduce_everywhere(struct world *w, enum dhole__op op, dhole_dtype dtype, size_t count,
                              unsigned seed, fill_function *fill)
{
    size_t bytes = count * dhole_dtype_size(dtype);

    set_up(w, op, dtype, count, bytes, bytes);
    for (int i = 0; i < w->size; i++) {
        struct rank *r = &w->rank[i];
        fill(dtype, i, seed, r->in, count);
        memcpy(r->out, r->in, bytes);
        r->in_place = (seed + (unsigned)i) % 2;
    }
    run(w, reduce);
    for (int i = 1; i < w->size; i++)
        ASSERT(memcmp(w->rank[i].out, w->rank[0].out, bytes) == 0);
}

TEST(reductions_of_every_type_and_size_are_right)
{
    static const size_t bytes[] = {0, 16, 5000, 40000};
    static const enum dhole__op ops[] = {DHOLE__SUM, DHOLE__MAX, DHOLE__MIN};

    for (int size = fewest_ranks; size <= most_ranks; size++) {
        struct world w;
        world_open(&w, size);
        for (dhole_dtype dtype = 0; dhole_dtype_size(dtype) > 0; dtype++) {
            for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++) {
                size_t count = bytes[i] / dhole_dtype_size(dtype) + (i > 0 ? (size_t)dtype : 0);
                enum dhole__op op = ops[(i + (size_t)dtype) % 3];
                fill_function *fill = op == DHOLE__SUM ? fill_numbers : fill_anything;
                reduce_everywhere(&w, op, dtype, count, (unsigned)i, fill);
                ASSERT_EQ(first_wrong(op, dtype, size, (unsigned)i, fill, w.rank[0].out, count),
                          count);
            }
        }
        world_close(&w);
    }
}

/* Many pieces, with a remainder; no cable carries more than the vector each way. */
TEST(large_sums_are_right_and_pass_each_cable_once_each_way)
{
    enum { count = 1000003 };

    for (int size = fewest_ranks; size <= most_ranks; size++) {
        struct world w;
        dhole_dtype dtype = size % 2 ? DHOLE_BF16 : DHOLE_F32;
        /* Partial results are f32. */
        const uint64_t headers = 50000, up = 4 * count, down = count * dhole_dtype_size(dtype);
        world_open(&w, size);
        reduce_everywhere(&w, DHOLE__SUM, dtype, count, (unsigned)size, fill_numbers);
        ASSERT_EQ(first_wrong(DHOLE__SUM, dtype, size, (unsigned)size, fill_numbers, w.rank[0].out,
                              count),
                  count);
        for (int i = 0; i < size; i++) {
            ASSERT(w.rank[i].comm.lane[(i + 1) % size]->sent <= up + headers);
            ASSERT(w.rank[i].comm.lane[(i + size - 1) % size]->sent <= down + headers);
        }
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

/* Where the order of summation shows: it is that of the ranks, as without a ring. */
TEST(inexact_sums_are_taken_in_rank_order)
{
    static const size_t counts[] = {300, 100000};

    for (int size = fewest_ranks; size <= most_ranks; size++) {
        struct world w;
        world_open(&w, size);
        for (int i = 0; i < 2; i++) {
            size_t count = counts[i];
            reduce_everywhere(&w, DHOLE__SUM, DHOLE_F32, count, 2, fill_fractions);
            ASSERT_EQ(
                first_wrong(DHOLE__SUM, DHOLE_F32, size, 2, fill_fractions, w.rank[0].out, count),
                count);
        }
        world_close(&w);
    }
}

static void *sum_scatter(void *arg)
{
    struct rank *r = arg;
    size_t part = r->count * dhole_dtype_size(r->dtype);
    uint8_t *own = r->in + (size_t)r->comm.rank * part;

    ASSERT_OK(dhole__sum_scatter(&r->comm, r->in, r->in_place ? own : r->out, r->count, r->dtype,
                                 soon()));
    if (r->in_place)
        memcpy(r->out, own, part);
    return NULL;
}

TEST(sums_are_scattered)
{
    static const size_t counts[] = {0, 1, 777, 250001};

    for (int size = fewest_ranks; size <= most_ranks; size++) {
        size_t count = counts[size % 4];
        dhole_dtype dtype = size % 2 ? DHOLE_BF16 : DHOLE_F32;
        size_t element = dhole_dtype_size(dtype), all = count * (size_t)size;
        uint8_t *sum = malloc(all * element + 1);
        struct world w;
        world_open(&w, size);
        set_up(&w, DHOLE__SUM, dtype, count, all * element, count * element);
        for (int i = 0; i < size; i++) {
            fill_anything(dtype, i, 3, w.rank[i].in, all);
            w.rank[i].in_place = i % 2;
        }
        run(&w, sum_scatter);
        for (int i = 0; i < size; i++)
            memcpy(sum + (size_t)i * count * element, w.rank[i].out, count * element);
        ASSERT_EQ(first_wrong(DHOLE__SUM, dtype, size, 3, fill_anything, sum, all), all);
        world_close(&w);
        free(sum);
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

TEST(parts_are_gathered)
{
    static const size_t counts[] = {0, 1, 3, 300001};

    for (int size = fewest_ranks; size <= most_ranks; size++) {
        struct world w;
        world_open(&w, size);
        for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
            size_t count = counts[k];
            set_up(&w, DHOLE__SUM, DHOLE_U8, count, count, (size_t)size * count);
            for (int i = 0; i < size; i++) {
                fill_anything(DHOLE_U8, i, 1, w.rank[i].in, count);
                w.rank[i].in_place = i % 2;
            }
            run(&w, gather);
            for (int i = 0; i < size; i++)
                for (int j = 0; j < size; j++)
                    ASSERT(memcmp(w.rank[i].out + (size_t)j * count, w.rank[j].in, count) == 0);
        }
        world_close(&w);
    }
}

static void *broadcast(void *arg)
{
    struct rank *r = arg;

    ASSERT_OK(dhole__broadcast(&r->comm, r->out, r->count, DHOLE_U8, r->root, soon()));
    return NULL;
}

TEST(every_root_broadcasts)
{
    static const size_t counts[] = {0, 1, 128 << 10, 1300001};

    for (int size = fewest_ranks; size <= most_ranks; size++) {
        struct world w;
        world_open(&w, size);
        for (int root = 0; root < size; root++) {
            size_t count = counts[(root + size) % 4];
            set_up(&w, DHOLE__SUM, DHOLE_U8, count, count, count);
            for (int i = 0; i < size; i++) {
                w.rank[i].root = root;
                fill_anything(DHOLE_U8, root, 7, w.rank[i].in, count);
                fill_anything(DHOLE_U8, i, 7, w.rank[i].out, count);
            }
            run(&w, broadcast);
            for (int i = 0; i < size; i++)
                ASSERT(memcmp(w.rank[i].out, w.rank[0].in, count) == 0);
        }
        world_close(&w);
    }
}

static atomic_int arrived;

static void *meet(void *arg)
{
    struct rank *r = arg;

    for (int round = 1; round <= 100; round++) {
        atomic_fetch_add(&arrived, 1);
        ASSERT_OK(dhole__barrier(&r->comm, soon()));
        ASSERT(atomic_load(&arrived) >= round * r->comm.size);
    }
    return NULL;
}

TEST(nobody_leaves_a_barrier_before_all_have_come)
{
    for (int size = fewest_ranks; size <= most_ranks; size++) {
        struct world w;
        world_open(&w, size);
        atomic_store(&arrived, 0);
        run(&w, meet);
        world_close(&w);
    }
}

enum { absent = 1 };

static atomic_int late;

/* All but one rank, with a deadline that is soon over. */
static void *wait_in_vain(void *arg)
{
    struct rank *r = arg;

    if (r->comm.rank == absent) {
        while (atomic_load(&late) < r->comm.size - 1)
            sched_yield();
        return NULL;
    }
    ASSERT_ERR(dhole__all_reduce(&r->comm, DHOLE__SUM, r->in, r->out, r->count, DHOLE_F32,
                                 dhole__deadline_in(200)),
               DHOLE_ERR_TIMEOUT);
    atomic_fetch_add(&late, 1);
    return NULL;
}

/* The group believes who has heard of it most directly. */
TEST(the_rank_that_does_not_come_is_known_to_those_next_to_it)
{
    static const size_t counts[] = {100, 100000};

    for (int size = fewest_ranks; size <= most_ranks; size += 2) {
        for (int i = 0; i < 2; i++) {
            struct world w;
            int least = size;
            world_open(&w, size);
            set_up(&w, DHOLE__SUM, DHOLE_F32, counts[i], counts[i] * 4, counts[i] * 4);
            for (int rank = 0; rank < size; rank++)
                memset(w.rank[rank].in, 0, counts[i] * 4);
            atomic_store(&late, 0);
            run(&w, wait_in_vain);
            for (int rank = 0; rank < size; rank++)
                if (rank != absent && w.rank[rank].comm.hearsay < least)
                    least = w.rank[rank].comm.hearsay;
            for (int rank = 0; rank < size; rank++)
                if (rank != absent && w.rank[rank].comm.hearsay == least)
                    ASSERT_EQ(w.rank[rank].comm.culprit, absent);
            world_close(&w);
        }
    }
}
