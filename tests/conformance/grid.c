/* Every operation on every type, for counts, rank numbers and both placements. */
#include <stdint.h>

#include "apart.h"
#include "data.h"
#include "harness.h"

enum { large = (1 << 20) + 3 }; /* elements */

static const size_t small_counts[] = {0, 1, 5, 257};
enum { small_count_max = 257 };

static const struct {
    enum dhole__op op;
    dhole_err (*call)(dhole_group *, const void *, void *, size_t, dhole_dtype);
} reductions[] = {
    {DHOLE__SUM, dhole_all_sum},
    {DHOLE__MAX, dhole_all_max},
    {DHOLE__MIN, dhole_all_min},
};

/* FNV-1a */
static uint64_t digest(const uint8_t *data, size_t size)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ data[i]) * 0x100000001b3u;
    return hash;
}

/* Ranks call it with their output of `bytes`; all must be the same. */
static void expect_same_everywhere(struct rank *r, uint8_t *out, size_t bytes, const char *what)
{
    uint64_t own = digest(out, bytes), all[8];

    ranks_show(r, &own, sizeof own, all);
    for (int i = 1; i < r->size; i++)
        ASSERT_MSG(all[i] == all[0], "%s: ranks 0 and %d of %d differ", what, i, r->size);
}

static void check_reduction(struct rank *r, int which, dhole_dtype dtype, size_t count,
                            bool in_place, uint8_t *in, uint8_t *out)
{
    unsigned seed = (unsigned)count * 16 + (unsigned)dtype;
    size_t bytes = count * dhole_dtype_size(dtype);
    char what[128];

    snprintf(what, sizeof what, "all_%s of %zu %s%s", dhole__op_name(reductions[which].op), count,
             dhole_dtype_name(dtype), in_place ? " in place" : "");
    fill_numbers(dtype, r->rank, seed, in_place ? out : in, count);
    ASSERT_OK(reductions[which].call(r->group, in_place ? out : in, out, count, dtype));
    if (r->rank == 0) {
        size_t wrong =
            first_wrong(reductions[which].op, dtype, r->size, seed, fill_numbers, out, count);
        ASSERT_MSG(wrong == count, "%s on %d ranks: element %zu is wrong", what, r->size, wrong);
    }
    expect_same_everywhere(r, out, bytes, what);
}

static void reduce_all_types(struct rank *r)
{
    uint8_t *in = malloc(8 * small_count_max), *out = malloc(8 * small_count_max);

    for (int which = 0; which < 3; which++)
        for (int dtype = DHOLE_BOOL; dtype <= DHOLE_C64; dtype++)
            for (size_t c = 0; c < sizeof small_counts / sizeof small_counts[0]; c++)
                for (int in_place = 0; in_place < 2; in_place++)
                    check_reduction(r, which, (dhole_dtype)dtype, small_counts[c], in_place, in,
                                    out);
    free(in);
    free(out);
}

ON_EVERY_BACKEND(reductions_of_every_type)
{
    run_group_of_each_size(backend, reduce_all_types, NULL);
}

static void reduce_large(struct rank *r)
{
    static const struct {
        int which;
        dhole_dtype dtype;
        size_t count;
    } cases[] = {
        {0, DHOLE_F32, 8191},  {0, DHOLE_F32, 8193}, {0, DHOLE_BF16, 100001},
        {0, DHOLE_F32, large}, {1, DHOLE_U8, large}, {2, DHOLE_F64, 100003},
    };
    uint8_t *in = malloc(4 * (size_t)large), *out = malloc(4 * (size_t)large);

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_reduction(r, cases[i].which, cases[i].dtype, cases[i].count, i % 2 == 1, in, out);
    free(in);
    free(out);
}

ON_EVERY_BACKEND(large_reductions)
{
    run_group_of_each_size(backend, reduce_large, NULL);
}

static void check_gather(struct rank *r, dhole_dtype dtype, size_t count, bool in_place,
                         uint8_t *in, uint8_t *out)
{
    size_t bytes = count * dhole_dtype_size(dtype);
    uint8_t *own = in_place ? out + (size_t)r->rank * bytes : in;

    fill_anything(dtype, r->rank, (unsigned)count, own, count);
    ASSERT_OK(dhole_all_gather(r->group, own, out, count, dtype));
    for (int from = 0; from < r->size && r->rank == 0; from++) {
        fill_anything(dtype, from, (unsigned)count, in, count);
        ASSERT_MSG(memcmp(in, out + (size_t)from * bytes, bytes) == 0,
                   "all_gather of %zu %s on %d ranks: the part of %d is wrong", count,
                   dhole_dtype_name(dtype), r->size, from);
    }
    expect_same_everywhere(r, out, (size_t)r->size * bytes, "all_gather");
}

static void gather(struct rank *r)
{
    uint8_t *in = malloc(2 * (size_t)large);
    uint8_t *out = malloc(2 * (size_t)large * (size_t)r->size);

    for (int in_place = 0; in_place < 2; in_place++) {
        for (int dtype = DHOLE_BOOL; dtype <= DHOLE_C64; dtype++)
            for (size_t c = 0; c < sizeof small_counts / sizeof small_counts[0]; c++)
                check_gather(r, (dhole_dtype)dtype, small_counts[c], in_place, in, out);
        check_gather(r, DHOLE_BF16, large, in_place, in, out);
    }
    free(in);
    free(out);
}

