/* What every connection promises (conn.h), on each kind of connection, and the waiting
 * loop over them (io.h). */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "as_messages.h"
#include "base/sys.h"
#include "dhole/error.h"
#include "pairs.h"
#include "test.h"
#include "transport/io.h"
#include "transport/shm/shm.h"

#ifdef FAKE_VERBS
#include "ends.h"
#endif

enum { big = 3 << 20 };

static void shm_pair(struct dhole__conn *out[2])
{
    bool done[2] = {false, false};

    tcp_pair(out);
    for (int side = 0; side < 2; side++)
        ASSERT_OK(dhole__shm_start(out[side], side, 1 << 20, &out[side]));
    while (!done[0] || !done[1])
        for (int side = 0; side < 2; side++)
            ASSERT_OK(dhole__shm_step(out[side], &done[side]));
}

#ifdef FAKE_VERBS

/* Their devices stay open until the process ends. */
static void rdma_pair(const char *devices, struct dhole__conn *out[2])
{
    static struct ends kept[16];
    static int n;

    ASSERT(n < 16);
    fake_device("a", devices);
    fake_device("b", devices);
    ends_open(&kept[n], "a", "b");
    out[0] = kept[n].conn[0];
    out[1] = kept[n].conn[1];
    n++;
}

static void rc_pair(struct dhole__conn *out[2])
{
    rdma_pair("qp=rc", out);
}

static void uc_pair(struct dhole__conn *out[2])
{
    rdma_pair("qp=uc", out);
}

#define RDMA_PAIRS rc_pair, uc_pair,
#else
#define RDMA_PAIRS
#endif

static void (*const pairs[])(struct dhole__conn *out[2]) = {RDMA_PAIRS tcp_pair, mem_pair,
                                                            shm_pair};

enum { kinds = sizeof pairs / sizeof pairs[0] };

static void with_each_kind(void (*run)(struct dhole__conn *c[2]))
{
    for (int kind = 0; kind < kinds; kind++) {
        struct dhole__conn *c[2];
        pairs[kind](c);
        run(c);
        dhole__conn_close(c[0]);
        dhole__conn_close(c[1]);
    }
}

static unsigned char pattern(size_t i, int salt)
{
    return (unsigned char)(i * 31 + (i >> 8) + (size_t)salt);
}

static void check_bytes_arrive_in_order_both_ways(struct dhole__conn *c[2])
{
    unsigned char *sent[2], *got[2];
    struct dhole__io io[4];
    for (int side = 0; side < 2; side++) {
        sent[side] = malloc(big);
        got[side] = calloc(1, big);
        for (size_t i = 0; i < big; i++)
            sent[side][i] = pattern(i, side);
        /* Heads and bodies are cut at different places on the two sides. */
        io[side] = dhole__io_send(c[side], sent[side], 32, sent[side] + 32, big - 32);
        io[2 + side] = dhole__io_recv(c[side], got[side], 1000, got[side] + 1000, big - 1000);
    }
    ASSERT_OK(dhole__io_run(io, 4, dhole__deadline_in(20000)));
    for (int side = 0; side < 2; side++) {
        ASSERT(memcmp(got[side], sent[!side], big) == 0);
        ASSERT_EQ(c[side]->sent, big);
        ASSERT_EQ(c[side]->received, big);
    }
    for (int side = 0; side < 2; side++) {
        free(sent[side]);
        free(got[side]);
    }
}

TEST(bytes_arrive_in_order_both_ways)
{
    with_each_kind(check_bytes_arrive_in_order_both_ways);
}

static void check_nothing_there_is_no_error_and_the_deadline_is_kept(struct dhole__conn *c[2])
{
    char byte;
    int64_t start = dhole__now();
    struct dhole__io io = dhole__io_recv(c[0], &byte, 1, NULL, 0);
    bool moved = true;
    ASSERT_OK(dhole__io_step(&io, 1, &moved));
    ASSERT(!moved);
    ASSERT_ERR(dhole__io_run(&io, 1, dhole__deadline_in(50)), DHOLE_ERR_TIMEOUT);
    ASSERT(dhole__now() - start >= 50000000);
    ASSERT_EQ(dhole__io_left(&io), 1);
}

TEST(nothing_there_is_no_error_and_the_deadline_is_kept)
{
    with_each_kind(check_nothing_there_is_no_error_and_the_deadline_is_kept);
}

