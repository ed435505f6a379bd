/* Devices that report while a group uses them. */
#include <infiniband/verbs.h>

#include "dhole/error.h"
#include "fake.h"
#include "harness.h"

enum { ranks = 3, in_time_ms = 3000 /* of the 20 s that a call has */ };

/* Rank 1's device reports when all wait, or are about to, for messages that nobody sends. */
static void wait_for_nothing(struct rank *r)
{
    int64_t begin;
    int32_t data;
    dhole_err err;

    begin = now_ms();
    if (r->rank == 1)
        fake_event("left1", *(const int *)r->arg);
    err = dhole_recv(r->group, &data, 1, DHOLE_I32, (r->rank + 1) % r->size);
    ASSERT_ERR(err, DHOLE_ERR_SYSTEM);
    ASSERT_MSG(now_ms() - begin < patient(in_time_ms), "rank %d heard after %lld ms", r->rank,
               (long long)(now_ms() - begin));
    ASSERT_CONTAINS(dhole_error_message(), "RDMA device left1 port 1:");
}

static void check_failure(const struct backend *backend, enum ibv_event_type type)
{
    run_group(backend, ranks, wait_for_nothing, &(int){(int)type});
    ASSERT_EQ(fake_live(), 0);
    ASSERT_MSG(fake_misuse() == NULL, "%s", fake_misuse());
}

/* Both fail when wake (rail.c) does not look at the events: the calls then end by their time. */
TEST(a_port_that_goes_down_ends_the_group_at_once)
{
    check_failure(&backend_jaccl, IBV_EVENT_PORT_ERR);
    check_failure(&backend_jaccl_uc, IBV_EVENT_PORT_ERR);
    check_failure(&backend_jaccl_sealed, IBV_EVENT_PORT_ERR);
}

TEST(a_device_that_fails_ends_the_group_at_once)
{
    check_failure(&backend_jaccl, IBV_EVENT_DEVICE_FATAL);
    check_failure(&backend_jaccl, IBV_EVENT_QP_FATAL);
    check_failure(&backend_jaccl, IBV_EVENT_CQ_ERR);
}

static const int harmless[] = {IBV_EVENT_PORT_ACTIVE, IBV_EVENT_GID_CHANGE, IBV_EVENT_COMM_EST,
                               IBV_EVENT_LID_CHANGE, IBV_EVENT_SM_CHANGE};

static void go_on(struct rank *r)
{
    const int events = sizeof harmless / sizeof harmless[0];
    int32_t sum;

    for (int i = 0; i < 5 * events; i++) {
        if (r->rank == 1)
            fake_event("left1", harmless[i % events]);
        ASSERT_OK(dhole_all_sum(r->group, &r->rank, &sum, 1, DHOLE_I32));
        ASSERT_EQ(sum, r->size * (r->size - 1) / 2);
    }
}

TEST(other_events_are_taken_and_change_nothing)
{
    run_group(&backend_jaccl, ranks, go_on, NULL);
    ASSERT_EQ(fake_live(), 0);
    ASSERT_MSG(fake_misuse() == NULL, "%s", fake_misuse());
}

/* When nobody has looked, the next one to join finds nothing of it. */
static void report_and_leave(struct rank *r)
{
    ASSERT_OK(dhole_barrier(r->group));
    ranks_meet(r);
    if (r->rank == 1)
        fake_event("left1", IBV_EVENT_PORT_ERR);
}

TEST(a_report_ends_with_the_group_that_it_concerned)
{
    run_group(&backend_jaccl, ranks, report_and_leave, NULL);
    run_group(&backend_jaccl, ranks, go_on, NULL);
    ASSERT_EQ(fake_live(), 0);
}
