/* Connections over RDMA, on devices that are not there (tests/rdma/fake): the stream, sleeping,
 * what goes wrong on the way, and another side that lies. What every connection promises is tested
 * in conn.c, upstream's defects in tests/rdma/rows.c. */
#include <errno.h>
#include <infiniband/verbs.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sys.h"
#include "dhole/error.h"
#include "ends.h"
#include "pairs.h"
#include "test.h"
#include "transport/io.h"
#include "transport/rdma/offer.h"
#include "transport/rdma/verbs.h"
#include "transport/tcp/tcp.h"

/* Both kinds of queue pair, with delivery by the sender and by a thread of its own. */
static void in_each_way(void (*run)(void))
{
    static const char *const kinds[] = {"a qp=rc; b qp=rc", "a qp=uc; b qp=uc"};

    for (int way = 0; way < 4; way++) {
        fake_devices(kinds[way % 2]);
        fake_in_background(way / 2 == 1);
        run();
    }
}

static void check_the_stream(void)
{
    static const size_t pieces[] = {100, 5000, 70000, 400000};
    struct ends e;

    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        ends_open(&e, "a", "b");
        ASSERT_OK(ends_talk(&e, 100 * pieces[i], pieces[i], i, 20000));
        ends_close(&e);
    }
    ASSERT_EQ(fake_counts("a").unmatched, 0);
    ASSERT_EQ(fake_counts("b").unmatched, 0);
}

TEST(the_stream_is_whole_whatever_the_pieces)
{
    in_each_way(check_the_stream);
}

TEST(several_devices_share_the_load)
{
    struct ends e;

    fake_devices("a0; a1; a2; b0; b1; b2");
    ends_open(&e, "a0 a1 a2", "b0 b1 b2");
    ASSERT_OK(ends_talk(&e, 30 << 20, 1 << 20, 1, 40000));
    ends_close(&e);
    for (int i = 0; i < 3; i++)
        ASSERT(fake_counts((char[]){'a', (char)('0' + i), '\0'}).sent > 50);
}

/* The sender has no credit left: it says so, nothing is lost, and it is woken when there is. */
static void check_the_end_of_credit(void)
{
    static const size_t pieces[] = {1, 57, 5000, 1 << 20};
    struct ends e;

    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        struct pollfd pfd;
        size_t sent = 0;
        int idle = 0;
        ends_open(&e, "a", "b");
        while (idle < 1000) {
            size_t n = put(e.conn[0], pieces[i]);
            idle = n > 0 ? 0 : idle + 1;
            sent += n;
        }
        ASSERT(sent > 0);
        for (size_t left = sent; left > 0;)
            left -= get(e.conn[1], pieces[i] < left ? pieces[i] : left);
        while (put(e.conn[0], 1) == 0)
            if (e.conn[0]->ops->arm(e.conn[0], true, false, &pfd))
                ASSERT_OK(dhole__io_poll(&pfd, 1, dhole__deadline_in(20000)));
        while (get(e.conn[1], 1) == 0)
            continue;
        ends_close(&e);
    }
    ASSERT_EQ(fake_counts("b").unmatched, 0);
}

TEST(a_sender_without_credit_waits_and_is_woken)
{
    in_each_way(check_the_end_of_credit);
}

static void check_sleep(void)
{
    struct ends e;

    ends_open(&e, "a", "b");
    check_wake_ups(e.conn, 3000);
    ends_close(&e);
}

TEST(no_wake_up_is_lost)
{
    in_each_way(check_sleep);
}

TEST(a_device_has_one_region_and_a_queue_pair_for_each_peer)
{
    int before = test_descriptors();
    struct ends e;

    fake_devices("a; b");
    ends_open(&e, "a", "b");
    ASSERT_EQ(fake_counts("a").regions, 1);
    ASSERT_EQ(fake_counts("a").queue_pairs, 1);
    ends_check(&e);
    ends_close(&e);
    ASSERT_EQ(fake_counts("a").regions_most, 1);
    ASSERT_EQ(test_descriptors(), before);
}

static void send_and_check(struct ends *e, const uint8_t *data, size_t size)
{
    uint8_t *got = calloc(1, size);
    struct dhole__io io[2] = {dhole__io_send(e->conn[0], data, size, NULL, 0),
                              dhole__io_recv(e->conn[1], got, size, NULL, 0)};

    ASSERT_OK(dhole__io_run(io, 2, dhole__deadline_in(20000)));
    ASSERT(memcmp(got, data, size) == 0);
    free(got);
}

