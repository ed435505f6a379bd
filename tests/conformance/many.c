/* As many ranks as a group may have. */
#include <sys/resource.h>

#include "harness.h"

enum { ranks = 64 };

static int next(const struct rank *r)
{
    return (r->rank + 1) % r->size;
}

static int previous(const struct rank *r)
{
    return (r->rank + r->size - 1) % r->size;
}

static void reduce_once(struct rank *r)
{
    int32_t own[100], out[100], parts[2 * ranks], part[2] = {0};
    const int32_t all = r->size * (r->size - 1) / 2;

    for (int i = 0; i < 100; i++)
        own[i] = r->rank * i;
    ASSERT_OK(dhole_all_sum(r->group, own, out, 100, DHOLE_I32));
    ASSERT_EQ(out[3], 3 * all);
    ASSERT_OK(dhole_all_max(r->group, own, out, 100, DHOLE_I32));
    ASSERT_EQ(out[99], 99 * (r->size - 1));
    ASSERT_OK(dhole_all_min(r->group, own, out, 100, DHOLE_I32));
    ASSERT_EQ(out[99], 0);
    for (int i = 0; i < 2 * r->size; i++)
        parts[i] = r->rank + i;
    ASSERT_OK(dhole_sum_scatter(r->group, parts, part, 2, DHOLE_I32));
    ASSERT_EQ(part[1], all + r->size * (2 * r->rank + 1));
}

static void move_once(struct rank *r)
{
    int32_t parts[2 * ranks], got[2 * ranks], token = r->rank;

    ASSERT_OK(dhole_all_gather(r->group, &r->rank, got, 1, DHOLE_I32));
    for (int i = 0; i < r->size; i++)
        ASSERT_EQ(got[i], i);
    for (int i = 0; i < 2 * r->size; i++)
        parts[i] = 1000 * r->rank + i;
    ASSERT_OK(dhole_all_to_all(r->group, parts, got, 2, DHOLE_I32));
    ASSERT_OK(dhole_all_to_all(r->group, parts, parts, 2, DHOLE_I32));
    for (int i = 0; i < 2 * r->size; i++)
        ASSERT_EQ(got[i], 1000 * (i / 2) + 2 * r->rank + i % 2);
    ASSERT(memcmp(got, parts, 2 * (size_t)r->size * sizeof *got) == 0);
    ASSERT_OK(dhole_sendrecv(r->group, &r->rank, 1, next(r), &token, 1, previous(r), DHOLE_I32));
    ASSERT_EQ(token, previous(r));
}

/* More than the small messages of before: every lane fills up, and broadcasts go in pieces. */
static void move_much(struct rank *r)
{
    enum { count = 50021 };
    float *data = malloc(count * sizeof *data);

    for (int i = 0; i < count; i++)
        data[i] = (float)(r->rank * (i % 7));
    ASSERT_OK(dhole_all_sum(r->group, data, data, count, DHOLE_F32));
    for (int i = 0; i < count; i++)
        ASSERT(data[i] == (float)(r->size * (r->size - 1) / 2 * (i % 7)));
    if (r->rank != 5)
        memset(data, 0xa5, count * sizeof *data);
    ASSERT_OK(dhole_broadcast(r->group, data, count, DHOLE_F32, 5));
    for (int i = 0; i < count; i++)
        ASSERT(data[i] == (float)(r->size * (r->size - 1) / 2 * (i % 7)));
    free(data);
}

static void do_everything_once(struct rank *r)
{
    r->options.silence_ms = patient(30000); /* a hundred threads share two processors */
    r->options.connect_timeout_ms = r->options.timeout_ms = patient(40000);
    rank_joins(r);
    reduce_once(r);
    move_once(r);
    move_much(r);
    ASSERT_OK(dhole_barrier(r->group));
    dhole_group_free(r->group);
}

/* All ranks are in this process, and each pair of them has connections with both ends here. */
static void want_descriptors(rlim_t count)
{
    struct rlimit limit;

    ASSERT(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_cur >= count)
        return;
    if (limit.rlim_max < count)
        test_skip("this process may not open the descriptors of 64 ranks");
    limit.rlim_cur = count;
    ASSERT(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

TEST_LIMIT(sixty_four_ranks_mem, 120)
{
    want_descriptors(17000);
    run_ranks(&backend_mem, ranks, do_everything_once, NULL);
}

TEST_LIMIT(sixty_four_ranks_shm, 120)
{
    want_descriptors(17000);
    run_ranks(&backend_shm, ranks, do_everything_once, NULL);
}

TEST_LIMIT(sixty_four_ranks_tcp, 120)
{
    want_descriptors(9000);
    run_ranks(&backend_tcp, ranks, do_everything_once, NULL);
}

TEST_LIMIT(sixty_four_ranks_mixed, 120)
{
    want_descriptors(17000);
    run_ranks(&backend_mixed, ranks, do_everything_once, NULL);
}

/* A handshake a pair: of 64 ranks they would take half a minute under ThreadSanitizer. */
TEST(twenty_four_ranks_mixed_sealed)
{
    want_descriptors(3000);
    run_ranks(&backend_mixed_sealed, 24, do_everything_once, NULL);
}
