/* Two ends of one connection, for the tests of this folder. */
#ifndef TEST_TRANSPORT_PAIRS_H
#define TEST_TRANSPORT_PAIRS_H

#include <sys/socket.h>

#include "test.h"
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

#endif