/* From the block and from beyond its ends: it has a region of its own for as long as it is
 * registered. */
static void check_registered_memory(const char *devices)
{
    enum { size = 3 << 20 };
    uint8_t *data = malloc(size);
    struct ends e;

    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(i * 31 + (i >> 8));
    fake_devices(devices);
    ends_open(&e, "a", "b");
    ASSERT_OK(dhole__rdma_register(e.rdma[0], data + 100000, size / 2));
    ASSERT_EQ(fake_counts("a").regions, 2);
    send_and_check(&e, data + 100000, size / 2);
    send_and_check(&e, data, size);
    dhole__rdma_unregister(e.rdma[0], data + 100000);
    dhole__rdma_unregister(e.rdma[0], data);
    ASSERT_EQ(fake_counts("a").regions, 1);
    send_and_check(&e, data, size);
    ends_close(&e);
    free(data);
}

/* With as many pieces as a message from a block needs, and with too few. */
TEST(registered_memory_is_sent_whole)
{
    check_registered_memory("a qp=rc; b qp=rc");
    check_registered_memory("a qp=rc sge_max=1; b qp=rc");
    check_registered_memory("a qp=uc; b qp=uc");
    check_registered_memory("a qp=uc sge_max=2; b qp=uc");
}

TEST(no_region_left_means_a_copy)
{
    enum { size = 1 << 20 };
    uint8_t *data = calloc(1, size);
    struct ends e;

    fake_devices("a mr_max=1; b");
    ends_open(&e, "a", "b");
    ASSERT(dhole__rdma_register(e.rdma[0], data, size) != DHOLE_OK);
    ASSERT_EQ(fake_counts("a").regions, 1);
    send_and_check(&e, data, size);
    dhole__rdma_unregister(e.rdma[0], data);
    ends_close(&e);
    free(data);
}

/* Wherever a message is lost, no byte is wrong, and the loss is an error: at once when another
 * message follows, else when the call's time is over. Only messages without data may go missing
 * at the very end. */
static bool is_loss_noticed(unsigned seed, const char *setting)
{
    struct ends e;
    dhole_err err;

    fake_devices("a qp=uc; b qp=uc");
    ends_open(&e, "a", "b");
    fake_device("*", setting);
    err = ends_talk(&e, 400000, 20000, seed, 1000);
    ASSERT(!err || fake_counts("a").dropped + fake_counts("b").dropped > 0);
    ASSERT(!err || err == DHOLE_ERR_PEER_LOST || err == DHOLE_ERR_TIMEOUT);
    if (err == DHOLE_ERR_PEER_LOST)
        ASSERT_CONTAINS(dhole_error_message(), "lost on the way");
    ends_close(&e);
    return err != DHOLE_OK;
}

TEST(a_lost_message_is_noticed)
{
    int noticed = 0;

    for (unsigned lost = 1; lost <= 60; lost++) {
        char setting[32];
        snprintf(setting, sizeof setting, "drop=%u", lost);
        noticed += is_loss_noticed(lost, setting);
    }
    ASSERT(noticed >= 55);
}

TEST(many_losses_by_chance_give_no_wrong_data)
{
    int noticed = 0;

    for (unsigned seed = 0; seed < 100; seed++) {
        char setting[32];
        snprintf(setting, sizeof setting, "seed=%u drop_rate=20", seed);
        noticed += is_loss_noticed(seed, setting);
    }
    ASSERT(noticed >= 50);
}

/* Two messages, of which side 0 is not told that the first was spoiled. */
static void send_two(struct ends *e, const uint8_t *data, size_t first, size_t second)
{
    dhole__deadline deadline = dhole__deadline_in(20000);

    ASSERT_OK(dhole__io_run_one(dhole__io_send(e->conn[0], data, first, NULL, 0), deadline));
    ASSERT_OK(dhole__io_run_one(dhole__io_send(e->conn[0], data, second, NULL, 0), deadline));
}

