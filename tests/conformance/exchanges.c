/* sum_scatter, all_to_all and sendrecv on every type, for counts, rank numbers and both placements,
 * and messages of a rank to itself. */
#include <stdint.h>

#include "data.h"
#include "harness.h"

enum { large = (1 << 17) + 3 }; /* elements of a part */

static const size_t small_counts[] = {0, 1, 5, 257};

/* Calls check(r, dtype, count, in_place) for all types and small counts, and for a large one. */
static void on_types_and_counts(struct rank *r, void (*check)(struct rank *r, dhole_dtype dtype,
                                                              size_t count, bool in_place))
{
    for (int in_place = 0; in_place < 2; in_place++) {
        for (int dtype = DHOLE_BOOL; dtype <= DHOLE_C64; dtype++)
            for (size_t c = 0; c < sizeof small_counts / sizeof small_counts[0]; c++)
                check(r, (dhole_dtype)dtype, small_counts[c], in_place);
        check(r, DHOLE_BF16, large, in_place);
        check(r, DHOLE_F64, large, in_place);
    }
}

static void check_sum_scatter(struct rank *r, dhole_dtype dtype, size_t count, bool in_place)
{
    unsigned seed = (unsigned)count * 16 + (unsigned)dtype;
    size_t bytes = count * dhole_dtype_size(dtype), all = (size_t)r->size * count;
    uint8_t *in = malloc((size_t)r->size * bytes + 1), *apart = malloc(bytes + 1);
    uint8_t *out = in_place ? in + (size_t)r->rank * bytes : apart;
    uint8_t *sum = malloc((size_t)r->size * bytes + 1);

    fill_numbers(dtype, r->rank, seed, in, all);
    ASSERT_OK(dhole_sum_scatter(r->group, in, out, count, dtype));
    ranks_show(r, out, bytes, sum);
    if (r->rank == 0)
        ASSERT_MSG(first_wrong(DHOLE__SUM, dtype, r->size, seed, fill_numbers, sum, all) == all,
                   "sum_scatter of %zu %s on %d ranks", count, dhole_dtype_name(dtype), r->size);
    free(in);
    free(apart);
    free(sum);
}

static void sum_scatters(struct rank *r)
{
    on_types_and_counts(r, check_sum_scatter);
}

ON_EVERY_BACKEND(sum_scatters_of_every_type)
{
    run_group_of_each_size(backend, sum_scatters, NULL);
}

/* What one rank has for another. */
static void fill_part(dhole_dtype dtype, int from, int to, uint8_t *data, size_t count)
{
    fill_anything(dtype, from * 8 + to, (unsigned)count, data, count);
}

/* Ranks may differ in whether they do it in place. */
static void check_all_to_all(struct rank *r, dhole_dtype dtype, size_t count, bool in_place)
{
    size_t bytes = count * dhole_dtype_size(dtype);
    uint8_t *in = malloc((size_t)r->size * bytes + 1);
    uint8_t *apart = malloc((size_t)r->size * bytes + 1), *want = malloc(bytes + 1);
    uint8_t *out = in_place && r->rank != 1 ? in : apart;

    for (int to = 0; to < r->size; to++)
        fill_part(dtype, r->rank, to, in + (size_t)to * bytes, count);
    ASSERT_OK(dhole_all_to_all(r->group, in, out, count, dtype));
    for (int from = 0; from < r->size; from++) {
        fill_part(dtype, from, r->rank, want, count);
        ASSERT_MSG(memcmp(out + (size_t)from * bytes, want, bytes) == 0,
                   "all_to_all of %zu %s on %d ranks: the part of %d for %d is wrong", count,
                   dhole_dtype_name(dtype), r->size, from, r->rank);
    }
    free(in);
    free(apart);
    free(want);
}

static void all_to_alls(struct rank *r)
{
    on_types_and_counts(r, check_all_to_all);
}

ON_EVERY_BACKEND(all_to_alls_of_every_type)
{
    run_group_of_each_size(backend, all_to_alls, NULL);
}

