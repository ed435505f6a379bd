/* Several connections joined into one stream. */
#include "transport/rails.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "as_messages.h"
#include "base/sys.h"
#include "dhole/error.h"
#include "pairs.h"
#include "seal/seal.h"
#include "test.h"
#include "transport/io.h"

enum { chunk = dhole__rails_chunk, big = 5 * (1 << 20) + 17 };

static const char *const address[] = {"10.0.0.1:1", "10.0.1.1:1", "10.0.2.1:1", "10.0.3.1:1",
                                      "10.0.4.1:1", "10.0.5.1:1", "10.0.6.1:1", "10.0.7.1:1"};

static void sealed_pair(struct dhole__conn *out[2])
{
    static const uint8_t secret[2][dhole__lane_key_size] = {{1}, {2}};
    struct dhole__conn *lower[2];

    tcp_pair(lower);
    for (int side = 0; side < 2; side++)
        ASSERT_OK(dhole__lane_open_keyed(lower[side], secret[side], secret[!side], &out[side]));
}

/* Moves a few bytes at a time, now and then none, as a busy network does. */
struct drip {
    struct dhole__conn base;
    struct dhole__conn *lower;
    unsigned long long state;
};

static dhole_err dripping(struct drip *drip,
                          dhole_err (*move)(struct dhole__conn *, const struct iovec *, int,
                                            size_t *),
                          const struct iovec *iov, int n, size_t *moved)
{
    struct iovec part = iov[0];
    size_t most = test_random(&drip->state) % 50000;

    *moved = 0;
    if (most < 10000)
        return DHOLE_OK;
    if (part.iov_len == 0)
        return move(drip->lower, iov + 1, n - 1, moved);
    if (part.iov_len > most)
        part.iov_len = most;
    return move(drip->lower, &part, 1, moved);
}

static dhole_err drip_send(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    return dripping((struct drip *)conn, dhole__conn_send, iov, n, moved);
}

static dhole_err drip_recv(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    return dripping((struct drip *)conn, dhole__conn_recv, iov, n, moved);
}

static bool drip_arm(struct dhole__conn *conn, bool want_send, bool want_recv, struct pollfd *pfd)
{
    (void)conn, (void)want_send, (void)want_recv, (void)pfd;
    return false;
}

static void drip_close(struct dhole__conn *conn)
{
    dhole__conn_close(((struct drip *)conn)->lower);
    free(conn);
}

static const struct dhole__conn_ops drip_ops = {
    .name = "drip", .send = drip_send, .recv = drip_recv, .arm = drip_arm, .close = drip_close};

static void dripping_pair(struct dhole__conn *out[2])
{
    static unsigned long long seed;
    struct dhole__conn *lower[2];

    tcp_pair(lower);
    for (int side = 0; side < 2; side++) {
        struct drip *drip = calloc(1, sizeof *drip);
        *drip = (struct drip){{.ops = &drip_ops}, lower[side], seed++};
        out[side] = &drip->base;
    }
}

typedef void pair_fn(struct dhole__conn *out[2]);

static pair_fn *const kinds[] = {tcp_pair, mem_pair, sealed_pair, dripping_pair};

/* What is to be joined: the ends of n connections. */
static void lower_pairs(pair_fn *pair, int n, struct dhole__conn **one, struct dhole__conn **other)
{
    for (int i = 0; i < n; i++) {
        struct dhole__conn *c[2];
        pair(c);
        one[i] = c[0];
        other[i] = c[1];
    }
}

static void rails_pair(pair_fn *pair, int n, struct dhole__conn *out[2])
{
    struct dhole__conn *rail[2][dhole__rails_max];

    lower_pairs(pair, n, rail[0], rail[1]);
    for (int side = 0; side < 2; side++)
        ASSERT_OK(dhole__rails_open(rail[side], address, n, dhole__rails_chunk, &out[side]));
}

