/* Upstream's defects, each by the name of its report: MLX's, and exo's. What is not about RDMA
 * alone is tested where it belongs (docs/upstream.md lists all). Above each stands how it was made
 * sure that the test fails without the defence. */
#include <errno.h>
#include <infiniband/verbs.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "dhole/error.h"
#include "ends.h"
#include "harness.h"
#include "test.h"
#include "transport/io.h"

/* As reported of Thunderbolt. */
#define APPLE "qp=uc qp_max=10 mr_max=100 sge_max=4 "

static void fake_apple(const char *gids)
{
    char devices[256];

    snprintf(devices, sizeof devices, "rdma_en2 " APPLE "gids=%s; rdma_en3 " APPLE "gids=%s", gids,
             gids);
    fake_devices(devices);
}

enum { shapes = 10000, shape_max = 20000 };

/* What rank `from` sends to `to` as its nth message: type, count and bytes, the same on both
 * sides. */
struct shape {
    dhole_dtype dtype;
    size_t count, size;
    unsigned long long seed;
};

static struct shape shape_of(int from, int to, int nth)
{
    static const dhole_dtype dtypes[] = {DHOLE_BOOL, DHOLE_I16, DHOLE_F32, DHOLE_F64, DHOLE_C64};
    struct shape shape = {.seed = (unsigned long long)(nth * 64 + from * 8 + to)};
    unsigned long long r = test_random(&shape.seed);

    shape.dtype = dtypes[r % 5];
    shape.count = r / 8 % (r / 5 % 4 == 0 ? shape_max / 8 : 40);
    shape.size = shape.count * dhole_dtype_size(shape.dtype);
    return shape;
}

static void fill(const struct shape *shape, unsigned char *out)
{
    unsigned long long seed = shape->seed;

    for (size_t i = 0; i < shape->size; i++)
        out[i] = (unsigned char)(i % 8 == 0 ? test_random(&seed) : seed >> (i % 8 * 8));
}

static void send_shape(struct rank *r, int to, int nth)
{
    static _Thread_local unsigned char data[shape_max];
    struct shape shape = shape_of(r->rank, to, nth);

    fill(&shape, data);
    ASSERT_OK(dhole_send(r->group, data, shape.count, shape.dtype, to));
}

static void receive_shape(struct rank *r, int from, int nth)
{
    static _Thread_local unsigned char data[shape_max], expected[shape_max];
    struct shape shape = shape_of(from, r->rank, nth);

    fill(&shape, expected);
    ASSERT_OK(dhole_recv(r->group, data, shape.count, shape.dtype, from));
    ASSERT_MSG(memcmp(data, expected, shape.size) == 0, "message %d from rank %d is wrong", nth,
               from);
}

/* Bursts from one rank to another, whichever. The receiver comes a little late, so that the sender
 * is far ahead; on UC a message that finds no receive is lost. */
static void exchange_shapes(struct rank *r)
{
    enum { burst_max = 300 };
    unsigned long long seed = 7;

    for (int nth = 0; nth < shapes;) {
        int from = (int)(test_random(&seed) % (unsigned)r->size);
        int to = (from + 1 + (int)(test_random(&seed) % (unsigned)(r->size - 1))) % r->size;
        int end = nth + 1 + (int)(test_random(&seed) % burst_max);
        if (r->rank == to)
            nanosleep(&(struct timespec){0, 2000000}, NULL);
        for (; nth < end; nth++) {
            if (r->rank == from)
                send_shape(r, to, nth);
            if (r->rank == to)
                receive_shape(r, from, nth);
        }
    }
}

/* No receive may ever be missing, which on UC is a message lost. The rest of it, wrong
 * counts and types, is in the conformance suite: mismatch. */
static void check_shapes(const struct backend *backend)
{
    static const int sizes[] = {2, 4};

    for (int i = 0; i < 2; i++) {
        run_group(backend, sizes[i], exchange_shapes, NULL);
        for (int rank = 0; rank < sizes[i] && getenv("DHOLE_TEST_RDMA") == NULL; rank++) {
            char name[32];
            snprintf(name, sizeof name, "left%d", rank);
            ASSERT_EQ(fake_counts(name).unmatched, 0);
        }
    }
}

/* Both fail when may_send (rail.c) does not look at the window. */
TEST_LIMIT(mlx_3149_varying_shapes_uc, 120)
{
    check_shapes(&backend_jaccl_uc);
}

TEST_LIMIT(mlx_3149_varying_shapes_rc, 120)
{
    check_shapes(&backend_jaccl);
}

