/* Which pairs of ranks get RDMA, and what they must agree on; over the devices of tests/rdma/fake,
 * as the harness makes them: left0 is rank 0's. */
#include <unistd.h>

#include "fake.h"
#include "harness.h"

enum { short_ms = 400 };

static uint64_t messages_of(int rank)
{
    char name[32];

    snprintf(name, sizeof name, "left%d", rank);
    return fake_counts(name).sent;
}

static int regions_of(int rank)
{
    char name[32];

    snprintf(name, sizeof name, "left%d", rank);
    return fake_counts(name).regions;
}

static void send_to_each(struct rank *r)
{
    int32_t own = r->rank, theirs;

    for (int i = 1; i < r->size; i++) {
        int to = (r->rank + i) % r->size, from = (r->rank - i + r->size) % r->size;
        ASSERT_OK(dhole_sendrecv(r->group, &own, 1, to, &theirs, 1, from, DHOLE_I32));
        ASSERT_EQ(theirs, from);
    }
}

static void sum_all(struct rank *r, dhole_group *group)
{
    enum { count = 30011 };
    int32_t *data = malloc(count * sizeof *data);

    for (int i = 0; i < count; i++)
        data[i] = i + 1;
    ASSERT_OK(dhole_all_sum(group, data, data, count, DHOLE_I32));
    for (int i = 0; i < count; i++)
        ASSERT_EQ(data[i], (i + 1) * dhole_size(group));
    (void)r;
    free(data);
}

static uint64_t lane_bytes(struct rank *r)
{
    dhole_stats stats;

    dhole_group_stats(r->group, &stats);
    return stats.plain_bytes + stats.sealed_bytes;
}

/* A program that gives devices, and no backend, gets jaccl. */
static void use_devices(struct rank *r)
{
    uint64_t before;

    r->options.backend = NULL;
    rank_joins(r);
    before = messages_of(r->rank);
    ranks_meet(r);
    send_to_each(r);
    sum_all(r, r->group);
    ranks_meet(r);
    ASSERT(messages_of(r->rank) > before);
    ranks_meet(r);
    dhole_group_free(r->group);
}

TEST(devices_are_used_wherever_they_are_given)
{
    ASSERT(dhole_is_available("any"));
    run_ranks(&backend_jaccl, 2, use_devices, NULL);
    run_ranks(&backend_jaccl, 4, use_devices, NULL);
    ASSERT(dhole_is_available("jaccl"));
    ASSERT_EQ(fake_live(), 0);
}

/* Rank r is joined to r - 1 and r + 1. */
static void leave_neighbours_only(struct rank *r, const char *devices[ranks_max])
{
    for (int peer = 0; peer < r->size; peer++) {
        bool neighbour = (peer + 1) % r->size == r->rank || (r->rank + 1) % r->size == peer;
        devices[peer] = neighbour ? r->options.devices[peer] : NULL;
    }
    r->options.devices = devices;
}

/* Over the cables of a ring go all collectives, and nothing to those who have none. */
static void use_ring(struct rank *r)
{
    const char *devices[ranks_max];
    uint64_t before;
    int32_t own[64] = {r->rank}, all[64 * 8];

    leave_neighbours_only(r, devices);
    rank_joins(r);
    send_to_each(r);
    sum_all(r, r->group);
    before = lane_bytes(r);
    ASSERT_OK(dhole_all_gather(r->group, own, all, 64, DHOLE_I32));
    for (int peer = 0; peer < r->size; peer++)
        ASSERT_EQ(all[64 * peer], peer);
    /* To everyone else half of a ring away the data comes over a neighbour: what a rank sends and
     * receives is all others' parts, twice, with a header for each. */
    ASSERT(lane_bytes(r) - before <= 2 * (uint64_t)r->size * (sizeof own + 32));
    ASSERT_OK(dhole_barrier(r->group));
    dhole_group_free(r->group);
}

TEST(a_ring_of_cables_is_a_group)
{
    for (int size = 2; size <= 7; size++)
        run_ranks(&backend_jaccl, size, use_ring, NULL);
    ASSERT_EQ(fake_live(), 0);
}

/* The others' way goes over TCP, as they have no cable. */
static void split_ring(struct rank *r)
{
    const char *devices[ranks_max];
    dhole_group *half;

    leave_neighbours_only(r, devices);
    rank_joins(r);
    ASSERT_OK(dhole_split(r->group, r->rank % 2, 0, &half));
    ASSERT_EQ(dhole_size(half), r->size / 2);
    sum_all(r, half);
    dhole_group_free(half);
    ASSERT_OK(dhole_split(r->group, r->rank / 2, 0, &half));
    sum_all(r, half);
    dhole_group_free(half);
    sum_all(r, r->group);
    dhole_group_free(r->group);
}

TEST(a_ring_can_be_split)
{
    run_ranks(&backend_jaccl, 4, split_ring, NULL);
    run_ranks(&backend_jaccl, 6, split_ring, NULL);
    ASSERT_EQ(fake_live(), 0);
}

static void shrink_ring(struct rank *r)
{
    const char *devices[ranks_max];
    dhole_group *rest;

    leave_neighbours_only(r, devices);
    rank_joins(r);
    if (r->rank == 2) {
        dhole_group_free(r->group);
        return;
    }
    ASSERT_ERR(dhole_barrier(r->group), DHOLE_ERR_PEER_LOST);
    ASSERT_OK(dhole_shrink(r->group, &rest));
    ASSERT_EQ(dhole_size(rest), r->size - 1);
    sum_all(r, rest);
    dhole_group_free(rest);
    dhole_group_free(r->group);
}

