/* Collectives round a ring: ranks have lanes to their neighbours only, so whoever used another one
 * would crash. */
#include "coll/ring.h"

#include "world.h"

enum { fewest_ranks = 4 };

static void open_ring(struct world *w, int size)
{
    world_open(w, size);
    for (int i = 0; i < size; i++) {
        w->rank[i].comm.ring = true;
        world_join(w, i, (i + 1) % size);
    }
}

TEST(reductions_of_every_type_and_size_are_right)
{
    static const size_t bytes[] = {0, 16, 5000, 40000};
    static const enum dhole__op ops[] = {DHOLE__SUM, DHOLE__MAX, DHOLE__MIN};

    for (int size = fewest_ranks; size <= most_ranks; size++) {
        struct world w;
        open_ring(&w, size);
        for (dhole_dtype dtype = 0; dhole_dtype_size(dtype) > 0; dtype++) {
            for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++) {
                size_t count = bytes[i] / dhole_dtype_size(dtype) + (i > 0 ? (size_t)dtype : 0);
                enum dhole__op op = ops[(i + (size_t)dtype) % 3];
                fill_function *fill = op == DHOLE__SUM ? fill_numbers : fill_anything;
                world_reduce(&w, op, dtype, count, (unsigned)i, fill);
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
        open_ring(&w, size);
        world_reduce(&w, DHOLE__SUM, dtype, count, (unsigned)size, fill_numbers);
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

/* Where the order of summation shows: it is that of the ranks, as without a ring. */
TEST(inexact_sums_are_taken_in_rank_order)
{
    static const size_t counts[] = {300, 100000};

    for (int size = fewest_ranks; size <= most_ranks; size++) {
        struct world w;
        open_ring(&w, size);
        for (int i = 0; i < 2; i++) {
            size_t count = counts[i];
            world_reduce(&w, DHOLE__SUM, DHOLE_F32, count, 2, fill_fractions);
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
        open_ring(&w, size);
        world_set(&w, DHOLE__SUM, dtype, count, all * element, count * element);
        for (int i = 0; i < size; i++) {
            fill_anything(dtype, i, 3, w.rank[i].in, all);
            w.rank[i].in_place = i % 2;
        }
        world_run(&w, sum_scatter);
        for (int i = 0; i < size; i++)
            memcpy(sum + (size_t)i * count * element, w.rank[i].out, count * element);
        ASSERT_EQ(first_wrong(DHOLE__SUM, dtype, size, 3, fill_anything, sum, all), all);
        world_close(&w);
        free(sum);
    }
}

TEST(parts_are_gathered)
{
    static const size_t counts[] = {0, 1, 3, 300001};

    for (int size = fewest_ranks; size <= most_ranks; size++) {
        struct world w;
        open_ring(&w, size);
        for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
            size_t count = counts[k];
            world_set(&w, DHOLE__SUM, DHOLE_U8, count, count, (size_t)size * count);
            for (int i = 0; i < size; i++) {
                fill_anything(DHOLE_U8, i, 1, w.rank[i].in, count);
                w.rank[i].in_place = i % 2;
            }
            world_run(&w, rank_gather);
            for (int i = 0; i < size; i++)
                for (int j = 0; j < size; j++)
                    ASSERT(memcmp(w.rank[i].out + (size_t)j * count, w.rank[j].in, count) == 0);
        }
        world_close(&w);
    }
}

TEST(every_root_broadcasts)
{
    static const size_t counts[] = {0, 1, 128 << 10, 1300001};

    for (int size = fewest_ranks; size <= most_ranks; size++) {
        struct world w;
        open_ring(&w, size);
        for (int root = 0; root < size; root++) {
            size_t count = counts[(root + size) % 4];
            world_set(&w, DHOLE__SUM, DHOLE_U8, count, count, count);
            for (int i = 0; i < size; i++) {
                w.rank[i].root = root;
                fill_anything(DHOLE_U8, root, 7, w.rank[i].in, count);
                fill_anything(DHOLE_U8, i, 7, w.rank[i].out, count);
            }
            world_run(&w, rank_broadcast);
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
        open_ring(&w, size);
        atomic_store(&arrived, 0);
        world_run(&w, meet);
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
            open_ring(&w, size);
            world_set(&w, DHOLE__SUM, DHOLE_F32, counts[i], counts[i] * 4, counts[i] * 4);
            for (int rank = 0; rank < size; rank++)
                memset(w.rank[rank].in, 0, counts[i] * 4);
            atomic_store(&late, 0);
            world_run(&w, wait_in_vain);
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