static void check_tables(const char *left, const char *right)
{
    char devices[128];
    struct ends e;

    snprintf(devices, sizeof devices, "a qp=uc gids=%s; b qp=uc gids=%s", left, right);
    fake_devices(devices);
    ends_open(&e, "a", "b");
    ends_check(&e);
    ends_close(&e);
}

/* Fails when the path (qp.c) has one index for all, 1. */
TEST(mlx_3467_gid_and_its_index)
{
    static const char *const tables[] = {"rxe", "mlx5", "v4_at_1", "v4_at_2", "link", "global"};

    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        for (size_t k = 0; k < sizeof tables / sizeof tables[0]; k++)
            check_tables(tables[i], tables[k]);
}

/* The IPv4 GID is there and does not work, on one side or both: the link-local one does. Fails when
 * the first pair of GIDs alone is tried (agree.c). */
TEST(mlx_3389_a_gid_that_is_refused_is_not_the_only_one)
{
    static const int errors[] = {22, 60};

    for (int sides = 1; sides <= 3; sides++)
        for (int i = 0; i < 2; i++) {
            char setting[64];
            struct ends e;
            fake_devices("a " APPLE "gids=v4_at_1; b " APPLE "gids=v4_at_1");
            snprintf(setting, sizeof setting, "gid_at=1 gid_errno=%d", errors[i]);
            if (sides & 1)
                fake_device("a", setting);
            if (sides & 2)
                fake_device("b", setting);
            ends_open(&e, "a", "b");
            ends_check(&e);
            ends_close(&e);
        }
}

static void use_blocks(struct rank *r)
{
    enum { blocks = 8, count = 50000 };
    float *block[blocks];
    char name[32];

    snprintf(name, sizeof name, "left%d", r->rank);
    for (size_t n = 1; n <= 1 << 20; n *= 4) {
        float *in = calloc(n, sizeof *in), *out = calloc(n, sizeof *out);
        ASSERT_OK(dhole_all_sum(r->group, in, out, n, DHOLE_F32));
        free(in);
        free(out);
    }
    ASSERT_EQ(fake_counts(name).regions_most, 1);
    for (int i = 0; i < blocks; i++) {
        ASSERT_OK(dhole_alloc(r->group, count * sizeof(float), (void **)&block[i]));
        memset(block[i], 0, count * sizeof(float));
        ASSERT_OK(dhole_all_sum(r->group, block[i], block[i], count, DHOLE_F32));
    }
    ASSERT_EQ(fake_counts(name).regions, 1 + blocks);
    for (int i = 0; i < blocks; i++)
        dhole_dealloc(r->group, block[i]);
    ASSERT_EQ(fake_counts(name).regions, 1);
}

/* Fails when a rail registers its place in the arena. */
TEST(mlx_3162_regions)
{
    run_group(&backend_jaccl, 8, use_blocks, NULL);
    ASSERT_EQ(fake_live(), 0);
}

/* More blocks than the device has regions: the rest are sent with a copy. */
static void use_too_many_blocks(struct rank *r)
{
    enum { blocks = 120, count = 1000 };
    float *block[blocks];

    for (int i = 0; i < blocks; i++) {
        ASSERT_OK(dhole_alloc(r->group, count * sizeof(float), (void **)&block[i]));
        for (int k = 0; k < count; k++)
            block[i][k] = (float)i;
        ASSERT_OK(dhole_all_sum(r->group, block[i], block[i], count, DHOLE_F32));
        ASSERT(block[i][count - 1] == (float)(2 * i));
    }
    for (int i = 0; i < blocks; i++)
        dhole_dealloc(r->group, block[i]);
}

/* Fails when dhole_alloc insists on a region. */
TEST(mlx_3162_no_region_left_is_no_error)
{
    fake_device("left0", "mr_max=20");
    fake_device("left1", "mr_max=20");
    run_group(&backend_jaccl, 2, use_too_many_blocks, NULL);
    ASSERT_EQ(fake_counts("left0").regions_most, 20);
}

static void sum_once(struct rank *r)
{
    int one = 1, all;

    ASSERT_OK(dhole_all_sum(r->group, &one, &all, 1, DHOLE_I32));
    ASSERT_EQ(all, r->size);
}

/* Eight ranks with two devices each, of ten queue pairs. Fails when two are made for a peer. */
TEST(mlx_4209_queue_pairs_fit)
{
    char name[32];

    for (int rank = 0; rank < 8; rank++) {
        snprintf(name, sizeof name, "left%d", rank);
        fake_device(name, "qp_max=10");
        snprintf(name, sizeof name, "right%d", rank);
        fake_device(name, "qp_max=10");
    }
    run_group(&backend_jaccl_uc, 8, sum_once, NULL);
    for (int rank = 0; rank < 8; rank++) {
        snprintf(name, sizeof name, "left%d", rank);
        ASSERT(fake_counts(name).queue_pairs_most <= 10);
    }
}

