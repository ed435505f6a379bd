/* Ranks that disagree: DHOLE_ERR_MISMATCH on all of them, in time, with both sides quoted. */
#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "harness.h"

enum { big = 1 << 20, in_time_ms = 4000 };

static float *buffer_of(const struct rank *r)
{
    static float buffers[3][2 * big];

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

static dhole_err scatter_5(struct rank *r)
{
    float *data = buffer_of(r);

    return dhole_sum_scatter(r->group, data, data + big, 5, DHOLE_F32);
}

static dhole_err scatter_big(struct rank *r)
{
    float *data = buffer_of(r);

    return dhole_sum_scatter(r->group, data, data + (size_t)r->rank * (big / 2), big / 2,
                             DHOLE_F32);
}

static dhole_err exchange_5(struct rank *r)
{
    float *data = buffer_of(r);

    return dhole_all_to_all(r->group, data, data + big, 5, DHOLE_F32);
}

static dhole_err exchange_5_integers(struct rank *r)
{
    float *data = buffer_of(r);

    return dhole_all_to_all(r->group, data, data + big, 5, DHOLE_I32);
}

static dhole_err exchange_big(struct rank *r)
{
    return dhole_all_to_all(r->group, buffer_of(r), buffer_of(r), big / 2, DHOLE_F32);
}

static dhole_err broadcast_big_from_0(struct rank *r)
{
    return dhole_broadcast(r->group, buffer_of(r), big, DHOLE_F32, 0);
}

static dhole_err broadcast_less_from_0(struct rank *r)
{
    return dhole_broadcast(r->group, buffer_of(r), big / 2, DHOLE_F32, 0);
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

static dhole_err swap_5_for_5(struct rank *r)
{
    float *data = buffer_of(r);

    return dhole_sendrecv(r->group, data, 5, !r->rank, data + big, 5, !r->rank, DHOLE_F32);
}

static dhole_err swap_5_for_6(struct rank *r)
{
    float *data = buffer_of(r);

    return dhole_sendrecv(r->group, data, 5, !r->rank, data + big, 6, !r->rank, DHOLE_F32);
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
    {"scatter and sum", scatter_5, sum_5, {"sum_scatter", "all_sum"}},
    {"large sum and scatter", sum_big, scatter_big, {"all_sum", "sum_scatter"}},
    {"exchange and gather", exchange_5, gather_5, {"all_to_all", "all_gather"}},
    {"exchanged type", exchange_5_integers, exchange_5, {"int32", "float32"}},
    {"exchanged count", exchange_big, exchange_5, {"of 524288", "of 5"}},
    {"scattered count", scatter_5, scatter_big, {"of 5", "of 524288"}},
    {"large broadcasts", broadcast_less_from_0, broadcast_big_from_0, {"of 524288", "of 1048576"}},
    {"large and small broadcast", broadcast_big_from_0, broadcast_from_0, {"of 1048576", "of 5"}},
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
    {"swapped count", swap_5_for_6, swap_5_for_5, {"of 6", "of 5"}},
    {"swap and collective", swap_5_for_5, exchange_5, {"send/recv", "all_to_all"}},
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

/* What a rank does wrong with itself; the others learn of it too. */
static const struct alone {
    size_t sent, expected; /* 0 sent: nothing at all */
    dhole_dtype type;
    const char *quotes[2];
} alone[] = {
    {0, 5, DHOLE_F32, {"of 5 float32", "nothing"}},
    {6, 5, DHOLE_F32, {"of 5 float32", "6 float32"}},
    {5, 5, DHOLE_I32, {"of 5 int32", "5 float32"}},
};

static void disagree_with_oneself(struct rank *r)
{
    const struct alone *a = r->arg;
    dhole_err err = DHOLE_OK;

    if (r->rank == 1) {
        if (a->sent > 0)
            ASSERT_OK(dhole_send(r->group, buffer_of(r), a->sent, DHOLE_F32, 1));
        err = dhole_recv(r->group, buffer_of(r), a->expected, a->type, 1);
    }
    if (err == DHOLE_OK)
        err = dhole_barrier(r->group);
    ASSERT_ERR(err, DHOLE_ERR_MISMATCH);
    ASSERT_CONTAINS(dhole_error_message(), "rank 1");
    for (int i = 0; i < 2; i++)
        ASSERT_CONTAINS(dhole_error_message(), a->quotes[i]);
}

ON_EVERY_BACKEND(disagreements_with_oneself)
{
    for (size_t i = 0; i < sizeof alone / sizeof alone[0]; i++)
        run_group(backend, 3, disagree_with_oneself, (void *)&alone[i]);
}

/* Disagreements in which nobody sends anything: each waits for another one's part. */
static void take_from_the_next(struct rank *r)
{
    size_t count = *(const size_t *)r->arg;
    int64_t begin = now_ms();

    ASSERT_ERR(dhole_broadcast(r->group, buffer_of(r), count, DHOLE_F32, (r->rank + 1) % r->size),
               DHOLE_ERR_MISMATCH);
    ASSERT(now_ms() - begin < patient(in_time_ms));
    ASSERT_CONTAINS(dhole_error_message(), "root 0");
    ASSERT_CONTAINS(dhole_error_message(), r->size == 2 ? "root 1" : "calls broadcast");
}

ON_EVERY_BACKEND(every_rank_takes_another_for_the_root)
{
    static const size_t counts[] = {0, 5, big};

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        run_group(backend, 2, take_from_the_next, (void *)&counts[i]);
}

static dhole_err take_broadcast_from_1(struct rank *r)
{
    return dhole_broadcast(r->group, buffer_of(r), 5, DHOLE_F32, 1);
}

/* These take their time, and what they show is of the control connections. */
#define ON_SOME_BACKENDS(name)     \
    TEST(name##_mem)               \
    {                              \
        name(&backend_mem);        \
    }                              \
    TEST(name##_shm)               \
    {                              \
        name(&backend_shm);        \
    }                              \
    TEST(name##_tcp_sealed)        \
    {                              \
        name(&backend_tcp_sealed); \
    }

static const struct disagreement deadlocks[] = {
    {"both receive", recv_6, recv_6, {"from rank 0", "from rank 1"}},
    {"a broadcast and a message", recv_6, take_broadcast_from_1, {"from rank 0", "broadcast of 5"}},
};

/* Whose order is wrong, nobody can tell before the time is over. */
static void wait_for_each_other(struct rank *r)
{
    const struct disagreement *d = r->arg;

    ASSERT_OK(dhole_set_timeout(r->group, patient(1000)));
    ASSERT_ERR((r->rank == 1 ? d->last : d->others)(r), DHOLE_ERR_MISMATCH);
    for (int i = 0; i < 2; i++)
        ASSERT_CONTAINS(dhole_error_message(), d->quotes[i]);
}

static void ranks_that_wait_for_each_other(const struct backend *backend)
{
    for (size_t i = 0; i < sizeof deadlocks / sizeof deadlocks[0]; i++)
        run_group(backend, 2, wait_for_each_other, (void *)&deadlocks[i]);
}

ON_SOME_BACKENDS(ranks_that_wait_for_each_other)

/* The same of non-blocking calls: the last request is waited for first. */
static dhole_err wait_all(dhole_request **request, int count)
{
    dhole_err first = DHOLE_OK;

    while (count > 0) {
        dhole_err err = dhole_wait(request[--count]);
        if (first == DHOLE_OK)
            first = err;
    }
    return first;
}

static dhole_err irecv_6(struct rank *r)
{
    dhole_request *request;

    ASSERT_OK(dhole_irecv(r->group, buffer_of(r), 6, DHOLE_F32, !r->rank, &request));
    return wait_all(&request, 1);
}

static dhole_err irecv_6_looking(struct rank *r)
{
    dhole_request *request[2];
    float *data = buffer_of(r);
    int done = 0;
    dhole_err err;

    ASSERT_OK(dhole_irecv(r->group, data, 6, DHOLE_F32, !r->rank, &request[0]));
    ASSERT_OK(dhole_iall_sum(r->group, data + big, data + big, 5, DHOLE_F32, &request[1]));
    do
        err = dhole_test(request[1], &done);
    while (!done);
    ASSERT_ERR(dhole_wait(request[0]), err);
    return err;
}

static dhole_err irecv_twice(struct rank *r)
{
    dhole_request *request[2];
    float *data = buffer_of(r);

    ASSERT_OK(dhole_irecv(r->group, data, 6, DHOLE_F32, !r->rank, &request[0]));
    ASSERT_OK(dhole_irecv(r->group, data + big, 7, DHOLE_F32, !r->rank, &request[1]));
    return wait_all(request, 2);
}

static dhole_err irecv_and_sum(struct rank *r)
{
    dhole_request *request[3];
    float *data = buffer_of(r);

    ASSERT_OK(dhole_irecv(r->group, data, 6, DHOLE_F32, !r->rank, &request[0]));
    ASSERT_OK(dhole_iall_sum(r->group, data + big, data + big, 5, DHOLE_F32, &request[1]));
    ASSERT_OK(dhole_isend(r->group, data, 6, DHOLE_F32, !r->rank, &request[2]));
    return wait_all(request, 3);
}

static dhole_err ibroadcast_from_1(struct rank *r)
{
    dhole_request *request;

    ASSERT_OK(dhole_ibroadcast(r->group, buffer_of(r), 5, DHOLE_F32, 1, &request));
    return wait_all(&request, 1);
}

/* One receives more often than the other sends, and that one then waits for an answer. */
static dhole_err isend_then_irecv(struct rank *r)
{
    dhole_request *request[2];
    float *data = buffer_of(r);

    ASSERT_OK(dhole_isend(r->group, data, 6, DHOLE_F32, !r->rank, &request[0]));
    ASSERT_OK(dhole_irecv(r->group, data + big, 8, DHOLE_F32, !r->rank, &request[1]));
    return wait_all(request, 2);
}

static const struct disagreement requested[] = {
    {"both wait", irecv_6, irecv_6, {"from rank 0", "from rank 1"}},
    {"one blocks", recv_6, irecv_6, {"from rank 0", "from rank 1"}},
    {"a requested broadcast", irecv_6, ibroadcast_from_1, {"from rank 0", "broadcast of 5"}},
    {"a broadcast", irecv_6, take_broadcast_from_1, {"from rank 0", "broadcast of 5"}},
    {"a collective behind", irecv_6_looking, take_broadcast_from_1, {"from rank 0", "of 5"}},
    {"what is behind", irecv_and_sum, irecv_and_sum, {"from rank 0", "from rank 1"}},
    {"count of messages", irecv_twice, isend_then_irecv, {"of 7 float32", "of 8 float32"}},
};

static void requests_that_wait_for_each_other(const struct backend *backend)
{
    run_group(backend, 2, wait_for_each_other, (void *)&requested[0]);
}

ON_SOME_BACKENDS(requests_that_wait_for_each_other)

/* Each takes its time: they take turns on the backends. */
TEST(requests_and_calls_that_wait_for_each_other)
{
    static const struct backend *const backends[] = {&backend_mem, &backend_shm,
                                                     &backend_tcp_sealed};

    for (size_t i = 1; i < sizeof requested / sizeof requested[0]; i++)
        run_group(backends[i % 3], 2, wait_for_each_other, (void *)&requested[i]);
}

static void *fail_to_receive(void *request)
{
    ASSERT_ERR(dhole_wait(request), DHOLE_ERR_MISMATCH);
    return NULL;
}

/* Ranks 0 and 1 wait for each other, whatever rank 2 does; all learn it. */
static void wait_beside_another(struct rank *r)
{
    dhole_request *request[2];
    float *data = buffer_of(r);

    ASSERT_OK(dhole_set_timeout(r->group, patient(1000)));
    if (r->rank < 2) {
        ASSERT_OK(dhole_irecv(r->group, data, 5, DHOLE_F32, 2, &request[0]));
        ASSERT_OK(dhole_irecv(r->group, data + big, 6, DHOLE_F32, !r->rank, &request[1]));
        ASSERT_ERR(wait_all(request, 2), DHOLE_ERR_MISMATCH);
    }
    ranks_meet(r);
    ASSERT_ERR(dhole_barrier(r->group), DHOLE_ERR_MISMATCH);
    ASSERT_CONTAINS(dhole_error_message(), "rank 0 calls send/recv of 6");
    ASSERT_CONTAINS(dhole_error_message(), "rank 1 calls send/recv of 6");
}

static dhole_err call_in_order(struct rank *r, int number, dhole_request **request)
{
    float *data = buffer_of(r);

    if ((number == 0) != (r->rank == 0))
        return dhole_iall_sum(r->group, data + big, data + big, 5, DHOLE_F32, request);
    if (r->rank == 0)
        return dhole_irecv(r->group, data, 6, DHOLE_F32, 1, request);
    return dhole_isend(r->group, data, 6, DHOLE_F32, 0, request);
}

/* Of three ranks that make the same calls in another order some wait for each other, whether the
 * others have made their calls by then or not. */
static void order_otherwise(struct rank *r)
{
    dhole_request *request[2];
    dhole_err err = DHOLE_OK;
    int calls = 0;

    ASSERT_OK(dhole_set_timeout(r->group, patient(1000)));
    while (calls < 2 && (err = call_in_order(r, calls, &request[calls])) == DHOLE_OK)
        calls++;
    if (calls > 0)
        ASSERT_ERR(wait_all(request, calls), DHOLE_ERR_MISMATCH);
    ASSERT(!err || err == DHOLE_ERR_MISMATCH);
    ASSERT_CONTAINS(dhole_error_message(), "rank 0 calls send/recv of 6");
    ASSERT_CONTAINS(dhole_error_message(), "calls all_sum of 5");
}

/* Rank 0 has no time to sleep: it exchanges messages with rank 2, without an end. */
static void wait_in_traffic(struct rank *r)
{
    dhole_request *request;
    pthread_t thread;
    dhole_err err = DHOLE_OK;
    float *data = buffer_of(r);

    ASSERT_OK(dhole_set_timeout(r->group, patient(1000)));
    if (r->rank == 0) {
        ASSERT_OK(dhole_irecv(r->group, data, 5, DHOLE_F32, 1, &request));
        ASSERT(pthread_create(&thread, NULL, fail_to_receive, request) == 0);
    }
    while (err == DHOLE_OK && r->rank != 1)
        err = dhole_sendrecv(r->group, data + big, 7, 2 - r->rank, data + 2 * big - 7, 7,
                             2 - r->rank, DHOLE_F32);
    if (r->rank == 1)
        err = dhole_recv(r->group, data, 6, DHOLE_F32, 0);
    ASSERT_ERR(err, DHOLE_ERR_MISMATCH);
    ASSERT_CONTAINS(dhole_error_message(), "rank 0 calls send/recv of 5");
    ASSERT_CONTAINS(dhole_error_message(), "rank 1 calls send/recv of 6");
    if (r->rank == 0)
        pthread_join(thread, NULL);
}

TEST(waits_of_three_ranks)
{
    run_group(&backend_mem, 3, wait_in_traffic, NULL);
    run_group(&backend_shm, 3, wait_beside_another, NULL);
    run_group(&backend_tcp_sealed, 3, order_otherwise, NULL);
}

/* A receive from this rank itself may be posted first, but the send has to come. */
static void wait_for_oneself(struct rank *r)
{
    ASSERT_OK(dhole_set_timeout(r->group, patient(1000)));
    if (r->rank == 1) {
        dhole_request *request;
        ASSERT_OK(dhole_irecv(r->group, buffer_of(r), 5, DHOLE_F32, 1, &request));
        ASSERT_ERR(dhole_wait(request), DHOLE_ERR_MISMATCH);
    }
    ranks_meet(r);
    ASSERT_ERR(dhole_barrier(r->group), DHOLE_ERR_MISMATCH);
    ASSERT_CONTAINS(dhole_error_message(), "rank 1 calls send/recv of 5 float32");
    ASSERT_CONTAINS(dhole_error_message(), "from rank 1, and nothing else");
}

TEST(a_rank_that_waits_for_itself)
{
    run_group(&backend_mem, 2, wait_for_oneself, NULL);
}

static void pass_ms(int64_t ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};

    while (nanosleep(&time, &time) != 0)
        ;
}

static void *receive(void *request)
{
    ASSERT_OK(dhole_wait(request));
    return NULL;
}

/* Both wait for a while, but rank 0 has a thread that does not. */
static void answer_late(struct rank *r)
{
    float *data = buffer_of(r);

    if (r->rank == 0) {
        dhole_request *request;
        pthread_t thread;
        ASSERT_OK(dhole_irecv(r->group, data, 5, DHOLE_F32, 1, &request));
        ASSERT(pthread_create(&thread, NULL, receive, request) == 0);
        pass_ms(600);
        ASSERT_OK(dhole_send(r->group, data + big, 5, DHOLE_F32, 1));
        pthread_join(thread, NULL);
    } else {
        ASSERT_OK(dhole_recv(r->group, data, 5, DHOLE_F32, 0));
        ASSERT_OK(dhole_send(r->group, data + big, 5, DHOLE_F32, 0));
    }
}

/* Who does not wait is late. */
static void go_on_without_waiting(struct rank *r)
{
    dhole_request *request;

    ASSERT_OK(dhole_set_timeout(r->group, patient(800)));
    if (r->rank == 1)
        ASSERT_OK(dhole_set_next_timeout(r->group, patient(20000)));
    ASSERT_OK(dhole_irecv(r->group, buffer_of(r), 5, DHOLE_F32, !r->rank, &request));
    if (r->rank == 1)
        ranks_meet(r);
    ASSERT_ERR(dhole_wait(request), DHOLE_ERR_TIMEOUT);
    ASSERT_CONTAINS(dhole_error_message(), "rank 1 did not send its part in time");
    if (r->rank == 0)
        ranks_meet(r);
}

/* What is waited for late is told as well. */
static void begin_to_wait_late(struct rank *r)
{
    dhole_request *request;

    ASSERT_OK(dhole_set_timeout(r->group, patient(1500)));
    ASSERT_OK(dhole_irecv(r->group, buffer_of(r), 5, DHOLE_F32, !r->rank, &request));
    if (r->rank == 0)
        pass_ms(patient(500));
    ASSERT_ERR(dhole_wait(request), DHOLE_ERR_MISMATCH);
}

TEST(waiting_and_being_late_are_told_apart)
{
    run_group(&backend_mem, 2, answer_late, NULL);
    run_group(&backend_shm, 2, go_on_without_waiting, NULL);
    run_group(&backend_tcp, 2, begin_to_wait_late, NULL);
}

/* Rank 0 calls on one group, the others on another: both are told of both. */
static void call_on(struct rank *r, dhole_group *one, dhole_group *other)
{
    bool requests = r->arg != NULL;
    float *data = buffer_of(r);
    dhole_request *request;
    dhole_err err;

    ASSERT_OK(dhole_set_timeout(one, patient(1000)));
    ASSERT_OK(dhole_set_timeout(other, patient(1000)));
    if (requests) {
        ASSERT_OK(r->rank == 0
                      ? dhole_iall_sum(one, data, data, 5, DHOLE_F32, &request)
                      : dhole_iall_gather(other, data, data + big, 3, DHOLE_F32, &request));
        err = dhole_wait(request);
    } else {
        err = r->rank == 0 ? dhole_all_sum(one, data, data, 5, DHOLE_F32)
                           : dhole_all_gather(other, data, data + big, 3, DHOLE_F32);
    }
    ASSERT_MSG(err == DHOLE_ERR_MISMATCH, "rank %d got %s (%s)", r->rank, dhole_error_name(err),
               dhole_error_message());
    ASSERT_CONTAINS(dhole_error_message(), "all_sum of 5 float32");
    ASSERT_CONTAINS(dhole_error_message(), "all_gather of 3 float32");
    ASSERT_CONTAINS(dhole_error_message(), r->options.session);
    ASSERT_ERR(dhole_barrier(one), DHOLE_ERR_MISMATCH);
    ASSERT_ERR(dhole_barrier(other), DHOLE_ERR_MISMATCH);
}

static void call_on_a_part(struct rank *r)
{
    dhole_group *part, *turned;

    ASSERT_OK(dhole_split(r->group, r->rank < 2 ? 0 : -1, r->size - r->rank, &turned));
    ASSERT_OK(dhole_split(r->group, r->rank < 2 ? 0 : -1, 0, &part));
    if (r->rank < 2)
        call_on(r, turned, part);
    ranks_meet(r);
    dhole_group_free(part);
    dhole_group_free(turned);
}

static void call_on_another(struct rank *r)
{
    dhole_group *other;

    r->options.session = "another";
    ASSERT_OK(dhole_init(&r->options, &other));
    ranks_meet(r);
    call_on(r, r->group, other);
    ranks_meet(r);
    dhole_group_free(other);
}

static void ranks_that_call_on_different_groups(const struct backend *backend)
{
    static bool requests = true;

    run_group(backend, 2, call_on_a_part, NULL);
    run_group(backend, 3, call_on_a_part, NULL);
    run_group(backend, 2, call_on_another, NULL);
    run_group(backend, 2, call_on_another, &requests);
}

ON_SOME_BACKENDS(ranks_that_call_on_different_groups)

/* Late is not different: rank 1 waits in the other group for a rank that is not late, and rank 2
 * for nobody. */
static void be_late(struct rank *r)
{
    dhole_group *pair;
    float *data = buffer_of(r);

    ASSERT_OK(dhole_split(r->group, r->rank < 2 ? 0 : -1, 0, &pair));
    ASSERT_OK(dhole_set_timeout(r->group, patient(800)));
    if (r->rank < 2) {
        ASSERT_ERR(dhole_all_sum(r->group, data, data, 5, DHOLE_F32), DHOLE_ERR_TIMEOUT);
        ASSERT_CONTAINS(dhole_error_message(), "rank 2");
        ASSERT_OK(dhole_barrier(pair));
    }
    ranks_meet(r);
    dhole_group_free(pair);
}

static void who_is_late_does_not_disagree(const struct backend *backend)
{
    run_group(backend, 3, be_late, NULL);
}

ON_SOME_BACKENDS(who_is_late_does_not_disagree)
