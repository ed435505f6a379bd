/* Two ends of one connection, for the tests of this folder. */
#ifndef TEST_TRANSPORT_PAIRS_H
#define TEST_TRANSPORT_PAIRS_H

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include "test.h"
#include "transport/io.h"
#include "transport/mem/mem.h"
#include "transport/tcp/tcp.h"

static inline void tcp_pair(struct dhole__conn *out[2])
{
    int fds[2];

    ASSERT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    ASSERT_OK(dhole__tcp_conn_open(fds[0], &out[0]));
    ASSERT_OK(dhole__tcp_conn_open(fds[1], &out[1]));
}

static inline void mem_pair(struct dhole__conn *out[2])
{
    ASSERT_OK(dhole__mem_pair(out));
}

/* Sends up to `size` bytes, 1 MiB at most; how many went. */
static inline size_t put(struct dhole__conn *conn, size_t size)
{
    static uint8_t zeroes[1 << 20];
    struct iovec iov = {zeroes, size};
    size_t moved;

    ASSERT_OK(dhole__conn_send(conn, &iov, 1, &moved));
    return moved;
}

/* The same the other way. */
static inline size_t get(struct dhole__conn *conn, size_t size)
{
    static _Thread_local uint8_t sink[1 << 20];
    struct iovec iov = {sink, size};
    size_t moved;

    ASSERT_OK(dhole__conn_recv(conn, &iov, 1, &moved));
    return moved;
}

struct sleeper {
    struct dhole__conn *conn;
    int rounds;
    bool first;
};

static inline void *answer_without_spinning(void *arg)
{
    enum { size = 40 };
    const struct sleeper *me = arg;
    dhole__deadline deadline = dhole__deadline_in(50000);

    for (int i = 0; i < me->rounds; i++) {
        struct pollfd pfd;
        if (me->first || i > 0)
            ASSERT_EQ(put(me->conn, size), size);
        for (size_t left = size; left > 0; left -= get(me->conn, left))
            if (me->conn->ops->arm(me->conn, false, true, &pfd))
                ASSERT_OK(dhole__io_poll(&pfd, 1, deadline));
    }
    if (!me->first)
        put(me->conn, size);
    return NULL;
}

/* A message to and fro, many times, and both sides sleep before each: a lost wake-up would end in
 * the deadline. */
static inline void check_wake_ups(struct dhole__conn *c[2], int rounds)
{
    struct sleeper one = {c[0], rounds, true}, other = {c[1], rounds, false};
    pthread_t thread;

    ASSERT(pthread_create(&thread, NULL, answer_without_spinning, &other) == 0);
    answer_without_spinning(&one);
    pthread_join(thread, NULL);
}

#endif
