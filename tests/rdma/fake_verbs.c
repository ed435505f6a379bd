/* The fake keeps what it promises, as the tests over it are worth no more than that. */
#include <errno.h>
#include <infiniband/verbs.h>
#include <poll.h>

#include "fake.h"
#include "test.h"

enum { room = 8192, slot = 1024 };

/* One end: a device, and one queue pair on it. */
struct end {
    struct ibv_context *context;
    struct ibv_pd *pd;
    struct ibv_mr *mr;
    struct ibv_comp_channel *channel;
    struct ibv_cq *cq;
    struct ibv_qp *qp;
    char memory[room];
};

static struct ibv_context *open_named(const char *name)
{
    int n;
    struct ibv_device **list = ibv_get_device_list(&n);
    struct ibv_context *context = NULL;

    for (int i = 0; i < n; i++)
        if (strcmp(ibv_get_device_name(list[i]), name) == 0)
            context = ibv_open_device(list[i]);
    ibv_free_device_list(list);
    ASSERT(context != NULL);
    return context;
}

static struct ibv_qp_init_attr queue_pair(struct end *e, enum ibv_qp_type type)
{
    return (struct ibv_qp_init_attr){.send_cq = e->cq,
                                     .recv_cq = e->cq,
                                     .qp_type = type,
                                     .cap = {.max_send_wr = 4,
                                             .max_recv_wr = 4,
                                             .max_send_sge = 2,
                                             .max_recv_sge = 2,
                                             .max_inline_data = 64}};
}

static void make_end(struct end *e, const char *device, enum ibv_qp_type type)
{
    struct ibv_qp_init_attr init;
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT, .port_num = 1};

    e->context = open_named(device);
    e->pd = ibv_alloc_pd(e->context);
    e->mr = ibv_reg_mr(e->pd, e->memory, room, IBV_ACCESS_LOCAL_WRITE);
    e->channel = ibv_create_comp_channel(e->context);
    e->cq = ibv_create_cq(e->context, 16, NULL, e->channel, 0);
    init = queue_pair(e, type);
    e->qp = ibv_create_qp(e->pd, &init);
    ASSERT(e->pd && e->mr && e->channel && e->cq && e->qp);
    ASSERT_EQ(ibv_modify_qp(e->qp, &attr,
                            IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS),
              0);
}

static int ready_to_receive(struct end *e, const struct end *peer, int index)
{
    struct ibv_qp_attr attr = {
        .qp_state = IBV_QPS_RTR,
        .path_mtu = IBV_MTU_1024,
        .dest_qp_num = peer->qp->qp_num,
        .ah_attr = {.is_global = 1, .port_num = 1, .grh = {.sgid_index = (uint8_t)index}}};
    int mask = IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN;

    ASSERT_EQ(ibv_query_gid(peer->context, 1, index, &attr.ah_attr.grh.dgid), 0);
    if (e->qp->qp_type == IBV_QPT_RC)
        mask |= IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
    return ibv_modify_qp(e->qp, &attr, mask);
}

static int ready_to_send(struct end *e, int rnr_retry)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTS, .rnr_retry = (uint8_t)rnr_retry};
    int mask = IBV_QP_STATE | IBV_QP_SQ_PSN;

    if (e->qp->qp_type == IBV_QPT_RC)
        mask |= IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC;
    return ibv_modify_qp(e->qp, &attr, mask);
}

static void make_pair(struct end e[2], enum ibv_qp_type type, int rnr_retry)
{
    make_end(&e[0], "fake0", type);
    make_end(&e[1], "fake1", type);
    for (int i = 0; i < 2; i++) {
        ASSERT_EQ(ready_to_receive(&e[i], &e[!i], 1), 0);
        ASSERT_EQ(ready_to_send(&e[i], rnr_retry), 0);
    }
}

static void end_end(struct end *e)
{
    ASSERT_EQ(ibv_destroy_qp(e->qp), 0);
    ASSERT_EQ(ibv_destroy_cq(e->cq), 0);
    ASSERT_EQ(ibv_destroy_comp_channel(e->channel), 0);
    ASSERT_EQ(ibv_dereg_mr(e->mr), 0);
    ASSERT_EQ(ibv_dealloc_pd(e->pd), 0);
    ASSERT_EQ(ibv_close_device(e->context), 0);
}

static void end_pair(struct end e[2])
{
    end_end(&e[0]);
    end_end(&e[1]);
    ASSERT_EQ(fake_live(), 0);
}

static int post_recv(struct end *e, uint64_t id, size_t at, uint32_t size)
{
    struct ibv_sge sge = {(uintptr_t)e->memory + at, size, e->mr->lkey};
    struct ibv_recv_wr wr = {.wr_id = id, .sg_list = &sge, .num_sge = 1}, *bad;

    return ibv_post_recv(e->qp, &wr, &bad);
}