TEST(a_ring_can_shrink)
{
    run_ranks(&backend_jaccl, 4, shrink_ring, NULL);
    run_ranks(&backend_jaccl, 5, shrink_ring, NULL);
}

static void be_refused(struct rank *r, const char *expected)
{
    dhole_group *group = NULL;

    r->options.connect_timeout_ms = patient(short_ms);
    ASSERT_ERR(dhole_init(&r->options, &group), DHOLE_ERR_CONFIG);
    ASSERT(group == NULL);
    ASSERT_CONTAINS(dhole_error_message(), expected);
}

/* Ranks 0 and 3 of five, say, are joined when only one of them knows of the ring. */
static void differ_in_ring(struct rank *r)
{
    dhole_group *group = NULL;
    dhole_err err;

    r->options.ring = r->rank == 0;
    r->options.connect_timeout_ms = patient(short_ms);
    err = dhole_init(&r->options, &group);
    ASSERT_MSG(err == DHOLE_ERR_CONFIG || err == DHOLE_ERR_TIMEOUT || err == DHOLE_ERR_PEER_LOST,
               "rank %d got %s: %s", r->rank, dhole_error_name(err), dhole_error_message());
    if (r->rank == 2) { /* the others may only see that it has gone */
        ASSERT_ERR(err, DHOLE_ERR_CONFIG);
        ASSERT_CONTAINS(dhole_error_message(), "devices lead from rank 2 to rank 0, but none from "
                                               "rank 0 to rank 2: row 0, column 2");
    }
}

static void differ_in_seal(struct rank *r)
{
    r->options.seal_rdma = r->rank == 0;
    be_refused(r, "the seal of RDMA differs");
}

static void differ_in_backend(struct rank *r)
{
    if (r->rank == 1) {
        r->options.backend = "ring";
        r->options.devices = NULL;
    }
    be_refused(r, "the backend differs");
    ASSERT_CONTAINS(dhole_error_message(), "jaccl");
}

TEST(ranks_that_differ_are_refused_in_words)
{
    run_ranks(&backend_jaccl, 4, differ_in_ring, NULL);
    run_ranks(&backend_jaccl_sealed, 2, differ_in_seal, NULL);
    run_ranks(&backend_jaccl, 2, differ_in_backend, NULL);
    ASSERT_EQ(fake_live(), 0);
}

static void name_nobody_s_device(struct rank *r)
{
    const char *devices[] = {"absent7", "absent7"};

    r->options.devices = devices;
    be_refused(r, "absent7");
}

TEST(a_device_that_is_not_there_is_named)
{
    run_ranks(&backend_jaccl, 2, name_nobody_s_device, NULL);
}

/* Neither waits for the whole of the time that it has. */
static void reach_nobody(struct rank *r)
{
    dhole_group *group = NULL;
    int64_t begin = now_ms();

    ASSERT_ERR(dhole_init(&r->options, &group), DHOLE_ERR_UNSUPPORTED);
    ASSERT_CONTAINS(dhole_error_message(), "no RDMA device reaches rank");
    ASSERT(now_ms() - begin < patient(10000));
}

static void part_devices(struct rank *r)
{
    if (r->rank == 1)
        fake_device("left1", "net=7");
    ranks_meet(r);
    reach_nobody(r);
}

TEST(devices_that_do_not_reach_are_an_error_on_both_sides)
{
    run_ranks(&backend_jaccl, 2, part_devices, NULL);
    ASSERT_EQ(fake_live(), 0);
}

/* With keys, and without the seal of RDMA: the lane is in the clear, all else is not. */
static void count_unsealed(struct rank *r)
{
    float data[1000] = {0};
    dhole_stats before, after;
    int64_t begin = now_ms();

    r->options.seal_rdma = 0;
    rank_joins(r);
    dhole_group_stats(r->group, &before);
    ASSERT_OK(dhole_broadcast(r->group, data, 1000, DHOLE_F32, 0));
    dhole_group_stats(r->group, &after);
    ASSERT(after.plain_bytes - before.plain_bytes >= sizeof data);
    ASSERT(after.sealed_bytes - before.sealed_bytes < 1000);
    for (; after.sealed_bytes == 0; usleep(10000)) { /* until the first heartbeat */
        ASSERT(now_ms() - begin < patient(10000));
        dhole_group_stats(r->group, &after);
    }
    ranks_meet(r);
    dhole_group_free(r->group);
}

TEST(rdma_is_sealed_when_that_is_asked_for_only)
{
    run_ranks(&backend_jaccl_sealed, 2, count_unsealed, NULL);
}

static void lend_memory(struct rank *r)
{
    int before = regions_of(r->rank);
    int32_t *block;

    ASSERT_OK(dhole_alloc(r->group, 1 << 20, (void **)&block));
    ASSERT_EQ(regions_of(r->rank), before + 1);
    for (int i = 0; i < 1 << 18; i++)
        block[i] = r->rank + i;
    ASSERT_OK(dhole_all_sum(r->group, block, block, 1 << 18, DHOLE_I32));
    for (int i = 0; i < 1 << 18; i++)
        ASSERT_EQ(block[i], 2 * i + 1);
    dhole_dealloc(r->group, block);
    ASSERT_EQ(regions_of(r->rank), before);
}

TEST(blocks_are_registered_while_they_are_there)
{
    run_group(&backend_jaccl, 2, lend_memory, NULL);
}
