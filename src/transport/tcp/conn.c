#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/os.h"
#include "base/sys.h"
#include "transport/tcp/tcp.h"

struct tcp_conn {
    struct dhole__conn base;
    int fd;
};

static bool would_block(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

static struct msghdr message(const struct iovec *iov, int n)
{
    return (struct msghdr){.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n};
}

static dhole_err tcp_send(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    struct tcp_conn *tcp = (struct tcp_conn *)conn;
    struct msghdr msg = message(iov, n);
    ssize_t sent = dhole__sys.sendmsg(tcp->fd, &msg, MSG_DONTWAIT | dhole__msg_nosignal);

    *moved = sent > 0 ? (size_t)sent : 0;
    if (sent >= 0 || would_block(errno))
        return DHOLE_OK;
    return dhole__fail_errno(DHOLE_ERR_PEER_LOST, "sending over TCP");
}

static dhole_err tcp_recv(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    struct tcp_conn *tcp = (struct tcp_conn *)conn;
    struct msghdr msg = message(iov, n);
    ssize_t got = dhole__sys.recvmsg(tcp->fd, &msg, MSG_DONTWAIT);

    *moved = got > 0 ? (size_t)got : 0;
    if (got > 0 || (got < 0 && would_block(errno)))
        return DHOLE_OK;
    if (got == 0)
        return dhole__fail(DHOLE_ERR_PEER_LOST, "the connection was closed");
    return dhole__fail_errno(DHOLE_ERR_PEER_LOST, "receiving over TCP");
}

static bool tcp_arm(struct dhole__conn *conn, bool want_send, bool want_recv, struct pollfd *pfd)
{
    const struct tcp_conn *tcp = (const struct tcp_conn *)conn;

    *pfd = (struct pollfd){.fd = tcp->fd};
    pfd->events = (short)((want_send ? POLLOUT : 0) | (want_recv ? POLLIN : 0));
    return true;
}

static void tcp_shutdown(struct dhole__conn *conn)
{
    shutdown(((struct tcp_conn *)conn)->fd, SHUT_RDWR);
}

static void tcp_close(struct dhole__conn *conn)
{
    close(((struct tcp_conn *)conn)->fd);
    free(conn);
}

static const struct dhole__conn_ops tcp_ops = {
    .name = "tcp",
    .send = tcp_send,
    .recv = tcp_recv,
    .arm = tcp_arm,
    .shutdown = tcp_shutdown,
    .close = tcp_close,
};

dhole_err dhole__tcp_conn_open(int fd, struct dhole__conn **out)
{
    struct tcp_conn *tcp;
    int on = 1;

    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "fcntl on a socket");
    /* Fails on a Unix socket, which has no delay to begin with. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    dhole__socket_no_sigpipe(fd);
    tcp = dhole__sys.malloc(sizeof *tcp);
    if (tcp == NULL)
        return dhole__fail_nomem(sizeof *tcp, "a connection");
    *tcp = (struct tcp_conn){.base.ops = &tcp_ops, .fd = fd};
    *out = &tcp->base;
    return DHOLE_OK;
}