static unsigned char pattern(size_t i, int salt)
{
    return (unsigned char)(i * 31 + (i >> 8) + (i >> 16) * 7 + (size_t)salt);
}

static void fill(unsigned char *data, size_t size, int salt)
{
    for (size_t i = 0; i < size; i++)
        data[i] = pattern(i, salt);
}

static void check_both_ways(pair_fn *pair, int n)
{
    unsigned char *sent[2], *got[2];
    struct dhole__conn *c[2];
    struct dhole__io io[4];

    rails_pair(pair, n, c);
    for (int side = 0; side < 2; side++) {
        sent[side] = malloc(big);
        got[side] = calloc(1, big);
        fill(sent[side], big, side);
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
        dhole__conn_close(c[side]);
    }
}

TEST(bytes_arrive_in_order_both_ways_on_any_number_of_rails)
{
    for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++)
        for (int n = 1; n <= dhole__rails_max; n += n < 3 ? 1 : 5)
            check_both_ways(kinds[kind], n);
}

/* Messages of all sizes, so that they begin and end anywhere in a chunk. */
TEST(messages_of_any_size_arrive_whole)
{
    enum { most = 3 * chunk };
    unsigned char *sent = malloc(most), *got = malloc(most);

    for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++) {
        unsigned long long state = kind;
        struct dhole__conn *c[2];
        rails_pair(kinds[kind], 3, c);
        for (int i = 0; i < 100; i++) {
            size_t size = 1 + test_random(&state) % (i % 4 ? 2000 : most), cut = size / 3;
            struct dhole__io io[2] = {dhole__io_send(c[0], sent, cut, sent + cut, size - cut),
                                      dhole__io_recv(c[1], got, size - cut, got + size - cut, cut)};
            fill(sent, size, i);
            memset(got, 0, size);
            ASSERT_OK(dhole__io_run(io, 2, dhole__deadline_in(20000)));
            ASSERT(memcmp(sent, got, size) == 0);
        }
        dhole__conn_close(c[0]);
        dhole__conn_close(c[1]);
    }
    free(sent);
    free(got);
}

/* What the other side relies on. */
static void check_turns(size_t length)
{
    struct dhole__conn *rail[2][3], *joined;
    unsigned char *sent = malloc(4 * length), *got = malloc(2 * length);
    struct dhole__io io[4];

    fill(sent, 4 * length, 1);
    lower_pairs(tcp_pair, 3, rail[0], rail[1]);
    ASSERT_OK(dhole__rails_open(rail[0], address, 3, length, &joined));
    io[0] = dhole__io_send(joined, sent, 4 * length, NULL, 0);
    io[1] = dhole__io_recv(rail[1][0], got, length, got + length, length);
    io[2] = dhole__io_recv(rail[1][1], sent + length, length, NULL, 0);
    io[3] = dhole__io_recv(rail[1][2], sent + 2 * length, length, NULL, 0);
    ASSERT_OK(dhole__io_run(io, 4, dhole__deadline_in(20000)));
    for (size_t i = 0; i < 4 * length; i++)
        ASSERT_EQ(sent[i], pattern(i, 1));
    ASSERT(memcmp(got, sent, length) == 0 && memcmp(got + length, sent + 3 * length, length) == 0);
    dhole__conn_close(joined);
    for (int i = 0; i < 3; i++)
        dhole__conn_close(rail[1][i]);
    free(sent);
    free(got);
}

TEST(chunks_take_the_rails_in_turn)
{
    check_turns(chunk);
    check_turns(2 * chunk);
}

static int sends, receives;

static ssize_t count_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    sends++;
    return sendmsg(fd, msg, flags);
}

static ssize_t count_recvmsg(int fd, struct msghdr *msg, int flags)
{
    receives++;
    return recvmsg(fd, msg, flags);
}

