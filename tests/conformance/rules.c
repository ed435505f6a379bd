/* What group.h promises beyond right results. */
#include <stdint.h>
#include <time.h>

#include "data.h"
#include "harness.h"

enum { count = 20011 };

static uint8_t *first_result;

/* Sums of arbitrary floats, where the order of summation shows: the same on all ranks, every time,
 * and that of the ranks' order. */
static void repeat_sums(struct rank *r)
{
    static const dhole_dtype types[] = {DHOLE_F32, DHOLE_F64, DHOLE_F16, DHOLE_BF16, DHOLE_C64};
    uint8_t *in = malloc(8 * count), *out = malloc(8 * count);

    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        size_t n = t % 2 ? count : count / 16, bytes = n * dhole_dtype_size(types[t]);
        for (int repeat = 0; repeat < 3; repeat++) {
            fill_anything(types[t], r->rank, 7, in, n);
            ASSERT_OK(dhole_all_sum(r->group, in, out, n, types[t]));
            if (r->rank == 0 && repeat == 0) {
                first_result = realloc(first_result, bytes);
                memcpy(first_result, out, bytes);
                ASSERT_EQ(first_wrong(DHOLE__SUM, types[t], r->size, 7, fill_anything, out, n), n);
            }
            ranks_meet(r);
            ASSERT_MSG(memcmp(out, first_result, bytes) == 0, "rank %d, repeat %d: other bits",
                       r->rank, repeat);
            ranks_meet(r);
        }
    }
    free(in);
    free(out);
}

ON_EVERY_BACKEND(the_same_bits_on_all_ranks_every_time)
{
    run_group(backend, 3, repeat_sums, NULL);
    run_group(backend, 4, repeat_sums, NULL);
    free(first_result);
}

static void expect_invalid(struct rank *r, dhole_err err, const char *part)
{
    float one = 1, sum = 0;

    ASSERT_ERR(err, DHOLE_ERR_INVALID);
    ASSERT_CONTAINS(dhole_error_message(), part);
    ASSERT_OK(dhole_all_sum(r->group, &one, &sum, 1, DHOLE_F32));
    ASSERT(sum == (float)r->size);
}

static void call_wrongly(struct rank *r)
{
    dhole_group *g = r->group;
    char byte = 0;

    expect_invalid(r, dhole_all_sum(g, &byte, &byte, 1, (dhole_dtype)14), "14");
    expect_invalid(r, dhole_all_gather(g, &byte, &byte, SIZE_MAX, DHOLE_F32), "SIZE_MAX");
    expect_invalid(r, dhole_broadcast(g, &byte, 1, DHOLE_U8, r->size), "root");
    expect_invalid(r, dhole_broadcast(g, &byte, 1, DHOLE_U8, -1), "-1");
    expect_invalid(r, dhole_send(g, &byte, 1, DHOLE_U8, r->rank), "itself");
    expect_invalid(r, dhole_recv(g, &byte, 1, DHOLE_U8, r->rank), "itself");
    expect_invalid(r, dhole_send(g, &byte, 1, DHOLE_U8, 99), "99");
    expect_invalid(r, dhole_set_timeout(g, 0), "timeout");
    expect_invalid(r, dhole_set_timeout(g, -1), "-1");
}

ON_EVERY_BACKEND(a_wrong_argument_does_not_break_the_group)
{
    run_group(backend, 2, call_wrongly, NULL);
}

static void call_alone(struct rank *r)
{
    float in[3] = {1, 2, 3}, out[3] = {0};

    ASSERT_OK(dhole_all_min(r->group, in, out, 3, DHOLE_F32));
    ASSERT(memcmp(in, out, sizeof in) == 0);
    ASSERT_OK(dhole_all_gather(r->group, in, in, 3, DHOLE_F32));
    ASSERT_OK(dhole_broadcast(r->group, in, 3, DHOLE_F32, 0));
    ASSERT_OK(dhole_barrier(r->group));
    ASSERT_OK(dhole_all_sum(r->group, NULL, NULL, 0, DHOLE_F32));
    ASSERT(memcmp(in, out, sizeof in) == 0);
    dhole_abort(r->group, "enough");
    ASSERT_ERR(dhole_barrier(r->group), DHOLE_ERR_ABORTED);
}

ON_EVERY_BACKEND(a_group_of_one_copies)
{
    run_group(backend, 1, call_alone, NULL);
}

static void pass_nothing(struct rank *r)
{
    ASSERT_OK(dhole_all_sum(r->group, NULL, NULL, 0, DHOLE_F32));
    ASSERT_OK(dhole_all_gather(r->group, NULL, NULL, 0, DHOLE_F32));
    ASSERT_OK(dhole_broadcast(r->group, NULL, 0, DHOLE_F32, 0));
    if (r->rank == 0)
        ASSERT_OK(dhole_send(r->group, NULL, 0, DHOLE_F32, 1));
    if (r->rank == 1)
        ASSERT_OK(dhole_recv(r->group, NULL, 0, DHOLE_F32, 0));
}