/* Around the ring; each rank's message has a length of its own. With one rank, to itself. */
static void check_sendrecv(struct rank *r, dhole_dtype dtype, size_t count, bool backwards)
{
    int next = (r->rank + 1) % r->size, previous = (r->rank + r->size - 1) % r->size;
    int to = backwards ? previous : next, from = backwards ? next : previous;
    size_t in_count = count + (size_t)r->rank, out_count = count + (size_t)from;
    size_t element = dhole_dtype_size(dtype);
    uint8_t *in = malloc(in_count * element + 1), *out = malloc(out_count * element + 1);
    uint8_t *want = malloc(out_count * element + 1);

    fill_part(dtype, r->rank, to, in, in_count);
    fill_part(dtype, from, r->rank, want, out_count);
    ASSERT_OK(dhole_sendrecv(r->group, in, in_count, to, out, out_count, from, dtype));
    ASSERT_MSG(memcmp(out, want, out_count * element) == 0, "sendrecv of %zu %s on %d ranks", count,
               dhole_dtype_name(dtype), r->size);
    free(in);
    free(out);
    free(want);
}

static void sendrecvs(struct rank *r)
{
    on_types_and_counts(r, check_sendrecv);
}

ON_EVERY_BACKEND(sendrecvs_around_a_ring)
{
    run_group_of_each_size(backend, sendrecvs, NULL);
}

/* On the wire it is a send and a receive. */
static void swap_with_send_and_recv(struct rank *r)
{
    int32_t own[3] = {r->rank, 1, 2}, other[3] = {0};

    if (r->rank == 0) {
        ASSERT_OK(dhole_sendrecv(r->group, own, 3, 1, other, 2, 1, DHOLE_I32));
        ASSERT_EQ(other[0], 1);
        ASSERT_EQ(other[2], 0);
    } else {
        ASSERT_OK(dhole_send(r->group, own, 2, DHOLE_I32, 0));
        ASSERT_OK(dhole_recv(r->group, other, 3, DHOLE_I32, 0));
        ASSERT_EQ(other[2], 2);
    }
    ASSERT_OK(dhole_sendrecv(r->group, own, 1, !r->rank, other, 1, !r->rank, DHOLE_I32));
    ASSERT_EQ(other[0], !r->rank);
}

ON_EVERY_BACKEND(sendrecv_meets_send_and_recv)
{
    run_group(backend, 2, swap_with_send_and_recv, NULL);
}

static void talk_to_oneself(struct rank *r)
{
    int32_t integers[2] = {r->rank, 7}, got[2] = {0};
    double real = r->rank + 0.5, got_real = 0;

    ASSERT_OK(dhole_send(r->group, integers, 2, DHOLE_I32, r->rank));
    integers[0] = -1; /* it was copied */
    ASSERT_OK(dhole_send(r->group, &real, 1, DHOLE_F64, r->rank));
    ASSERT_OK(dhole_send(r->group, NULL, 0, DHOLE_U8, r->rank));
    ASSERT_OK(dhole_barrier(r->group));
    ASSERT_OK(dhole_recv(r->group, got, 2, DHOLE_I32, r->rank));
    ASSERT_OK(dhole_recv(r->group, &got_real, 1, DHOLE_F64, r->rank));
    ASSERT_OK(dhole_recv(r->group, NULL, 0, DHOLE_U8, r->rank));
    ASSERT(got[0] == r->rank && got[1] == 7 && got_real == real);
    ASSERT_OK(dhole_sendrecv(r->group, &real, 1, r->rank, &got_real, 1, r->rank, DHOLE_F64));
    ASSERT_OK(dhole_send(r->group, &real, 1, DHOLE_F64, r->rank)); /* left behind: freed */
}

ON_EVERY_BACKEND(a_rank_sends_to_itself)
{
    run_group_of_each_size(backend, talk_to_oneself, NULL);
}

/* One end of a sendrecv is this rank itself. */
static void send_one_way_receive_another(struct rank *r)
{
    int32_t own = 10 + r->rank, got = 0, late = 0;

    if (r->rank == 0) {
        ASSERT_OK(dhole_sendrecv(r->group, &own, 1, 0, &got, 1, 1, DHOLE_I32));
        ASSERT_EQ(got, 11);
        ASSERT_OK(dhole_sendrecv(r->group, &own, 1, 1, &late, 1, 0, DHOLE_I32));
        ASSERT_EQ(late, 10);
    } else {
        ASSERT_OK(dhole_send(r->group, &own, 1, DHOLE_I32, 0));
        ASSERT_OK(dhole_recv(r->group, &got, 1, DHOLE_I32, 0));
        ASSERT_EQ(got, 10);
    }
}

ON_EVERY_BACKEND(a_sendrecv_with_one_end_at_home)
{
    run_group(backend, 2, send_one_way_receive_another, NULL);
}