TEST(a_small_message_is_one_system_call)
{
    struct dhole__conn *c[2];
    char head[32] = "", body[64] = "";
    struct dhole__io io[2];

    sockets_as_messages(count_sendmsg, count_recvmsg);
    rails_pair(tcp_pair, 4, c);
    io[0] = dhole__io_send(c[0], head, sizeof head, body, sizeof body);
    io[1] = dhole__io_recv(c[1], head, sizeof head, body, sizeof body);
    ASSERT_OK(dhole__io_run(io, 2, dhole__deadline_in(20000)));
    ASSERT_EQ(sends, 1);
    ASSERT_EQ(receives, 1);
    dhole__conn_close(c[0]);
    dhole__conn_close(c[1]);
}

/* A rail that moves nothing does not keep the others from working ahead. */
TEST(all_rails_carry_load_when_one_is_slow)
{
    struct dhole__conn *rail[2][2], *joined;
    unsigned char *data = malloc(2 * chunk);
    struct iovec iov = {data, 2 * chunk}, plug = {data, chunk}, drain = {data, chunk};
    size_t moved;

    fill(data, 2 * chunk, 1);
    lower_pairs(tcp_pair, 2, rail[0], rail[1]);
    do
        ASSERT_OK(dhole__conn_send(rail[0][0], &plug, 1, &moved));
    while (moved > 0);
    ASSERT_OK(dhole__rails_open(rail[0], address, 2, dhole__rails_chunk, &joined));
    ASSERT_OK(dhole__conn_send(joined, &iov, 1, &moved));
    ASSERT_EQ(moved, 0);
    ASSERT_OK(dhole__conn_recv(rail[1][1], &drain, 1, &moved));
    ASSERT(moved > 0);
    ASSERT(data[0] == pattern(chunk, 1));
    dhole__conn_close(joined);
    dhole__conn_close(rail[1][0]);
    dhole__conn_close(rail[1][1]);
    free(data);
}

static void check_a_lost_rail(int dead, bool sender)
{
    struct dhole__conn *rail[2][3], *joined;
    unsigned char *data = calloc(1, big);
    char name[64];
    struct dhole__io io;

    lower_pairs(tcp_pair, 3, rail[0], rail[1]);
    ASSERT_OK(dhole__rails_open(rail[0], address, 3, dhole__rails_chunk, &joined));
    dhole__conn_close(rail[1][dead]);
    io = sender ? dhole__io_send(joined, data, big, NULL, 0)
                : dhole__io_recv(joined, data, big, NULL, 0);
    ASSERT_ERR(dhole__io_run(&io, 1, dhole__deadline_in(20000)), DHOLE_ERR_PEER_LOST);
    snprintf(name, sizeof name, "rail %d of 3, %s", dead, address[dead]);
    ASSERT_CONTAINS(dhole_error_message(), name);
    dhole__conn_close(joined);
    for (int i = 0; i < 3; i++)
        if (i != dead)
            dhole__conn_close(rail[1][i]);
    free(data);
}

TEST(a_lost_rail_is_named)
{
    for (int dead = 0; dead < 3; dead++) {
        check_a_lost_rail(dead, true);
        check_a_lost_rail(dead, false);
    }
}

static void *shut_down(void *arg)
{
    struct dhole__conn *conn = arg;

    conn->ops->shutdown(conn);
    return NULL;
}

TEST(shutdown_wakes_whoever_sleeps_on_any_rail)
{
    unsigned char *data = calloc(1, chunk + 1);

    for (int waiting = 0; waiting < 2; waiting++) {
        struct dhole__conn *c[2];
        struct dhole__io io;
        pthread_t thread;
        rails_pair(tcp_pair, 2, c);
        if (waiting == 1) {
            struct dhole__io both[2] = {dhole__io_send(c[1], data, chunk, NULL, 0),
                                        dhole__io_recv(c[0], data, chunk, NULL, 0)};
            ASSERT_OK(dhole__io_run(both, 2, dhole__deadline_in(20000)));
        }
        ASSERT(pthread_create(&thread, NULL, shut_down, c[0]) == 0);
        io = dhole__io_recv(c[0], data, chunk + 1, NULL, 0);
        ASSERT_ERR(dhole__io_run(&io, 1, dhole__deadline_in(20000)), DHOLE_ERR_PEER_LOST);
        pthread_join(thread, NULL);
        dhole__conn_close(c[0]);
        dhole__conn_close(c[1]);
    }
    free(data);
}