static void check_a_cut(size_t first, size_t second, size_t cut, bool in_place)
{
    uint8_t *data = malloc(first), *got = malloc(first);
    struct iovec iov = {got, first};
    char setting[64];
    struct ends e;
    size_t moved;

    memset(data, 1, first);
    fake_devices("a qp=uc; b qp=uc");
    ends_open(&e, "a", "b");
    if (in_place)
        ASSERT_OK(dhole__rdma_register(e.rdma[0], data, first));
    snprintf(setting, sizeof setting, "cut=1 cut_after=%zu", cut);
    fake_device("a", setting);
    send_two(&e, data, first, second);
    ASSERT_ERR(dhole__conn_recv(e.conn[1], &iov, 1, &moved), DHOLE_ERR_PEER_LOST);
    ASSERT_CONTAINS(dhole_error_message(), "1 message from rank 0 was lost on the way");
    ASSERT_EQ(moved, 0);
    dhole__rdma_unregister(e.rdma[0], data);
    ends_close(&e);
    free(data);
    free(got);
}

/* It is continued with the next one, mostly so that it has the length that its header says. */
TEST(a_message_that_lost_its_end_is_noticed)
{
    check_a_cut(1000, 500, 500, false);
    check_a_cut(1000, 500, 501, false);
    check_a_cut(1000, 500, 7, false);
    check_a_cut(80, 40, 40, false); /* inline */
    check_a_cut(60000, 50000, 10000, true);
    check_a_cut(60000, 20, 60000 - 20, true);
}

TEST(a_message_that_comes_twice_is_noticed)
{
    uint8_t data[100] = {0};
    struct ends e;
    struct iovec iov = {data, 1};
    size_t moved;

    fake_devices("a qp=uc; b qp=uc");
    ends_open(&e, "a", "b");
    fake_device("a", "twice=1");
    send_two(&e, data, sizeof data, 1);
    for (size_t left = sizeof data; left > 0;)
        left -= get(e.conn[1], left);
    ASSERT_ERR(dhole__conn_recv(e.conn[1], &iov, 1, &moved), DHOLE_ERR_PEER_LOST);
    ASSERT_CONTAINS(dhole_error_message(), "came twice or too late");
    ends_close(&e);
}

/* Whether some side's message names the device, and says this. */
static bool is_said(const struct ends *e, const char *device, const char *what)
{
    for (int side = 0; side < 2; side++)
        if (strstr(e->why[side], device) != NULL && strstr(e->why[side], what) != NULL)
            return true;
    return false;
}

static void check_a_failed_completion(const char *kind, const char *which, int nth)
{
    char setting[64];
    struct ends e;

    fake_devices(kind);
    ends_open(&e, "a", "b");
    snprintf(setting, sizeof setting, "%s=%d fail_status=%d", which, nth, IBV_WC_REM_ACCESS_ERR);
    fake_device("a", setting);
    ASSERT(ends_talk(&e, 1 << 20, 50000, (unsigned)nth, 300) != DHOLE_OK);
    if (e.err[0] && e.err[0] != DHOLE_ERR_TIMEOUT)
        ASSERT_MSG(is_said(&e, "RDMA device a", "remote access error"), "%s", e.why[0]);
    ends_close(&e);
}

TEST(a_failed_completion_is_an_error_that_names_device_and_status)
{
    for (int nth = 1; nth <= 20; nth += 3) {
        check_a_failed_completion("a qp=rc; b", "fail_send", nth);
        check_a_failed_completion("a qp=rc; b", "fail_recv", nth);
        check_a_failed_completion("a qp=uc; b", "fail_send", nth);
        check_a_failed_completion("a qp=uc; b", "fail_recv", nth);
    }
}

/* Everything from opening a device to closing it, in which one call fails. Returns whether it was
 * reached. */
static bool survive(const char *verb, int nth)
{
    struct ends e;

    fake_fail(verb, nth, ENOMEM);
    if (ends_try(&e, "a", "b") && !ends_talk(&e, 100000, 20000, 1, 300)) {
        ends_close(&e);
        return !fake_fail_pending();
    }
    ASSERT(!fake_fail_pending());
    for (int side = 0; side < 2; side++)
        if (e.err[side] && e.err[side] != DHOLE_ERR_TIMEOUT)
            ASSERT(e.why[side][0] != '\0');
    ends_close(&e);
    return true;
}

static void check_every_verb(void)
{
    for (const char *const *verb = fake_failing_verbs; *verb != NULL; verb++) {
        int before = test_descriptors(), nth = 1;
        while (nth < 300 && survive(*verb, nth))
            nth += nth < 12 ? 1 : nth / 3;
        fake_fail(*verb, 0, 0);
        ASSERT_EQ(test_descriptors(), before);
    }
}