static int post_send_flags(struct end *e, uint64_t id, size_t at, uint32_t size, unsigned flags)
{
    struct ibv_sge sge = {(uintptr_t)e->memory + at, size, e->mr->lkey};
    struct ibv_send_wr wr = {.wr_id = id,
                             .sg_list = &sge,
                             .num_sge = 1,
                             .opcode = IBV_WR_SEND,
                             .send_flags = flags},
                       *bad;

    return ibv_post_send(e->qp, &wr, &bad);
}

static int post_send(struct end *e, uint64_t id, size_t at, uint32_t size)
{
    return post_send_flags(e, id, at, size, IBV_SEND_SIGNALED);
}

static void expect(struct end *e, uint64_t id, enum ibv_wc_status status)
{
    struct ibv_wc wc;

    ASSERT_EQ(ibv_poll_cq(e->cq, 1, &wc), 1);
    ASSERT_EQ(wc.status, status);
    ASSERT_EQ(wc.wr_id, id);
}

static void expect_nothing(struct end *e)
{
    struct ibv_wc wc;

    ASSERT_EQ(ibv_poll_cq(e->cq, 1, &wc), 0);
}

static void check_a_message(enum ibv_qp_type type)
{
    struct end e[2];

    make_pair(e, type, 7);
    strcpy(e[0].memory, "hello");
    ASSERT_EQ(post_recv(&e[1], 5, slot, slot), 0);
    ASSERT_EQ(post_send(&e[0], 6, 0, 6), 0);
    expect(&e[0], 6, IBV_WC_SUCCESS);
    expect(&e[1], 5, IBV_WC_SUCCESS);
    ASSERT_STR(e[1].memory + slot, "hello");
    ASSERT(fake_misuse() == NULL);
    end_pair(e);
}

TEST(a_message_arrives_on_rc_and_uc)
{
    check_a_message(IBV_QPT_RC);
    check_a_message(IBV_QPT_UC);
}

TEST(rc_holds_what_finds_no_receive_and_uc_loses_it)
{
    struct end e[2];

    make_pair(e, IBV_QPT_RC, 7);
    ASSERT_EQ(post_send(&e[0], 1, 0, 10), 0);
    expect_nothing(&e[0]);
    ASSERT_EQ(post_recv(&e[1], 2, 0, slot), 0);
    expect(&e[0], 1, IBV_WC_SUCCESS);
    expect(&e[1], 2, IBV_WC_SUCCESS);
    end_pair(e);

    make_pair(e, IBV_QPT_RC, 3);
    ASSERT_EQ(post_send(&e[0], 1, 0, 10), 0);
    expect(&e[0], 1, IBV_WC_RNR_RETRY_EXC_ERR);
    end_pair(e);

    make_pair(e, IBV_QPT_UC, 0);
    ASSERT_EQ(post_send(&e[0], 1, 0, 10), 0);
    expect(&e[0], 1, IBV_WC_SUCCESS);
    ASSERT_EQ(post_recv(&e[1], 2, 0, slot), 0);
    expect_nothing(&e[1]);
    ASSERT_EQ(fake_counts("fake1").unmatched, 3);
    end_pair(e);
}

TEST(memory_outside_of_the_region_is_refused)
{
    struct end e[2], other;
    struct ibv_mr mr;

    make_pair(e, IBV_QPT_RC, 7);
    ASSERT_EQ(post_recv(&e[1], 1, 0, slot), 0);
    ASSERT_EQ(post_send(&e[0], 2, room - 9, 10), 0);
    expect(&e[0], 2, IBV_WC_LOC_PROT_ERR);
    ASSERT_EQ(post_send(&e[0], 3, 0, 10), 0);
    expect(&e[0], 3, IBV_WC_WR_FLUSH_ERR);
    end_pair(e);

    make_pair(e, IBV_QPT_RC, 7);
    ASSERT_EQ(post_recv(&e[1], 1, room - 9, 10), 0);
    ASSERT_EQ(post_send(&e[0], 2, 0, 10), 0);
    expect(&e[0], 2, IBV_WC_REM_OP_ERR);
    expect(&e[1], 1, IBV_WC_LOC_PROT_ERR);
    end_pair(e);

    make_pair(e, IBV_QPT_RC, 7);
    ASSERT_EQ(post_recv(&e[1], 1, 0, slot), 0);
    mr = *e[0].mr;
    mr.lkey++;
    other = e[0];
    other.mr = &mr;
    ASSERT_EQ(post_send(&other, 2, 0, 10), 0);
    expect(&e[0], 2, IBV_WC_LOC_PROT_ERR);
    end_pair(e);
}