/* Nothing but what is told lies in the memory that was offered. */
TEST(rails_that_receive_in_turn_need_not_be_offered_the_same_memory)
{
    struct dhole__conn *rail[2][2], *joined;
    unsigned char *data = malloc(2 * chunk), *got = calloc(2, chunk);
    struct iovec all = {got, 2 * chunk}, little = {got, 100}, half = {data, chunk / 2};
    struct iovec second = {data + chunk, chunk};
    size_t moved;

    fill(data, 2 * chunk, 1);
    lower_pairs(mem_pair, 2, rail[0], rail[1]);
    ASSERT_OK(dhole__rails_open(rail[0], address, 2, dhole__rails_chunk, &joined));
    dhole__rails_receive_in_turn(joined);
    ASSERT_OK(dhole__conn_send(rail[1][1], &second, 1, &moved));
    ASSERT_EQ(moved, chunk);
    ASSERT_OK(dhole__conn_recv(joined, &all, 1, &moved));
    ASSERT_EQ(moved, 0);
    ASSERT_OK(dhole__conn_send(rail[1][0], &half, 1, &moved));
    ASSERT_EQ(moved, chunk / 2);
    ASSERT_OK(dhole__conn_recv(joined, &little, 1, &moved));
    ASSERT_EQ(moved, 100);
    ASSERT_OK(dhole__conn_recv(joined, &all, 1, &moved));
    ASSERT_EQ(moved, chunk / 2 - 100);
    ASSERT(memcmp(got, data + 100, moved) == 0);
    half.iov_base = data + chunk / 2;
    ASSERT_OK(dhole__conn_send(rail[1][0], &half, 1, &moved));
    ASSERT_EQ(moved, chunk / 2);
    ASSERT_OK(dhole__conn_recv(joined, &all, 1, &moved));
    ASSERT_EQ(moved, chunk / 2 + chunk);
    ASSERT(memcmp(got, data + chunk / 2, moved) == 0);
    dhole__conn_close(joined);
    dhole__conn_close(rail[1][0]);
    dhole__conn_close(rail[1][1]);
    free(data);
    free(got);
}

/* A caller that breaks the rule of conn.h is told, and not that its memory is full of bytes. */
TEST(an_offer_that_shrinks_is_refused)
{
    struct dhole__conn *rail[2][2], *joined;
    unsigned char *data = calloc(2, chunk);
    struct iovec both = {data, 2 * chunk}, first = {data, chunk};
    size_t moved;

    lower_pairs(mem_pair, 2, rail[0], rail[1]);
    ASSERT_OK(dhole__rails_open(rail[0], address, 2, dhole__rails_chunk, &joined));
    ASSERT_OK(dhole__conn_send(rail[1][1], &first, 1, &moved));
    ASSERT_EQ(moved, chunk);
    ASSERT_OK(dhole__conn_recv(joined, &both, 1, &moved));
    ASSERT_EQ(moved, 0);
    ASSERT_OK(dhole__conn_send(rail[1][0], &first, 1, &moved));
    ASSERT_EQ(moved, chunk);
    ASSERT_ERR(dhole__conn_recv(joined, &first, 1, &moved), DHOLE_ERR_INVALID);
    ASSERT_EQ(moved, 0);
    dhole__conn_close(joined);
    dhole__conn_close(rail[1][0]);
    dhole__conn_close(rail[1][1]);
    free(data);
}
