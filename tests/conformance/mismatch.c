/* Ranks that disagree: DHOLE_ERR_MISMATCH on all of them, in time, with both sides quoted. */
#include <stdint.h>

#include "harness.h"

enum { big = 1 << 20, in_time_ms = 4000 };

static float *buffer_of(const struct rank *r)
{
    static float buffers[ranks_max][2 * big];

    return buffers[r->rank];
}

typedef dhole_err one_call(struct rank *r);

static dhole_err sum_5(struct rank *r)
{
    return dhole_all_sum(r->group, buffer_of(r), buffer_of(r), 5, DHOLE_F32);
}

static dhole_err sum_6(struct rank *r)
{
    return dhole_all_sum(r->group, buffer_of(r), buffer_of(r), 6, DHOLE_F32);
}

static dhole_err sum_big(struct rank *r)
{
    return dhole_all_sum(r->group, buffer_of(r), buffer_of(r), big, DHOLE_F32);
}

static dhole_err sum_5_integers(struct rank *r)
{
    return dhole_all_sum(r->group, buffer_of(r), buffer_of(r), 5, DHOLE_I32);
}

static dhole_err max_5(struct rank *r)
{
    return dhole_all_max(r->group, buffer_of(r), buffer_of(r), 5, DHOLE_F32);
}

static dhole_err gather_5(struct rank *r)
{
    float *data = buffer_of(r);

    return dhole_all_gather(r->group, data, data + big, 5, DHOLE_F32);
}

static dhole_err gather_nothing(struct rank *r)
{
    return dhole_all_gather(r->group, NULL, NULL, 0, DHOLE_F32);
}

static dhole_err broadcast_from_0(struct rank *r)
{
    return dhole_broadcast(r->group, buffer_of(r), 5, DHOLE_F32, 0);
}

static dhole_err broadcast_from_1(struct rank *r)
{
    return dhole_broadcast(r->group, buffer_of(r), 5, DHOLE_F32, 1);
}

static dhole_err barrier(struct rank *r)
{
    return dhole_barrier(r->group);
}

static dhole_err to_other(struct rank *r, size_t count, dhole_dtype dtype)
{
    return dhole_send(r->group, buffer_of(r), count, dtype, r->rank == 0 ? 1 : 0);
}

static dhole_err from_other(struct rank *r, size_t count, dhole_dtype dtype)
{
    return dhole_recv(r->group, buffer_of(r), count, dtype, r->rank == 0 ? 1 : 0);
}

static dhole_err send_5(struct rank *r)
{
    return to_other(r, 5, DHOLE_F32);
}

static dhole_err recv_6(struct rank *r)
{
    return from_other(r, 6, DHOLE_F32);
}

static dhole_err recv_big(struct rank *r)
{
    return from_other(r, big, DHOLE_F32);
}

static dhole_err recv_5_halves(struct rank *r)
{
    return from_other(r, 5, DHOLE_F16);
}

static const struct disagreement {
    const char *name;
    one_call *last; /* what the last rank calls */
    one_call *others;
    const char *quotes[2];
} disagreements[] = {
    {"operation", max_5, sum_5, {"all_max", "all_sum"}},
    {"type", sum_5_integers, sum_5, {"int32", "float32"}},
    {"count", sum_6, sum_5, {"of 6", "of 5"}},
    {"small and large", sum_5, sum_big, {"of 5", "of 1048576"}},
    {"large and small", sum_big, sum_5, {"of 1048576", "of 5"}},
    {"order", barrier, sum_5, {"barrier", "all_sum"}},
    {"nothing and something", gather_nothing, gather_5, {"of 0", "of 5"}},
};

/* A rank whose own part is done may learn of it in its next call only. */
static void disagree(struct rank *r)
{
    const struct disagreement *d = r->arg;
    int64_t begin = now_ms();
    dhole_err err = (r->rank == r->size - 1 ? d->last : d->others)(r);

    if (err == DHOLE_OK)
        err = dhole_barrier(r->group);
    ASSERT_MSG(err == DHOLE_ERR_MISMATCH, "%s: rank %d of %d got %s (%s)", d->name, r->rank,
               r->size, dhole_error_name(err), dhole_error_message());
    ASSERT_MSG(now_ms() - begin < patient(in_time_ms), "%s: rank %d heard after %lld ms", d->name,
               r->rank, (long long)(now_ms() - begin));
    for (int i = 0; i < 2; i++)
        ASSERT_MSG(strstr(dhole_error_message(), d->quotes[i]) != NULL, "%s: no \"%s\" in \"%s\"",
                   d->name, d->quotes[i], dhole_error_message());
    ASSERT_ERR(dhole_barrier(r->group), DHOLE_ERR_MISMATCH);
}

ON_EVERY_BACKEND(disagreements_of_all_ranks)
{
    for (size_t i = 0; i < sizeof disagreements / sizeof disagreements[0]; i++) {
        run_group(backend, 2, disagree, (void *)&disagreements[i]);
        run_group(backend, 3, disagree, (void *)&disagreements[i]);
    }
}

/* Where one side only sends, or only receives: with a third rank, who meets whom first is open. */
static const struct disagreement disagreements_of_two[] = {
    {"root", broadcast_from_1, broadcast_from_0, {"broadcast", "barrier"}},
    {"collectives", broadcast_from_0, gather_5, {"broadcast", "all_gather"}},
    {"message's count", recv_6, send_5, {"of 6", "of 5"}},
    {"message's type", recv_5_halves, send_5, {"float16", "float32"}},
    {"message far too short", recv_big, send_5, {"of 1048576", "of 5"}},
    {"message and collective", recv_6, sum_5, {"send/recv", "all_sum"}},
};

ON_EVERY_BACKEND(disagreements_of_two_ranks)
{
    for (size_t i = 0; i < sizeof disagreements_of_two / sizeof disagreements_of_two[0]; i++)
        run_group(backend, 2, disagree, (void *)&disagreements_of_two[i]);
}

/* The data that a mismatched receive was to fill stay within its buffer. */
static void receive_too_little(struct rank *r)
{
    uint8_t *small = malloc(16);
    static uint8_t large[100000];

    if (r->rank == 0) {
        dhole_err err = dhole_send(r->group, large, sizeof large, DHOLE_U8, 1);
        if (err == DHOLE_OK)
            err = dhole_barrier(r->group);
        ASSERT_ERR(err, DHOLE_ERR_MISMATCH);
    } else {
        memset(small, 0xa5, 16);
        ASSERT_ERR(dhole_recv(r->group, small, 8, DHOLE_U8, 0), DHOLE_ERR_MISMATCH);
        for (int i = 8; i < 16; i++)
            ASSERT_EQ(small[i], 0xa5);
    }
    free(small);
}

ON_EVERY_BACKEND(a_longer_message_does_not_overrun)
{
    run_group(backend, 2, receive_too_little, NULL);
}