TEST(a_receive_that_is_too_short_fails_on_both_sides)
{
    struct end e[2];

    make_pair(e, IBV_QPT_RC, 7);
    ASSERT_EQ(post_recv(&e[1], 1, 0, 9), 0);
    ASSERT_EQ(post_send(&e[0], 2, 0, 10), 0);
    expect(&e[0], 2, IBV_WC_REM_INV_REQ_ERR);
    expect(&e[1], 1, IBV_WC_LOC_LEN_ERR);
    end_pair(e);
}

TEST(states_are_checked)
{
    struct end e[2];

    make_end(&e[0], "fake0", IBV_QPT_RC);
    make_end(&e[1], "fake1", IBV_QPT_RC);
    ASSERT_EQ(post_send(&e[0], 1, 0, 1), EINVAL);
    ASSERT_EQ(ready_to_send(&e[0], 7), EINVAL);
    ASSERT_EQ(ready_to_receive(&e[0], &e[1], 1), 0);
    ASSERT_EQ(ready_to_receive(&e[0], &e[1], 1), EINVAL);
    ASSERT_EQ(post_send(&e[0], 1, 0, 1), EINVAL);
    ASSERT_EQ(ready_to_send(&e[0], 7), 0);
    end_pair(e);
}

TEST(a_gid_reaches_its_kind_and_its_net_only)
{
    struct end e[2];

    fake_devices("fake0 gids=v4_at_1; fake1 gids=v4_at_2");
    make_end(&e[0], "fake0", IBV_QPT_UC);
    make_end(&e[1], "fake1", IBV_QPT_UC);
    ASSERT_EQ(ready_to_receive(&e[0], &e[1], 1), EINVAL); /* an empty one */
    ASSERT_EQ(ready_to_receive(&e[0], &e[1], 2), EINVAL); /* the own index has none */
    fake_device("fake0", "net=1 unreachable=60");
    ASSERT_EQ(ready_to_receive(&e[0], &e[1], 0), 60);
    fake_device("fake0", "net=0 gid_at=0 gid_errno=22");
    ASSERT_EQ(ready_to_receive(&e[0], &e[1], 0), 22);
    fake_device("fake0", "gid_errno=0");
    ASSERT_EQ(ready_to_receive(&e[0], &e[1], 0), 0);
    end_pair(e);
}

TEST(places_come_back_with_completions_only)
{
    struct end e[2];

    make_pair(e, IBV_QPT_UC, 0);
    for (int i = 0; i < 3; i++)
        ASSERT_EQ(post_send_flags(&e[0], 1, 0, 10, 0), 0);
    ASSERT_EQ(post_send(&e[0], 4, 0, 10), 0);
    ASSERT_EQ(post_send(&e[0], 5, 0, 10), ENOMEM);
    expect(&e[0], 4, IBV_WC_SUCCESS);
    expect_nothing(&e[0]);
    ASSERT_EQ(post_send_flags(&e[0], 6, 0, 64, IBV_SEND_INLINE), 0);
    ASSERT_EQ(post_send_flags(&e[0], 6, 0, 65, IBV_SEND_INLINE), EINVAL);
    end_pair(e);
}

TEST(an_event_comes_when_armed_and_once)
{
    struct end e[2];
    struct pollfd pfd;
    struct ibv_cq *cq;
    void *context;

    make_pair(e, IBV_QPT_UC, 0);
    pfd = (struct pollfd){e[1].channel->fd, POLLIN, 0};
    for (int i = 0; i < 3; i++)
        ASSERT_EQ(post_recv(&e[1], (uint64_t)i, 0, slot), 0);
    ASSERT_EQ(post_send(&e[0], 1, 0, 10), 0);
    ASSERT_EQ(ibv_req_notify_cq(e[1].cq, 0), 0);
    ASSERT_EQ(poll(&pfd, 1, 0), 0); /* what was there before is no news */
    ASSERT_EQ(post_send(&e[0], 1, 0, 10), 0);
    ASSERT_EQ(post_send(&e[0], 1, 0, 10), 0);
    ASSERT_EQ(poll(&pfd, 1, 0), 1);
    ASSERT_EQ(ibv_get_cq_event(e[1].channel, &cq, &context), 0);
    ASSERT(cq == e[1].cq);
    ASSERT_EQ(poll(&pfd, 1, 0), 0);
    ibv_ack_cq_events(cq, 1);
    ASSERT(fake_misuse() == NULL);
    end_pair(e);
}