TEST(a_closed_end_gives_its_bytes_then_peer_lost)
{
    for (int kind = 0; kind < kinds; kind++) {
        struct dhole__conn *c[2];
        char got[4] = "";
        pairs[kind](c);
        ASSERT_OK(
            dhole__io_run_one(dhole__io_send(c[0], "abc", 4, NULL, 0), dhole__deadline_in(1000)));
        dhole__conn_close(c[0]);
        ASSERT_OK(
            dhole__io_run_one(dhole__io_recv(c[1], got, 4, NULL, 0), dhole__deadline_in(1000)));
        ASSERT_STR(got, "abc");
        ASSERT_ERR(
            dhole__io_run_one(dhole__io_recv(c[1], got, 1, NULL, 0), dhole__deadline_in(1000)),
            DHOLE_ERR_PEER_LOST);
        ASSERT_ERR(
            dhole__io_run_one(dhole__io_send(c[1], got, 1, NULL, 0), dhole__deadline_in(1000)),
            DHOLE_ERR_PEER_LOST);
        dhole__conn_close(c[1]);
    }
}

static void *shut_down(void *arg)
{
    struct dhole__conn *conn = arg;

    conn->ops->shutdown(conn);
    return NULL;
}

static void check_shutdown_from_another_thread_wakes_a_sleeper(struct dhole__conn *c[2])
{
    pthread_t thread;
    char byte;
    ASSERT(pthread_create(&thread, NULL, shut_down, c[0]) == 0);
    ASSERT_ERR(
        dhole__io_run_one(dhole__io_recv(c[0], &byte, 1, NULL, 0), dhole__deadline_in(20000)),
        DHOLE_ERR_PEER_LOST);
    pthread_join(thread, NULL);
    ASSERT_ERR(
        dhole__io_run_one(dhole__io_recv(c[1], &byte, 1, NULL, 0), dhole__deadline_in(20000)),
        DHOLE_ERR_PEER_LOST);
}

TEST(shutdown_from_another_thread_wakes_a_sleeper)
{
    with_each_kind(check_shutdown_from_another_thread_wakes_a_sleeper);
}

static void *send_late(void *arg)
{
    struct timespec second = {1, 0};

    nanosleep(&second, NULL);
    ASSERT_OK(dhole__io_run_one(dhole__io_send(arg, "x", 1, NULL, 0), dhole__deadline_in(1000)));
    return NULL;
}

/* 20 ms of processor for a second's wait: it sleeps in the kernel. */
static void check_waiting_is_polite(struct dhole__conn *c[2])
{
    struct rusage before, after;
    pthread_t thread;
    long long used_us;
    char byte;
    ASSERT(pthread_create(&thread, NULL, send_late, c[0]) == 0);
    getrusage(RUSAGE_SELF, &before);
    ASSERT_OK(
        dhole__io_run_one(dhole__io_recv(c[1], &byte, 1, NULL, 0), dhole__deadline_in(20000)));
    getrusage(RUSAGE_SELF, &after);
    pthread_join(thread, NULL);
    used_us = (after.ru_utime.tv_sec - before.ru_utime.tv_sec +
               (after.ru_stime.tv_sec - before.ru_stime.tv_sec)) *
                  1000000LL +
              after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec -
              before.ru_stime.tv_usec;
    ASSERT_MSG(used_us <= 20000, "%lld us of processor", used_us);
}

TEST(waiting_is_polite)
{
    with_each_kind(check_waiting_is_polite);
}

static int heads;
static size_t left_at_head;

static dhole_err refuse_head(struct dhole__io *io, void *arg)
{
    heads++;
    left_at_head = dhole__io_left(io);
    return dhole__fail(DHOLE_ERR_MISMATCH, "%s", (char *)arg);
}

/* Else a wrong header would be found out only when a body of the wrong size is in. */
static void check_the_head_is_checked_before_the_body_is_there(struct dhole__conn *c[2])
{
    char head[4], body[100];
    struct dhole__io io = dhole__io_recv(c[1], head, sizeof head, body, sizeof body);
    heads = 0;
    io.on_head = refuse_head;
    io.arg = "not mine";
    ASSERT_OK(
        dhole__io_run_one(dhole__io_send(c[0], "HEADbody", 8, NULL, 0), dhole__deadline_in(1000)));
    ASSERT_ERR(dhole__io_run(&io, 1, dhole__deadline_in(1000)), DHOLE_ERR_MISMATCH);
    ASSERT_STR(dhole_error_message(), "not mine");
    ASSERT_EQ(heads, 1);
    ASSERT_EQ(left_at_head, 96);
    ASSERT_EQ(io.err, DHOLE_ERR_MISMATCH);
}

TEST(the_head_is_checked_before_the_body_is_there)
{
    with_each_kind(check_the_head_is_checked_before_the_body_is_there);
}

static int fail_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    (void)fds, (void)count, (void)timeout;
    errno = ENOMEM;
    return -1;
}

static ssize_t short_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    static unsigned turn;
    struct iovec iov = {msg->msg_iov[0].iov_base, msg->msg_iov[0].iov_len ? 1 : 0};
    struct msghdr one = {.msg_iov = &iov, .msg_iovlen = 1};

    if (turn++ % 3 == 0) {
        errno = turn % 2 ? EINTR : EAGAIN;
        return -1;
    }
    return sendmsg(fd, iov.iov_len ? &one : msg, flags);
}

