#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
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

/* Some systems refuse more than INT_MAX bytes in one call. */
enum { call_max = 1 << 30 };

/* As much of iov[0..n), more than one, as one call may move; *cut is for a vector that alone is too
 * long. */
static struct msghdr message(const struct iovec *iov, int n, struct iovec *cut)
{
    size_t left = call_max;
    int whole = 0;

    while (whole < n && iov[whole].iov_len <= left)
        left -= iov[whole++].iov_len;
    if (whole == n || left < call_max)
        return (struct msghdr){.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)whole};
    *cut = (struct iovec){iov[whole].iov_base, call_max};
    return (struct msghdr){.msg_iov = cut, .msg_iovlen = 1};
}

static size_t at_most_a_call(size_t size)
{
    return size < call_max ? size : call_max;
}

/* A short message and its header go as one piece: copying it here costs less than having the
 * kernel walk a vector. */
enum { piece_max = 256 };

static bool fits_a_piece(const struct iovec *iov, int n)
{
    return n == 2 && iov[0].iov_len < piece_max && iov[1].iov_len < piece_max - iov[0].iov_len;
}

static size_t gather(const struct iovec iov[2], uint8_t *piece)
{
    memcpy(piece, iov[0].iov_base, iov[0].iov_len);
    if (iov[1].iov_len > 0)
        memcpy(piece + iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
    return iov[0].iov_len + iov[1].iov_len;
}

static void scatter(const struct iovec iov[2], const uint8_t *piece, size_t n)
{
    size_t first = n < iov[0].iov_len ? n : iov[0].iov_len;

    memcpy(iov[0].iov_base, piece, first);
    if (n > first)
        memcpy(iov[1].iov_base, piece + first, n - first);
}

static ssize_t send_some(int fd, const struct iovec *iov, int n)
{
    const int flags = MSG_DONTWAIT | dhole__msg_nosignal;
    uint8_t piece[piece_max];
    struct iovec cut;
    struct msghdr msg;

    if (n == 1)
        return dhole__sys.send(fd, iov->iov_base, at_most_a_call(iov->iov_len), flags);
    if (fits_a_piece(iov, n))
        return dhole__sys.send(fd, piece, gather(iov, piece), flags);
    msg = message(iov, n, &cut);
    return dhole__sys.sendmsg(fd, &msg, flags);
}

static ssize_t recv_some(int fd, const struct iovec *iov, int n)
{
    uint8_t piece[piece_max];
    struct iovec cut;
    struct msghdr msg;
    ssize_t got;

    if (n == 1)
        return dhole__sys.recv(fd, iov->iov_base, at_most_a_call(iov->iov_len), MSG_DONTWAIT);
    if (fits_a_piece(iov, n)) {
        got = dhole__sys.recv(fd, piece, iov[0].iov_len + iov[1].iov_len, MSG_DONTWAIT);
        if (got > 0)
            scatter(iov, piece, (size_t)got);
        return got;
    }
    msg = message(iov, n, &cut);
    return dhole__sys.recvmsg(fd, &msg, MSG_DONTWAIT);
}

static dhole_err tcp_send(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    ssize_t sent = send_some(((struct tcp_conn *)conn)->fd, iov, n);

    *moved = sent > 0 ? (size_t)sent : 0;
    if (sent >= 0 || would_block(errno))
        return DHOLE_OK;
    return dhole__fail_errno(DHOLE_ERR_PEER_LOST, "sending over TCP");
}

static dhole_err tcp_recv(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    ssize_t got = recv_some(((struct tcp_conn *)conn)->fd, iov, n);

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

/* Whether both ends have the same address, or the peer's is a loopback one. */
static bool stays_on_host(int fd)
{
    struct dhole__address own = {.length = sizeof own.addr}, peer = {.length = sizeof peer.addr};
    const struct sockaddr_in *a4 = (struct sockaddr_in *)&own.addr;
    const struct sockaddr_in *b4 = (struct sockaddr_in *)&peer.addr;
    const struct sockaddr_in6 *a6 = (struct sockaddr_in6 *)&own.addr;
    const struct sockaddr_in6 *b6 = (struct sockaddr_in6 *)&peer.addr;

    if (getsockname(fd, (struct sockaddr *)&own.addr, &own.length) < 0 ||
        getpeername(fd, (struct sockaddr *)&peer.addr, &peer.length) < 0)
        return false;
    own.family = own.addr.ss_family;
    peer.family = peer.addr.ss_family;
    if (own.family == AF_INET)
        return dhole__tcp_is_loopback(&peer) || a4->sin_addr.s_addr == b4->sin_addr.s_addr;
    if (own.family == AF_INET6)
        return dhole__tcp_is_loopback(&peer) || IN6_ARE_ADDR_EQUAL(&a6->sin6_addr, &b6->sin6_addr);
    return false;
}

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
    if (stays_on_host(fd))
        dhole__socket_on_host(fd);
    tcp = dhole__sys.malloc(sizeof *tcp);
    if (tcp == NULL)
        return dhole__fail_nomem(sizeof *tcp, "a connection");
    *tcp = (struct tcp_conn){.base.ops = &tcp_ops, .fd = fd};
    *out = &tcp->base;
    return DHOLE_OK;
}