ON_EVERY_BACKEND(gathers_of_every_type)
{
    run_group_of_each_size(backend, gather, NULL);
}

static void check_broadcast(struct rank *r, dhole_dtype dtype, size_t count, int root,
                            uint8_t *data, uint8_t *want)
{
    size_t bytes = count * dhole_dtype_size(dtype);

    fill_anything(dtype, root, (unsigned)count, want, count);
    memset(data, 0xa5, bytes);
    if (r->rank == root)
        memcpy(data, want, bytes);
    ASSERT_OK(dhole_broadcast(r->group, data, count, dtype, root));
    ASSERT_MSG(memcmp(data, want, bytes) == 0, "broadcast of %zu %s from %d of %d", count,
               dhole_dtype_name(dtype), root, r->size);
}

static void broadcast(struct rank *r)
{
    static const size_t large_counts[] = {65536, 65537, 3 * (128 << 10), 7 * (128 << 10) + 2};
    uint8_t *data = malloc(2 * (size_t)large), *want = malloc(2 * (size_t)large);

    for (int root = 0; root < r->size; root++)
        for (int dtype = DHOLE_BOOL; dtype <= DHOLE_C64; dtype++)
            for (size_t c = 0; c < sizeof small_counts / sizeof small_counts[0]; c++)
                check_broadcast(r, (dhole_dtype)dtype, small_counts[c], root, data, want);
    for (int root = 0; root < r->size; root++)
        for (size_t c = 0; c < sizeof large_counts / sizeof large_counts[0]; c++)
            check_broadcast(r, DHOLE_U8, large_counts[c], root, data, want);
    check_broadcast(r, DHOLE_F16, large, r->size - 1, data, want);
    free(data);
    free(want);
}

ON_EVERY_BACKEND(broadcasts_from_every_root)
{
    run_group_of_each_size(backend, broadcast, NULL);
}

static void check_point(struct rank *r, int from, int to, dhole_dtype dtype, size_t count,
                        uint8_t *data, uint8_t *want)
{
    size_t bytes = count * dhole_dtype_size(dtype);

    fill_anything(dtype, from, (unsigned)count, want, count);
    if (r->rank == from) {
        ASSERT_OK(dhole_send(r->group, want, count, dtype, to));
    } else if (r->rank == to) {
        memset(data, 0xa5, bytes);
        ASSERT_OK(dhole_recv(r->group, data, count, dtype, from));
        ASSERT_MSG(memcmp(data, want, bytes) == 0, "%zu %s from %d to %d", count,
                   dhole_dtype_name(dtype), from, to);
    }
}

static void between_all_pairs(struct rank *r)
{
    uint8_t *data = malloc(2 * (size_t)large), *want = malloc(2 * (size_t)large);

    for (int from = 0; from < r->size; from++) {
        for (int to = 0; to < r->size; to++) {
            if (from == to)
                continue;
            for (int dtype = DHOLE_BOOL; dtype <= DHOLE_C64; dtype++)
                for (size_t c = 0; c < sizeof small_counts / sizeof small_counts[0]; c++)
                    check_point(r, from, to, (dhole_dtype)dtype, small_counts[c], data, want);
        }
    }
    if (r->size > 1)
        check_point(r, 0, r->size - 1, DHOLE_BF16, large, data, want);
    free(data);
    free(want);
}

ON_EVERY_BACKEND(messages_between_all_pairs)
{
    run_group_of_each_size(backend, between_all_pairs, NULL);
}

/* Shapes that differ from message to message (mlx #3149: wrong data or a hang). */
static void varying_shapes(struct rank *r)
{
    enum { messages = 60 };
    uint8_t *data = malloc(8 * 4096), *want = malloc(8 * 4096);

    for (unsigned i = 0; i < messages; i++) {
        size_t count = (size_t)i * i % 4096;
        dhole_dtype dtype = (dhole_dtype)(i % 14);
        size_t bytes = count * dhole_dtype_size(dtype);
        fill_anything(dtype, 0, i, want, count);
        if (r->rank == 0) {
            ASSERT_OK(dhole_send(r->group, want, count, dtype, 1));
            continue;
        }
        ASSERT_OK(dhole_recv(r->group, data, count, dtype, 0));
        ASSERT_MSG(memcmp(data, want, bytes) == 0, "message %u is wrong", i);
    }
    free(data);
    free(want);
}

ON_EVERY_BACKEND(upstream_3149_messages_of_varying_shapes)
{
    run_group(backend, 2, varying_shapes, NULL);
}

static void count_arrivals(struct rank *r)
{
    _Atomic int *arrived = r->arg;

    for (int round = 1; round <= 50; round++) {
        (*arrived)++;
        ASSERT_OK(dhole_barrier(r->group));
        ASSERT_MSG(*arrived >= round * r->size, "a rank left barrier %d after %d of %d arrivals",
                   round, *arrived, round * r->size);
    }
}

ON_EVERY_BACKEND(no_rank_leaves_a_barrier_before_all_came)
{
    if (apart())
        test_skip("ranks on two machines have no common count");
    for (const int *size = rank_counts(backend); *size != 0; size++) {
        _Atomic int arrived = 0;
        run_group(backend, *size, count_arrivals, &arrived);
    }
}