TEST_LIMIT(whatever_verb_fails_nothing_is_left_behind, 300)
{
    fake_devices("a qp=rc; b qp=rc");
    check_every_verb();
    fake_devices("a qp=uc; b qp=uc");
    check_every_verb();
}

/* Those that set a device up name it, and what the system said. */
TEST(a_verb_that_fails_is_told_in_words)
{
    static const char *const verbs[] = {"ibv_open_device", "ibv_query_device",
                                        "ibv_query_port",  "ibv_alloc_pd",
                                        "ibv_reg_mr",      "ibv_create_comp_channel",
                                        "ibv_create_cq",   "ibv_create_qp",
                                        "ibv_modify_qp",   "ibv_post_recv"};

    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        struct ends e;
        fake_devices("a qp=rc; b qp=rc");
        fake_fail(verbs[i], 1, EPERM);
        ASSERT_MSG(!ends_try(&e, "a", "b"), "%s failed and nobody said so", verbs[i]);
        ASSERT_MSG(is_said(&e, "RDMA device a", strerror(EPERM)) ||
                       is_said(&e, "RDMA device b", strerror(EPERM)),
                   "%s: \"%s\", \"%s\"", verbs[i], e.why[0], e.why[1]);
        ends_close(&e);
    }
}

static int allocations_left;

static bool is_refused(void)
{
    return allocations_left > 0 && --allocations_left == 0;
}

static void *refusing_calloc(size_t n, size_t size)
{
    return is_refused() ? NULL : calloc(n, size);
}

static void *refusing_malloc(size_t size)
{
    return is_refused() ? NULL : malloc(size);
}

static void *refusing_aligned_alloc(size_t alignment, size_t size)
{
    return is_refused() ? NULL : aligned_alloc(alignment, size);
}

TEST(whatever_allocation_fails_nothing_is_left_behind)
{
    bool refused = true;

    fake_devices("a; b");
    dhole__sys.calloc = refusing_calloc;
    dhole__sys.malloc = refusing_malloc;
    dhole__sys.aligned_alloc = refusing_aligned_alloc;
    for (int nth = 3; refused; nth++) { /* the first two are the connections below */
        struct ends e;
        ASSERT(nth < 100);
        allocations_left = nth;
        if (ends_try(&e, "a", "b")) {
            refused = allocations_left == 0;
            allocations_left = 0;
            ends_check(&e);
        }
        allocations_left = 0;
        ends_close(&e);
    }
}

static void *shut_down(void *arg)
{
    struct dhole__conn *conn = arg;

    conn->ops->shutdown(conn);
    return NULL;
}

static void check_shutdown(void)
{
    char byte;
    pthread_t thread;
    struct ends e;

    ends_open(&e, "a", "b");
    ASSERT(pthread_create(&thread, NULL, shut_down, e.conn[0]) == 0);
    ASSERT_ERR(
        dhole__io_run_one(dhole__io_recv(e.conn[0], &byte, 1, NULL, 0), dhole__deadline_in(20000)),
        DHOLE_ERR_PEER_LOST);
    pthread_join(thread, NULL);
    ASSERT_ERR(
        dhole__io_run_one(dhole__io_recv(e.conn[1], &byte, 1, NULL, 0), dhole__deadline_in(20000)),
        DHOLE_ERR_PEER_LOST);
    ends_close(&e);
}

TEST(shutdown_wakes_both_sides)
{
    in_each_way(check_shutdown);
}

/* The two agree on the lesser of what they can. */
TEST(two_unlike_devices_find_what_both_can_do)
{
    static const char *const peers[] = {"b qp=uc",      "b msg_max=4096", "b mtu=1024",
                                        "b wr_max=128", "b inline_max=0", "b sge_max=1",
                                        "b gids=mlx5",  "b qp=rc",        "b cqe_max=200"};

    for (size_t i = 0; i < sizeof peers / sizeof peers[0]; i++) {
        char devices[64];
        struct ends e;
        snprintf(devices, sizeof devices, "a; %s", peers[i]);
        fake_devices(devices);
        ends_open(&e, "a", "b");
        ASSERT_OK(ends_talk(&e, 1 << 20, 50000, i, 20000));
        ends_close(&e);
        ends_open(&e, "b", "a");
        ASSERT_OK(ends_talk(&e, 1 << 20, 50000, i, 20000));
        ends_close(&e);
    }
}

