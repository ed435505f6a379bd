/* Makes every send and recv of the product a sendmsg and recvmsg, so that a test needs to change
 * these two only. */
#ifndef DHOLE_TESTS_AS_MESSAGES_H
#define DHOLE_TESTS_AS_MESSAGES_H

#include "base/sys.h"

static inline ssize_t send_as_message(int fd, const void *data, size_t size, int flags)
{
    struct iovec iov = {(void *)data, size};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    return dhole__sys.sendmsg(fd, &message, flags);
}

static inline ssize_t recv_as_message(int fd, void *data, size_t size, int flags)
{
    struct iovec iov = {data, size};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    return dhole__sys.recvmsg(fd, &message, flags);
}

static inline void sockets_as_messages(ssize_t (*sendmsg)(int, const struct msghdr *, int),
                                       ssize_t (*recvmsg)(int, struct msghdr *, int))
{
    dhole__sys.send = send_as_message;
    dhole__sys.recv = recv_as_message;
    dhole__sys.sendmsg = sendmsg;
    dhole__sys.recvmsg = recvmsg;
}

#endif
