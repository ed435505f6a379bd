/* Groups that break: a rank that does not come, leaves, or aborts. */
#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "harness.h"

enum { short_ms = 200, in_time_ms = 4000 };

static float data[3][1 << 20];

static const size_t counts[] = {0, 3, 1 << 20};

/* A rank that comes when the others gave up may find their parts waiting, and learns in its next
 * call. */
static dhole_err sum(struct rank *r, size_t count)
{
    float *own = data[r->rank];
    dhole_err err = dhole_all_sum(r->group, own, own, count, DHOLE_F32);

    return err ? err : dhole_barrier(r->group);
}

/* One of three ranks does not call. */
static void miss_a_call(struct rank *r)
{
    size_t count = *(const size_t *)r->arg;
    int64_t begin = now_ms(), took;

    if (r->rank == 1)
        ranks_meet(r); /* until the others gave up */
    ASSERT_OK(dhole_set_timeout(r->group, patient(short_ms)));
    ASSERT_ERR(sum(r, count), DHOLE_ERR_TIMEOUT);
    took = now_ms() - begin;
    ASSERT_CONTAINS(dhole_error_message(), "rank 1");
    ASSERT_CONTAINS(dhole_error_message(), "all_sum");
    if (r->rank != 1) {
        /* Whichever of the two is first tells the other, so one may be earlier than its own
         * deadline by as much as it began later. */
        ASSERT_MSG(took >= patient(short_ms) / 2 && took < patient(in_time_ms),
                   "rank %d gave up after %lld ms", r->rank, (long long)took);
        ranks_meet(r);
    }
}

ON_EVERY_BACKEND(a_rank_that_does_not_come_is_named_at_the_deadline)
{
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        run_group(backend, 3, miss_a_call, (void *)&counts[i]);
}

static void miss_a_message(struct rank *r)
{
    int64_t begin = now_ms();

    if (r->rank == 0) {
        ASSERT_OK(dhole_set_timeout(r->group, short_ms));
        ASSERT_ERR(dhole_recv(r->group, data[0], 1, DHOLE_F32, 1), DHOLE_ERR_TIMEOUT);
        ASSERT(now_ms() - begin >= short_ms && now_ms() - begin < patient(in_time_ms));
        ASSERT_CONTAINS(dhole_error_message(), "rank 1");
    }
    ranks_meet(r);
}

ON_EVERY_BACKEND(a_message_that_does_not_come_is_a_timeout)
{
    run_group(backend, 2, miss_a_message, NULL);
}

/* Nobody receives: the stream fills up, and the sender does not hang. */
static void send_to_the_deaf(struct rank *r)
{
    dhole_err err = DHOLE_OK;

    if (r->rank == 0) {
        ASSERT_OK(dhole_set_timeout(r->group, short_ms));
        for (int i = 0; i < 64 && err == DHOLE_OK; i++)
            err = dhole_send(r->group, data[0], 1 << 20, DHOLE_F32, 1);
        ASSERT_ERR(err, DHOLE_ERR_TIMEOUT);
        ASSERT_CONTAINS(dhole_error_message(), "rank 1");
    }
    ranks_meet(r);
}

ON_EVERY_BACKEND(sending_to_who_does_not_receive_is_a_timeout)
{
    run_group(backend, 2, send_to_the_deaf, NULL);
}

static void leave_early(struct rank *r)
{
    size_t count = *(const size_t *)r->arg;
    int64_t begin;

    if (r->rank == 2) {
        dhole_group_free(r->group);
        r->group = NULL;
        return;
    }
    begin = now_ms();
    ASSERT_ERR(sum(r, count), DHOLE_ERR_PEER_LOST);
    ASSERT(now_ms() - begin < patient(in_time_ms));
    ASSERT_CONTAINS(dhole_error_message(), "rank 2");
}

ON_EVERY_BACKEND(a_rank_that_leaves_is_lost_to_the_others)
{
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        run_group(backend, 3, leave_early, (void *)&counts[i]);
}

static void leave_a_receiver(struct rank *r)
{
    if (r->rank == 1) {
        dhole_group_free(r->group);
        r->group = NULL;
        return;
    }
    ASSERT_ERR(dhole_recv(r->group, data[0], 1, DHOLE_F32, 1), DHOLE_ERR_PEER_LOST);
    ASSERT_CONTAINS(dhole_error_message(), "rank 1");
}

ON_EVERY_BACKEND(a_receiver_learns_that_the_sender_left)
{
    run_group(backend, 2, leave_a_receiver, NULL);
}