/* The queue pair can be forced; what cannot be had is refused in words. */
TEST(the_kind_of_queue_pair_can_be_chosen)
{
    struct ends e;

    fake_devices("a qp=rc; b qp=rc");
    setenv("DHOLE_RDMA_QP", "uc", 1);
    ASSERT(!ends_try(&e, "a", "b"));
    ASSERT_MSG(is_said(&e, "RDMA device a", "UC"), "%s", e.why[0]);
    ends_close(&e);
    setenv("DHOLE_RDMA_QP", "rc", 1);
    ends_open(&e, "a", "b");
    ends_check(&e);
    ends_close(&e);
    setenv("DHOLE_RDMA_QP", "no", 1);
    ASSERT(!ends_try(&e, "a", "b"));
    ASSERT_CONTAINS(e.why[0], "DHOLE_RDMA_QP");
    ends_close(&e);
}

/* When no device reaches, both sides know, and go on over what is below. */
TEST(who_does_not_reach_gets_the_lower_connection_back)
{
    for (int silent = 0; silent < 2; silent++) {
        struct ends e;
        fake_devices("a net=1; b net=2");
        fake_device("*", silent ? "unreachable=0" : "unreachable=110");
        ASSERT(!ends_try(&e, "a", "b"));
        for (int side = 0; side < 2; side++)
            ASSERT_MSG(e.err[side] == DHOLE_ERR_UNSUPPORTED &&
                           strstr(e.why[side], "no RDMA device reaches rank") != NULL,
                       "side %d: %s", side, e.why[side]);
        ends_close(&e);
    }
}

/* Slots follow each other when the counters wrap only if their number is a power of two. */
TEST(windows_are_powers_of_two)
{
    uint8_t bytes[dhole__rdma_offer_size];
    struct dhole__rdma_offer offer = {.n = 1};
    const struct dhole__verbs *verbs;
    struct dhole__device *device;

    fake_load();
    fake_devices("a msg_max=49152");
    ASSERT_OK(dhole__verbs_get(&verbs));
    ASSERT_OK(dhole__device_open(verbs, "a", 1, &device));
    ASSERT_EQ(device->shape.message, 49152);
    ASSERT_EQ(device->shape.window, 32);
    offer.device[0] = (struct dhole__offered){.shape = device->shape, .mtu = IBV_MTU_1024};
    dhole__device_close(device);
    dhole__rdma_offer_encode(&offer, bytes);
    ASSERT_OK(dhole__rdma_offer_decode(bytes, &offer));
    offer.device[0].shape.window = 42;
    dhole__rdma_offer_encode(&offer, bytes);
    ASSERT_ERR(dhole__rdma_offer_decode(bytes, &offer), DHOLE_ERR_PROTOCOL);
}

/* A peer that says anything at all in place of its offer. */
TEST(a_peer_that_lies_is_refused)
{
    unsigned long long seed = 1;

    fake_load();
    fake_devices("a; b");
    for (int round = 0; round < 500; round++) {
        struct dhole__rdma_wish wish = {"a", 1};
        struct dhole__conn *conn;
        struct dhole__rdma *rdma;
        const char *name = "a";
        uint8_t junk[2000];
        int fds[2];
        bool done = false;
        dhole_err err = DHOLE_OK;
        ASSERT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
        ASSERT_OK(dhole__tcp_conn_open(fds[0], &conn));
        ASSERT_OK(dhole__rdma_open(&wish, 1, &rdma));
        ASSERT_OK(dhole__rdma_start(rdma, conn, round % 2, 1, &name, 1, &conn));
        for (size_t i = 0; i < sizeof junk; i++)
            junk[i] = round % 3 == 0 ? 0xff : (uint8_t)test_random(&seed);
        ASSERT(write(fds[1], junk, sizeof junk) == (ssize_t)sizeof junk);
        ASSERT(shutdown(fds[1], SHUT_WR) == 0);
        while (!err)
            err = dhole__rdma_step(conn, &done);
        ASSERT(!done);
        dhole__conn_close(conn);
        dhole__rdma_close(rdma);
        close(fds[1]);
    }
    ASSERT_EQ(fake_live(), 0);
}