TEST(short_and_interrupted_system_calls_lose_nothing)
{
    struct dhole__conn *c[2];
    char sent[257], got[257];
    struct dhole__io io[2];

    for (size_t i = 0; i < sizeof sent; i++)
        sent[i] = (char)pattern(i, 7);
    sockets_as_messages(short_sendmsg, recvmsg);
    tcp_pair(c);
    io[0] = dhole__io_send(c[0], sent, 100, sent + 100, sizeof sent - 100);
    io[1] = dhole__io_recv(c[1], got, sizeof got, NULL, 0);
    ASSERT_OK(dhole__io_run(io, 2, dhole__deadline_in(5000)));
    ASSERT(memcmp(sent, got, sizeof sent) == 0);
    dhole__conn_close(c[0]);
    dhole__conn_close(c[1]);
}

TEST(a_failing_poll_is_an_error)
{
    struct dhole__conn *c[2];
    char byte;

    dhole__sys.poll = fail_poll;
    tcp_pair(c);
    ASSERT_ERR(dhole__io_run_one(dhole__io_recv(c[0], &byte, 1, NULL, 0), dhole__deadline_in(5000)),
               DHOLE_ERR_SYSTEM);
    dhole__conn_close(c[0]);
    dhole__conn_close(c[1]);
}

static size_t offered;

static ssize_t note_offer(const struct msghdr *msg)
{
    offered = 0;
    for (size_t i = 0; i < (size_t)msg->msg_iovlen; i++)
        offered += msg->msg_iov[i].iov_len;
    errno = EAGAIN;
    return -1;
}

static ssize_t note_send(int fd, const struct msghdr *msg, int flags)
{
    (void)fd, (void)flags;
    return note_offer(msg);
}

static ssize_t note_recv(int fd, struct msghdr *msg, int flags)
{
    (void)fd, (void)flags;
    return note_offer(msg);
}

/* macOS refuses a call with more than INT_MAX bytes. */
TEST(tcp_offers_a_system_call_no_more_than_every_system_takes)
{
    static unsigned char bytes[2]; /* nobody looks beyond */
    const size_t lengths[][2] = {{32, SIZE_MAX / 4}, {0, SIZE_MAX / 4}, {SIZE_MAX / 4, 1}, {2, 2}};
    struct dhole__conn *c[2];

    tcp_pair(c);
    sockets_as_messages(note_send, note_recv);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        const struct iovec iov[] = {{bytes, lengths[i][0]}, {bytes, lengths[i][1]}};
        for (int n = 1; n <= 2; n++) {
            size_t moved;
            if (n == 1 && iov->iov_len == 0)
                continue;
            ASSERT_OK(dhole__conn_send(c[0], iov, n, &moved));
            ASSERT_MSG(offered > 0 && offered <= INT_MAX, "offer %zu to send: %zu", i, offered);
            offered = 0;
            ASSERT_OK(dhole__conn_recv(c[0], iov, n, &moved));
            ASSERT_MSG(offered > 0 && offered <= INT_MAX, "offer %zu to receive: %zu", i, offered);
        }
    }
    dhole__conn_close(c[0]);
    dhole__conn_close(c[1]);
}

TEST(a_wait_can_be_cancelled)
{
    struct dhole__conn *conn[2];
    int fd[2];
    uint8_t byte;

    ASSERT(pipe(fd) == 0);
    tcp_pair(conn);
    for (int hurried = 0; hurried < 2; hurried++) {
        struct dhole__io io = dhole__io_recv(conn[0], &byte, 1, NULL, 0);
        ASSERT_ERR(dhole__io_run_until(&io, 1, dhole__deadline_in(10), fd[0], hurried),
                   DHOLE_ERR_TIMEOUT);
        ASSERT_ERR(dhole__io_run_until(&io, 1, dhole__deadline_in(10), -1, hurried),
                   DHOLE_ERR_TIMEOUT);
        ASSERT_OK(dhole__io_check_cancelled(fd[0]));
        ASSERT(write(fd[1], "x", 1) == 1);
        ASSERT_ERR(dhole__io_run_until(&io, 1, dhole__deadline_in(50000), fd[0], hurried),
                   DHOLE_ERR_CANCELLED);
        ASSERT_ERR(dhole__io_check_cancelled(fd[0]), DHOLE_ERR_CANCELLED);
        ASSERT_OK(
            dhole__io_run_one(dhole__io_send(conn[1], "y", 1, NULL, 0), dhole__deadline_in(50000)));
        ASSERT_OK(dhole__io_run_until(&io, 1, dhole__deadline_in(50000), -1, hurried));
        ASSERT(read(fd[0], &byte, 1) == 1);
    }
    close(fd[0]);
    close(fd[1]);
    dhole__conn_close(conn[0]);
    dhole__conn_close(conn[1]);
}