/* What was sent before leaving arrives. */
static void send_and_leave(struct rank *r)
{
    enum { n = 1 << 18 };

    if (r->rank == 0) {
        for (size_t i = 0; i < n; i++)
            data[0][i] = (float)i;
        ASSERT_OK(dhole_send(r->group, data[0], n, DHOLE_F32, 1));
        dhole_group_free(r->group);
        r->group = NULL;
    } else {
        ASSERT_OK(dhole_recv(r->group, data[1], n, DHOLE_F32, 0));
        for (size_t i = 0; i < n; i++)
            ASSERT(data[1][i] == (float)i);
    }
}

ON_EVERY_BACKEND(a_message_survives_the_leaving_of_its_sender)
{
    for (int i = 0; i < 10; i++)
        run_group(backend, 2, send_and_leave, NULL);
}

/* All leave right after a last barrier: that is an end, not a loss. */
static void end_together(struct rank *r)
{
    ASSERT_OK(dhole_barrier(r->group));
}

ON_EVERY_BACKEND(leaving_together_is_no_loss)
{
    for (int i = 0; i < 20; i++)
        run_group(backend, 3, end_together, NULL);
}

static void *abort_group(void *arg)
{
    dhole_abort(arg, "the user said so");
    return NULL;
}

static void abort_while_waiting(struct rank *r)
{
    int64_t begin = now_ms();
    pthread_t thread;

    if (r->rank == 1) /* in its own call at the same time, or just before or after it */
        ASSERT(pthread_create(&thread, NULL, abort_group, r->group) == 0);
    if (r->rank == 2)
        ranks_meet(r); /* does not come until the others are through */
    ASSERT_ERR(sum(r, 3), DHOLE_ERR_ABORTED);
    ASSERT(r->rank == 2 || now_ms() - begin < patient(in_time_ms));
    ASSERT_CONTAINS(dhole_error_message(), "rank 1");
    ASSERT_CONTAINS(dhole_error_message(), "the user said so");
    if (r->rank == 1)
        pthread_join(thread, NULL);
    if (r->rank != 2)
        ranks_meet(r);
}

ON_EVERY_BACKEND(aborting_wakes_everyone)
{
    for (int i = 0; i < 5; i++)
        run_group(backend, 3, abort_while_waiting, NULL);
}

static void abort_at_length(struct rank *r)
{
    char reason[5000];
    dhole_err err;

    memset(reason, 'y', sizeof reason);
    reason[sizeof reason - 1] = '\0';
    if (r->rank == 0)
        dhole_abort(r->group, reason);
    do
        err = dhole_barrier(r->group);
    while (err == DHOLE_OK);
    ASSERT_EQ(err, DHOLE_ERR_ABORTED);
    ASSERT_CONTAINS(dhole_error_message(), "rank 0 aborted the group: yyyy");
}

ON_EVERY_BACKEND(a_long_reason_is_cut)
{
    run_group(backend, 2, abort_at_length, NULL);
}

/* Busy elsewhere for longer than the silence that counts as a loss. */
static void compute_for_long(struct rank *r)
{
    struct timespec work = {1, 200000000};
    float one = 1, all;

    r->options.silence_ms = 300;
    rank_joins(r);
    if (r->rank == 1)
        nanosleep(&work, NULL);
    ASSERT_OK(dhole_all_sum(r->group, &one, &all, 1, DHOLE_F32));
    ASSERT(all == 3);
    dhole_group_free(r->group);
}

ON_EVERY_BACKEND(a_rank_that_computes_for_long_is_not_lost)
{
    run_ranks(backend, 3, compute_for_long, NULL);
}

static void break_then_call(struct rank *r)
{
    char first[1024];
    float sum = 0, one = 1;
    dhole_group *again;

    if (r->rank == 0)
        dhole_abort(r->group, NULL);
    while (dhole_barrier(r->group) == DHOLE_OK)
        ;
    snprintf(first, sizeof first, "%s", dhole_error_message());
    ASSERT_ERR(dhole_all_sum(r->group, &one, &sum, 1, DHOLE_F32), DHOLE_ERR_ABORTED);
    ASSERT_STR(dhole_error_message(), first);
    ASSERT_ERR(dhole_recv(r->group, &sum, 1, DHOLE_F32, !r->rank), DHOLE_ERR_ABORTED);
    ASSERT_STR(dhole_error_message(), first);
    ranks_meet(r);
    ASSERT_OK(dhole_init(&r->options, &again));
    ASSERT_OK(dhole_all_sum(again, &one, &sum, 1, DHOLE_F32));
    ASSERT(sum == 2);
    dhole_group_free(again);
}

ON_EVERY_BACKEND(a_broken_group_stays_broken_and_a_new_one_works)
{
    run_group(backend, 2, break_then_call, NULL);
}