ON_EVERY_BACKEND(no_elements_need_no_buffer)
{
    run_group(backend, 3, pass_nothing, NULL);
}

/* A mix of calls in which ranks run ahead of each other. */
static void mix(struct rank *r)
{
    int next = (r->rank + 1) % r->size, previous = (r->rank + r->size - 1) % r->size;
    int32_t token, sum, all[ranks_max];

    for (int32_t i = 0; i < 200; i++) {
        token = i * 100 + r->rank;
        ASSERT_OK(dhole_send(r->group, &token, 1, DHOLE_I32, next));
        ASSERT_OK(dhole_recv(r->group, &token, 1, DHOLE_I32, previous));
        ASSERT_EQ(token, i * 100 + previous);
        ASSERT_OK(dhole_all_sum(r->group, &token, &sum, 1, DHOLE_I32));
        ASSERT_EQ(sum, r->size * (i * 100) + r->size * (r->size - 1) / 2);
        ASSERT_OK(dhole_all_gather(r->group, &r->rank, all, 1, DHOLE_I32));
        ASSERT_EQ(all[next], next);
        ASSERT_OK(dhole_broadcast(r->group, &sum, 1, DHOLE_I32, i % r->size));
    }
}

ON_EVERY_BACKEND(calls_of_all_kinds_in_turn)
{
    run_group(backend, 3, mix, NULL);
}

/* Two groups of the same ranks do not get into each other's way. */
static void use_two_groups(struct rank *r)
{
    int32_t own = r->rank, sum, most;
    dhole_group *second;

    r->options.session = "second";
    ASSERT_OK(dhole_init(&r->options, &second));
    for (int i = 0; i < 20; i++) {
        if (r->rank == 0) /* sent on one before, received after the other's call */
            ASSERT_OK(dhole_send(r->group, &i, 1, DHOLE_I32, 1));
        ASSERT_OK(dhole_all_max(second, &own, &most, 1, DHOLE_I32));
        ASSERT_EQ(most, r->size - 1);
        if (r->rank == 1) {
            ASSERT_OK(dhole_recv(r->group, &sum, 1, DHOLE_I32, 0));
            ASSERT_EQ(sum, i);
        }
    }
    dhole_abort(second, "only this one");
    dhole_group_free(second);
    ASSERT_OK(dhole_all_sum(r->group, &own, &sum, 1, DHOLE_I32));
    ASSERT_EQ(sum, r->size * (r->size - 1) / 2);
}

ON_EVERY_BACKEND(two_groups_in_one_process)
{
    run_group(backend, 3, use_two_groups, NULL);
}

static void count_bytes(struct rank *r)
{
    const bool sealed = r->world->backend->sealed;
    dhole_stats before, after;
    float data[1000] = {0};
    uint64_t bytes;

    dhole_group_stats(r->group, &before);
    ASSERT_OK(dhole_broadcast(r->group, data, 1000, DHOLE_F32, 0));
    dhole_group_stats(r->group, &after);
    ASSERT_EQ(sealed ? after.plain_bytes : after.sealed_bytes, 0);
    bytes =
        sealed ? after.sealed_bytes - before.sealed_bytes : after.plain_bytes - before.plain_bytes;
    ASSERT_MSG(bytes >= sizeof data && bytes <= sizeof data + 200,
               "%llu bytes for a message of %zu", (unsigned long long)bytes, sizeof data);
}

ON_EVERY_BACKEND(bytes_are_counted_by_whether_they_were_sealed)
{
    run_group(backend, 2, count_bytes, NULL);
}

TEST(which_backends_are_there)
{
    ASSERT(dhole_is_available(NULL) && dhole_is_available("any"));
    ASSERT(dhole_is_available("ring") && dhole_is_available("tcp") && dhole_is_available("mem"));
    ASSERT(!dhole_is_available("no such backend"));
}

TEST(freeing_no_group_is_allowed)
{
    dhole_group_free(NULL);
}

static int be_idle(void *arg)
{
    ++*(int *)arg;
    return *(int *)arg < 5;
}

/* Rank 0 comes late, so rank 1 has time for all that it has to do, and no more. */
static void wait_usefully(struct rank *r)
{
    const struct timespec late = {0, 20000000};
    int calls = 0;
    float one = 1, sum = 0;

    ranks_meet(r);
    if (r->rank == 0)
        nanosleep(&late, NULL);
    dhole_set_idle(r->group, be_idle, &calls);
    ASSERT_OK(dhole_all_sum(r->group, &one, &sum, 1, DHOLE_F32));
    dhole_set_idle(r->group, NULL, NULL);
    ASSERT(sum == 2);
    if (r->rank == 1)
        ASSERT_EQ(calls, 5);
    ASSERT_OK(dhole_all_sum(r->group, &one, &sum, 1, DHOLE_F32));
    ASSERT(calls <= 5);
}

ON_EVERY_BACKEND(a_waiting_rank_can_do_something_else)
{
    run_group(backend, 2, wait_usefully, NULL);
}