TEST(a_peer_that_is_gone_is_noticed_on_rc_alone)
{
    struct end e[2];

    for (int quiet = 0; quiet < 2; quiet++) {
        make_pair(e, IBV_QPT_RC, 7);
        fake_device("fake0", quiet ? "quiet=1" : "quiet=0");
        fake_device("fake1", "unplugged=1");
        ASSERT_EQ(post_send(&e[0], 1, 0, 10), 0);
        if (quiet)
            expect_nothing(&e[0]);
        else
            expect(&e[0], 1, IBV_WC_RETRY_EXC_ERR);
        fake_device("fake1", "unplugged=0");
        end_pair(e);
    }
    make_pair(e, IBV_QPT_UC, 0);
    fake_device("fake1", "unplugged=1");
    ASSERT_EQ(post_send(&e[0], 1, 0, 10), 0);
    expect(&e[0], 1, IBV_WC_SUCCESS);
    end_pair(e);
}

TEST(planned_failures_come_when_planned)
{
    struct end e[2];
    struct ibv_qp_init_attr init;

    make_pair(e, IBV_QPT_UC, 0);
    fake_device("fake0", "drop=2");
    fake_device("fake1", "fail_recv=2 fail_status=11");
    for (int i = 0; i < 3; i++)
        ASSERT_EQ(post_recv(&e[1], (uint64_t)i, 0, slot), 0);
    for (int i = 0; i < 3; i++)
        ASSERT_EQ(post_send(&e[0], (uint64_t)i, 0, 10), 0);
    for (int i = 0; i < 3; i++)
        expect(&e[0], (uint64_t)i, IBV_WC_SUCCESS);
    ASSERT_EQ(fake_counts("fake0").dropped, 1);
    expect(&e[1], 0, IBV_WC_SUCCESS);
    expect(&e[1], 1, (enum ibv_wc_status)11);
    expect(&e[1], 2, IBV_WC_WR_FLUSH_ERR);
    init = queue_pair(&e[0], IBV_QPT_RC);
    fake_device("fake0", "qp=uc");
    ASSERT(ibv_create_qp(e[0].pd, &init) == NULL && errno == 102);
    init.qp_type = IBV_QPT_UC;
    fake_device("fake0", "qp_max=1");
    ASSERT(ibv_create_qp(e[0].pd, &init) == NULL && errno == EBUSY);
    fake_fail("ibv_alloc_pd", 2, ENOMEM);
    ASSERT_EQ(ibv_dealloc_pd(ibv_alloc_pd(e[0].context)), 0);
    ASSERT(fake_fail_pending());
    ASSERT(ibv_alloc_pd(e[0].context) == NULL && errno == ENOMEM);
    ASSERT(!fake_fail_pending());
    end_pair(e);
}

static uint32_t received(struct end *e, uint64_t id)
{
    struct ibv_wc wc;

    ASSERT_EQ(ibv_poll_cq(e->cq, 1, &wc), 1);
    ASSERT(wc.status == IBV_WC_SUCCESS && wc.wr_id == id);
    return wc.byte_len;
}

TEST(messages_of_uc_are_cut_and_doubled_when_planned)
{
    struct end e[2];

    make_pair(e, IBV_QPT_UC, 0);
    memcpy(e[0].memory, "0123456789", 10);
    fake_device("fake0", "cut=1 cut_after=4 twice=2");
    for (int i = 0; i < 3; i++)
        ASSERT_EQ(post_recv(&e[1], (uint64_t)i, (size_t)i * slot, slot), 0);
    for (int i = 0; i < 3; i++)
        ASSERT_EQ(post_send(&e[0], (uint64_t)i, 0, 10 - (uint32_t)i), 0);
    ASSERT_EQ(received(&e[1], 0), 4 + 9);
    ASSERT(memcmp(e[1].memory, "0123012345678", 13) == 0);
    ASSERT_EQ(received(&e[1], 1), 8);
    ASSERT_EQ(received(&e[1], 2), 8);
    for (int i = 0; i < 3; i++)
        expect(&e[0], (uint64_t)i, IBV_WC_SUCCESS);
    end_pair(e);
}

TEST(in_the_background_all_arrives_too)
{
    struct end e[2];
    int before;

    fake_in_background(true);
    make_pair(e, IBV_QPT_RC, 7);
    end_pair(e);
    before = test_threads(); /* a sanitizer's own among them */
    make_pair(e, IBV_QPT_RC, 7);
    for (int i = 0; i < 4; i++) {
        ASSERT_EQ(post_send(&e[0], (uint64_t)i, 0, 10), 0);
        ASSERT_EQ(post_recv(&e[1], (uint64_t)i, 0, slot), 0);
    }
    for (int i = 0; i < 4; i++) {
        struct ibv_wc wc;
        while (ibv_poll_cq(e[1].cq, 1, &wc) == 0)
            continue;
        ASSERT(wc.status == IBV_WC_SUCCESS && wc.wr_id == (uint64_t)i);
    }
    end_pair(e);
    test_await_threads(before);
}