/* An eleventh is never asked for where the device says how many it has; where it does not, its
 * EBUSY is told with what to do. Fails without check_queue_pairs (device.c), and without the hint
 * to EBUSY (qp.c). */
TEST(mlx_4209_too_many_queue_pairs_are_refused_in_words)
{
    struct dhole__rdma_wish wish = {"a", 11};
    struct dhole__rdma *rdma = NULL;
    struct ends e;

    fake_load();
    fake_devices("a qp=uc qp_max=10; b");
    ASSERT_ERR(dhole__rdma_open(&wish, 1, &rdma), DHOLE_ERR_LIMIT);
    ASSERT_CONTAINS(dhole_error_message(), "RDMA device a");
    ASSERT_CONTAINS(dhole_error_message(), "10 queue pairs");
    ASSERT_CONTAINS(dhole_error_message(), "11");
    ASSERT_EQ(fake_counts("a").queue_pairs_most, 0);
    ASSERT_EQ(fake_live(), 0);

    fake_devices("a qp=uc qp_max=0 qp_told=10; b");
    ASSERT(!ends_try(&e, "a", "b"));
    ASSERT_EQ(e.err[0], DHOLE_ERR_LIMIT);
    ASSERT_CONTAINS(e.why[0], "RDMA device a port 1");
    ASSERT_CONTAINS(e.why[0], strerror(EBUSY));
    ASSERT_CONTAINS(e.why[0], "fewer ranks");
    ends_close(&e);
}

