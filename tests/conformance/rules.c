/* What group.h promises beyond right results. */
#include <math.h>
#include <stdint.h>
#include <time.h>

#include "base/sys.h"
#include "data.h"
#include "harness.h"

enum { count = 20011 };

static uint8_t *first_result;

enum { repeats = 100 };

/* Sums of arbitrary floats, where the order of summation shows: the same on all ranks, every time,
 * and that of the ranks' order, but between hosts, where each host sums first. */
static void repeat_sums(struct rank *r)
{
    static const dhole_dtype types[] = {DHOLE_F32, DHOLE_F64, DHOLE_F16, DHOLE_BF16, DHOLE_C64};
    uint8_t *in = malloc(8 * count), *out = malloc(8 * count);

    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        size_t n = t % 2 ? count : count / 16, bytes = n * dhole_dtype_size(types[t]);
        fill_anything(types[t], r->rank, 7, in, n);
        for (int repeat = 0; repeat < repeats; repeat++) {
            memset(out, 0xa5, bytes);
            ASSERT_OK(dhole_all_sum(r->group, in, out, n, types[t]));
            if (r->rank == 0 && repeat == 0) {
                first_result = realloc(first_result, bytes);
                memcpy(first_result, out, bytes);
                if (!r->world->backend->mixed)
                    ASSERT_EQ(first_wrong(DHOLE__SUM, types[t], r->size, 7, fill_anything, out, n),
                              n);
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

/* The same for a rank's part of sum_scatter. */
static void repeat_sum_scatters(struct rank *r)
{
    enum { part = 4099 };
    size_t all = (size_t)part * (size_t)r->size, bytes = part * sizeof(float);
    float *in = malloc(all * sizeof *in), *first = malloc(bytes), *out = malloc(bytes);

    fill_anything(DHOLE_F32, r->rank, 7, in, all);
    ASSERT_OK(dhole_sum_scatter(r->group, in, first, part, DHOLE_F32));
    if (r->rank == 0)
        ASSERT_EQ(first_wrong(DHOLE__SUM, DHOLE_F32, r->size, 7, fill_anything, first, part), part);
    for (int repeat = 1; repeat < repeats; repeat++) {
        memset(out, 0xa5, bytes);
        ASSERT_OK(dhole_sum_scatter(r->group, in, out, part, DHOLE_F32));
        ASSERT_MSG(memcmp(out, first, bytes) == 0, "rank %d, repeat %d: other bits", r->rank,
                   repeat);
    }
    free(in);
    free(first);
    free(out);
}

ON_EVERY_BACKEND(the_same_bits_on_all_ranks_every_time)
{
    for (const int *size = rank_counts(backend); *size != 0; size++) {
        run_group(backend, *size, repeat_sums, NULL);
        run_group(backend, *size, repeat_sum_scatters, NULL);
    }
    free(first_result);
    first_result = NULL;
}

/* Bit patterns of what max and min treat specially, in each format. */
static const struct special {
    dhole_dtype dtype;
    uint64_t one, minus, other_nan, nan, infinity; /* minus: the sign bit */
} specials[] = {
    {DHOLE_F16, 0x3c00, 0x8000, 0xfe01, 0x7e00, 0x7c00},
    {DHOLE_BF16, 0x3f80, 0x8000, 0xffc1, 0x7fc0, 0x7f80},
    {DHOLE_F32, 0x3f800000, 0x80000000, 0xff812345, 0x7fc00000, 0x7f800000},
    {DHOLE_F64, 0x3ff0000000000000, 0x8000000000000000, 0xfff0000000000001, 0x7ff8000000000000,
     0x7ff0000000000000},
};

enum { special_count = 67 }; /* whole vectors and a rest, of every instruction set */

typedef dhole_err reduction(dhole_group *, const void *, void *, size_t, dhole_dtype);

/* Rank i of three gives values[(i + turn) mod 3]: the result is `want` whoever has which. */
static void expect_reduced(struct rank *r, reduction *reduce, dhole_dtype dtype,
                           const uint64_t values[3], uint64_t want)
{
    uint8_t in[8 * special_count], out[8 * special_count];
    size_t size = dhole_dtype_size(dtype);

    for (int turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < special_count; i++)
            memcpy(in + i * size, &values[(r->rank + turn) % 3], size); /* little-endian */
        ASSERT_OK(reduce(r->group, in, out, special_count, dtype));
        for (size_t i = 0; i < special_count; i++)
            ASSERT_MSG(memcmp(out + i * size, &want, size) == 0, "%s, turn %d, element %zu",
                       dhole_dtype_name(dtype), turn, i);
    }
}

static void reduce_specials(struct rank *r)
{
    for (size_t i = 0; i < sizeof specials / sizeof specials[0]; i++) {
        const struct special *s = &specials[i];
        const uint64_t with_nan[] = {s->one, s->other_nan, s->infinity};
        const uint64_t zeros[] = {s->minus, 0, s->minus};
        const uint64_t around[] = {s->minus | s->one, s->minus | s->infinity, s->minus};
        const uint64_t infinities[] = {s->infinity, s->minus | s->infinity, s->one};
        expect_reduced(r, dhole_all_max, s->dtype, with_nan, s->nan);
        expect_reduced(r, dhole_all_min, s->dtype, with_nan, s->nan);
        expect_reduced(r, dhole_all_sum, s->dtype, with_nan, s->nan);
        expect_reduced(r, dhole_all_max, s->dtype, zeros, 0);
        expect_reduced(r, dhole_all_min, s->dtype, zeros, s->minus);
        expect_reduced(r, dhole_all_max, s->dtype, around, s->minus);
        expect_reduced(r, dhole_all_min, s->dtype, around, s->minus | s->infinity);
        expect_reduced(r, dhole_all_sum, s->dtype, infinities, s->nan);
    }
}

ON_EVERY_BACKEND(nan_and_signed_zero_whichever_rank_has_them)
{
    run_group(backend, 3, reduce_specials, NULL);
}

static void reduce_complex_and_bool(struct rank *r)
{
    static const float pairs[3][2] = {{1, 5}, {2, -1}, {2, 3}},
                       equal[3][2] = {{-0.f, 1}, {0, 1}, {-0.f, 1}};
    static const uint8_t bytes[3][2] = {{0, 2}, {0, 4}, {8, 4}};
    float out[2];
    uint8_t bools[2];

    ASSERT_OK(dhole_all_max(r->group, pairs[r->rank], out, 1, DHOLE_C64));
    ASSERT(out[0] == 2 && out[1] == 3);
    ASSERT_OK(dhole_all_min(r->group, pairs[r->rank], out, 1, DHOLE_C64));
    ASSERT(out[0] == 1 && out[1] == 5);
    ASSERT_OK(dhole_all_min(r->group, equal[r->rank], out, 1, DHOLE_C64));
    ASSERT(out[0] == 0 && signbit(out[0]) && out[1] == 1);
    ASSERT_OK(dhole_all_sum(r->group, bytes[r->rank], bools, 2, DHOLE_BOOL));
    ASSERT(bools[0] == 1 && bools[1] == 1);
    ASSERT_OK(dhole_all_min(r->group, bytes[r->rank], bools, 2, DHOLE_BOOL));
    ASSERT(bools[0] == 0 && bools[1] == 1);
}

ON_EVERY_BACKEND(complex_numbers_and_truth_values)
{
    run_group(backend, 3, reduce_complex_and_bool, NULL);
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
    expect_invalid(r, dhole_sum_scatter(g, &byte, &byte, SIZE_MAX / 4, DHOLE_F32), "SIZE_MAX");
    expect_invalid(r, dhole_all_to_all(g, &byte, &byte, 1, (dhole_dtype)-1), "-1");
    expect_invalid(r, dhole_sendrecv(g, &byte, 1, r->size, &byte, 1, 0, DHOLE_U8), "to is");
    expect_invalid(r, dhole_sendrecv(g, &byte, 1, 0, &byte, 1, -1, DHOLE_U8), "from is -1");
    expect_invalid(r, dhole_sendrecv(g, &byte, 1, 0, &byte, SIZE_MAX, 0, DHOLE_F64), "SIZE_MAX");
    expect_invalid(r, dhole_send(g, &byte, 1, DHOLE_U8, 99), "99");
    expect_invalid(r, dhole_set_timeout(g, 0), "timeout");
    expect_invalid(r, dhole_set_timeout(g, -1), "-1");
    expect_invalid(r, dhole_set_next_timeout(g, 0), "timeout");
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
    ASSERT_OK(dhole_sum_scatter(r->group, in, in, 3, DHOLE_F32));
    ASSERT_OK(dhole_all_to_all(r->group, in, in, 3, DHOLE_F32));
    ASSERT_OK(dhole_all_to_all(r->group, in, out, 3, DHOLE_F32));
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
    ASSERT_OK(dhole_sum_scatter(r->group, NULL, NULL, 0, DHOLE_F32));
    ASSERT_OK(dhole_all_to_all(r->group, NULL, NULL, 0, DHOLE_F32));
    ASSERT_OK(dhole_sendrecv(r->group, NULL, 0, r->rank, NULL, 0, r->rank, DHOLE_F32));
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
    ranks_meet(r);
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
    bytes = sealed
                ? after.sealed_bytes - before.sealed_bytes
                : after.plain_bytes + after.memory_bytes - before.plain_bytes - before.memory_bytes;
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
    ASSERT(dhole_is_available("shm"));
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

/* The short deadline holds for one call: rank 0's second message comes after it. */
static void hurry_once(struct rank *r)
{
    const struct timespec late = {0, 150000000};
    int64_t begin = now_ms();
    int32_t got = 0;

    if (r->rank == 1) {
        ASSERT_OK(dhole_send(r->group, &r->rank, 1, DHOLE_I32, 0));
        ranks_meet(r);
        nanosleep(&late, NULL);
        ASSERT_OK(dhole_send(r->group, &r->rank, 1, DHOLE_I32, 0));
        ranks_meet(r); /* until rank 0 gave up */
        return;
    }
    ASSERT_OK(dhole_set_next_timeout(r->group, patient(5000)));
    ASSERT_ERR(dhole_recv(r->group, &got, 1, DHOLE_I32, 99), DHOLE_ERR_INVALID);
    ASSERT_OK(dhole_recv(r->group, &got, 1, DHOLE_I32, 1));
    ASSERT_OK(dhole_set_next_timeout(r->group, 50));
    ASSERT_ERR(dhole_recv(r->group, &got, 1, DHOLE_I32, 99), DHOLE_ERR_INVALID); /* not used up */
    ASSERT_OK(dhole_send(r->group, &got, 1, DHOLE_I32, 0));                      /* used up */
    begin = now_ms();
    ranks_meet(r);
    ASSERT_OK(dhole_recv(r->group, &got, 1, DHOLE_I32, 1));
    ASSERT_MSG(now_ms() - begin >= 100, "the message came after %lld ms: too early for this test",
               (long long)(now_ms() - begin));
    ASSERT_OK(dhole_set_next_timeout(r->group, 50));
    begin = now_ms();
    ASSERT_ERR(dhole_recv(r->group, &got, 1, DHOLE_I32, 1), DHOLE_ERR_TIMEOUT);
    ASSERT(now_ms() - begin >= 50 && now_ms() - begin < patient(4000));
    ranks_meet(r);
}

ON_EVERY_BACKEND(the_deadline_of_the_next_call_alone)
{
    run_group(backend, 2, hurry_once, NULL);
}

static void allocate(struct rank *r)
{
    static const size_t sizes[] = {0, 1, 4097, 5 << 20};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *memory = NULL;
        ASSERT_OK(dhole_alloc(r->group, sizes[i], (void **)&memory));
        ASSERT(memory != NULL && (uintptr_t)memory % 4096 == 0);
        memset(memory, r->rank, sizes[i]);
        ASSERT_OK(dhole_broadcast(r->group, memory, sizes[i], DHOLE_U8, 1));
        ASSERT(sizes[i] == 0 || (memory[0] == 1 && memory[sizes[i] - 1] == 1));
        dhole_dealloc(r->group, memory);
    }
    dhole_dealloc(r->group, NULL);
}

ON_EVERY_BACKEND(memory_of_the_group)
{
    run_group(backend, 3, allocate, NULL);
}

static void *little_memory(size_t align, size_t size)
{
    return size > 1 << 20 ? NULL : aligned_alloc(align, size);
}

static void allocate_too_much(struct rank *r)
{
    void *memory = &memory;

    ASSERT_ERR(dhole_alloc(r->group, SIZE_MAX, &memory), DHOLE_ERR_NOMEM);
    ASSERT_ERR(dhole_alloc(r->group, 2 << 20, &memory), DHOLE_ERR_NOMEM);
    ASSERT(memory == &memory);
    ASSERT_OK(dhole_barrier(r->group)); /* not broken */
}

ON_EVERY_BACKEND(memory_that_nobody_has)
{
    dhole__sys.aligned_alloc = little_memory;
    run_group(backend, 2, allocate_too_much, NULL);
}