static int64_t cpu_ms(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
           (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
}

/* The peer's process is gone as after SIGKILL: the system closes its TCP connection, and nothing
 * passes on the cable, in either direction. */
static void *die(void *arg)
{
    struct ends *e = arg;

    nanosleep(&(struct timespec){1, 500000000}, NULL);
    fake_device("*", "unplugged=1 quiet=1");
    ASSERT(shutdown(e->socket[1], SHUT_RDWR) == 0);
    return NULL;
}

static void lose_the_peer(const char *devices)
{
    struct ends e;
    struct dhole__io io;
    pthread_t thread;
    int64_t cpu;
    char byte;

    fake_devices(devices);
    ends_open(&e, "a", "b");
    ends_check(&e);
    io = dhole__io_recv(e.conn[0], &byte, 1, NULL, 0);
    cpu = cpu_ms();
    ASSERT(pthread_create(&thread, NULL, die, &e) == 0);
    ASSERT_ERR(dhole__io_run(&io, 1, dhole__deadline_in(20000)), DHOLE_ERR_PEER_LOST);
    ASSERT(cpu_ms() - cpu < 200); /* it slept */
    pthread_join(thread, NULL);
    ends_close(&e);
}

/* Fails when who sleeps polls the completion channel alone (poll_for in rail.c). */
TEST(mlx_4278_lost_peer_is_noticed)
{
    lose_the_peer("a " APPLE "; b " APPLE);
}

/* Fails when rail_arm never lets anybody sleep. */
TEST(exo_1823_a_killed_peer_leaves_nobody_spinning)
{
    lose_the_peer("a qp=rc; b qp=rc");
}

/* A peer that lives but sends nothing: the call ends, and who waits sleeps. */
static void wait_in_vain(struct rank *r)
{
    int64_t start = now_ms(), cpu = cpu_ms();
    char byte;

    if (r->rank == 0) {
        ASSERT_OK(dhole_set_timeout(r->group, 1000));
        ASSERT_ERR(dhole_recv(r->group, &byte, 1, DHOLE_U8, 1), DHOLE_ERR_TIMEOUT);
        ASSERT_CONTAINS(dhole_error_message(), "rank 1");
        ASSERT(now_ms() - start < patient(5000));
        ASSERT(cpu_ms() - cpu < 200);
    }
    ranks_meet(r);
}

/* Fails when dhole__io_poll waits for ever, and when rail_arm never lets anybody sleep. */
TEST(mlx_3910_a_poll_has_a_deadline)
{
    run_group(&backend_jaccl_uc, 2, wait_in_vain, NULL);
    run_group(&backend_jaccl, 2, wait_in_vain, NULL);
}

/* Rank 0 alone waits for the rank that leaves, the two others for those who are there. */
static void leave_or_wait(struct rank *r)
{
    static const int waits_for[] = {1, -1, 0, 2};
    char byte;

    sum_once(r);
    if (r->rank == 1)
        return; /* frees its group */
    ASSERT_ERR(dhole_recv(r->group, &byte, 1, DHOLE_U8, waits_for[r->rank]), DHOLE_ERR_PEER_LOST);
    ASSERT_CONTAINS(dhole_error_message(), "rank 1");
}

/* Fails when a verdict is not told to the others (liveness.c). */
TEST(mlx_4278_all_ranks_learn_who_is_lost)
{
    run_group(&backend_jaccl_uc, 4, leave_or_wait, NULL);
}

/* Of the messages that arrive at side 1 or leave it one has failed: it says so, and no byte of
 * it is taken for data. */
static void check_status(const char *devices, const char *which, int nth)
{
    dhole__deadline deadline = dhole__deadline_in(20000);
    char setting[64], status[32], byte;
    struct iovec iov = {&byte, 1};
    struct ends e;
    size_t moved;

    fake_devices(devices);
    ends_open(&e, "a", "b");
    snprintf(setting, sizeof setting, "%s=%d fail_status=%d", which, nth, IBV_WC_MW_BIND_ERR);
    snprintf(status, sizeof status, "status %d", IBV_WC_MW_BIND_ERR);
    fake_device("b", setting);
    ASSERT(ends_talk(&e, 1 << 20, 100000, 1, 500) != DHOLE_OK);
    while (dhole__conn_recv(e.conn[1], &iov, 1, &moved) == DHOLE_OK)
        ASSERT(dhole__now() < deadline);
    ASSERT_CONTAINS(dhole_error_message(), "RDMA device b port 1");
    ASSERT_CONTAINS(dhole_error_message(), "rank 0");
    ASSERT_CONTAINS(dhole_error_message(), status);
    ends_close(&e);
}

/* Fails when take_completion (rail.c) does not look at the status. */
TEST(mlx_3152_completion_status)
{
    for (int nth = 1; nth < 12; nth++) {
        check_status("a qp=uc; b qp=uc", "fail_recv", nth);
        check_status("a qp=rc; b qp=rc", "fail_recv", nth);
        check_status("a qp=uc; b qp=uc", "fail_send", nth);
        check_status("a qp=rc; b qp=rc", "fail_send", nth);
    }
}

static void check_refusal(const char *devices, const char *const *parts)
{
    struct ends e;

    fake_devices(devices);
    ASSERT(!ends_try(&e, "rdma_en2", "b"));
    ASSERT(e.err[0] == DHOLE_ERR_CONFIG);
    for (; *parts != NULL; parts++)
        ASSERT_CONTAINS(e.why[0], *parts);
    ends_close(&e);
}

/* Fails when the result of alloc_pd, or the state of the port, is not looked at (device.c). */
TEST(mlx_3755_port_down)
{
    static const char *const down[] = {"rdma_en2", "port 1", "not active", "cable", NULL};
    static const char *const null[] = {"rdma_en2", "port 1", "protection domain", "cable", NULL};

    check_refusal("rdma_en2 " APPLE "port=down pd=no; b", down);
    check_refusal("rdma_en2 " APPLE "port=active pd=no; b", null);
    check_refusal("rdma_en2 " APPLE "port=init; b", down);
}

/* Fails when a device without GIDs is taken (query in device.c). */
TEST(mlx_4485_no_gid_can_be_used)
{
    static const char *const parts[] = {"rdma_en2", "port 1", "GID", "IPv4 address", NULL};

    check_refusal("rdma_en2 " APPLE "gids=none; b", parts);
}

static void join_in_vain(struct rank *r)
{
    dhole_err err = dhole_init(&r->options, &r->group);

    ASSERT(err != DHOLE_OK);
    ASSERT_CONTAINS(dhole_error_message(), "left");
}

static void check_unreachable(const char *left, const char *right, const char *reason)
{
    struct ends e;

    fake_apple("link");
    fake_device("rdma_en2", left);
    fake_device("rdma_en3", right);
    ASSERT(!ends_try(&e, "rdma_en2", "rdma_en3"));
    for (int side = 0; side < 2; side++) {
        ASSERT_EQ(e.err[side], DHOLE_ERR_UNSUPPORTED);
        ASSERT_CONTAINS(e.why[side], "rdma_en2");
        ASSERT_CONTAINS(e.why[side], "rdma_en3");
        ASSERT_CONTAINS(e.why[side], "GID 0 (fe80::");
    }
    ASSERT_CONTAINS(e.why[0], reason);
    ends_close(&e);
}

/* The only way to the peer is none: both sides say so, with all that one needs to know. Fails when
 * the result of modify_qp is not looked at (agree.c). */
TEST(mlx_3777_unreachable_gid)
{
    check_unreachable("net=7 unreachable=60", "unreachable=60", "errno 60");
    check_unreachable("gid_at=0 gid_errno=22", "", "errno 22");
    check_unreachable("net=7 unreachable=0", "unreachable=0", "nothing has come from");
}

/* A group whose devices do not reach does not go on over TCP in silence. Fails when a lane that no
 * device carries becomes the connection below. */
TEST(mlx_3777_a_group_over_devices_that_do_not_reach_is_refused)
{
    fake_device("left1", "net=1");
    fake_device("left1", "seen=0");
    run_ranks(&backend_jaccl, 2, join_in_vain, NULL);
    ASSERT_EQ(fake_live(), 0);
}

/* RC is refused with errno 102, and UC is used. Fails when RC alone is tried (qp.c). */
TEST(apple_has_uc_alone)
{
    struct ends e;

    fake_apple("v4_at_1");
    ends_open(&e, "rdma_en2", "rdma_en3");
    ends_check(&e);
    ends_close(&e);
}

/* Before 26.3 a longer message is refused; where the port says so, and where it does not. Fails
 * when shorter messages are not tried (settle in agree.c). */
TEST(apple_takes_no_message_over_4096_bytes)
{
    static const char *const ways[] = {"msg_max=4096 msg_refuse=4096", "msg_refuse=4096"};

    for (int i = 0; i < 2; i++) {
        struct ends e;
        fake_apple("v4_at_1");
        fake_device("*", ways[i]);
        ends_open(&e, "rdma_en2", "rdma_en3");
        ASSERT_OK(ends_talk(&e, 1 << 20, 100000, 1, 20000));
        ends_close(&e);
    }
}

/* Two cables: the devices are named in another order on the other side, or there are more of
 * them. Fails when devices are paired by their place in the lists (offer.c). */
TEST(exo_2160_two_cables)
{
    static const char *const rights[] = {"b0 b1", "b1 b0", "b2 b1 b0"};

    for (int silent = 0; silent < 2; silent++)
        for (size_t i = 0; i < sizeof rights / sizeof rights[0]; i++) {
            struct ends e;
            fake_devices("a0 net=1; a1 net=2; b0 net=1; b1 net=2; b2 net=3");
            fake_device("*", silent ? "qp=uc unreachable=0" : "qp=uc unreachable=60");
            ends_open(&e, "a0 a1", rights[i]);
            ASSERT_OK(ends_talk(&e, 8 << 20, 1 << 20, 1, 20000));
            ends_close(&e);
            ASSERT(fake_counts("a0").sent > 20 && fake_counts("a1").sent > 20);
            ASSERT(fake_counts("b0").sent > 20 && fake_counts("b1").sent > 20);
        }
}

/* Nothing is said for longer than the silence after which a peer is lost. */
static void idle_then_sum(struct rank *r)
{
    sum_once(r);
    nanosleep(&(struct timespec){1, 500000000}, NULL);
    sum_once(r);
}

static void join_with_short_silence(struct rank *r)
{
    r->options.silence_ms = 400;
    rank_joins(r);
    idle_then_sum(r);
    dhole_group_free(r->group);
}

/* Fails when the control connections carry no beats (liveness.c). */
TEST(exo_1973_alive_after_idle)
{
    run_ranks(&backend_jaccl_uc, 2, join_with_short_silence, NULL);
    run_ranks(&backend_jaccl, 2, join_with_short_silence, NULL);
}

/* Whatever fails in the middle of a group's life is a value: the process goes on and makes another
 * group. */
static void fail_then_join_again(struct rank *r)
{
    int sum = 1;

    sum_once(r);
    ranks_meet(r);
    if (r->rank == 0)
        fake_device("left0", "fail_send=1 fail_status=10");
    ranks_meet(r);
    for (dhole_err err = DHOLE_OK; !err;)
        err = dhole_all_sum(r->group, &sum, &sum, 1, DHOLE_I32);
    ASSERT(dhole_error_message()[0] != '\0');
}

/* Fails when a failed completion ends the process, and when a closed rail keeps its queue pair. */
TEST(mlx_4329_an_error_is_a_value)
{
    run_group(&backend_jaccl_uc, 3, fail_then_join_again, NULL);
    ASSERT_EQ(fake_live(), 0);
    run_group(&backend_jaccl_uc, 3, sum_once, NULL);
    ASSERT_EQ(fake_live(), 0);
}
