#include "transport/tcp/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "base/sys.h"
#include "transport/io.h"
#include "transport/transport.h"

enum { backlog = 128 };

struct tcp {
    struct dhole__transport base;
    const char *const *hosts;
    int listen_fd;
    bool owns_listen_fd;
};

static int stream_socket(int family)
{
    int fd = dhole__sys.socket(family, SOCK_STREAM, 0);

    if (fd >= 0 && (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

static dhole_err listen_on(const char *host, int *out)
{
    struct dhole__address address;
    dhole_err err = dhole__tcp_resolve(host, &address);
    int on = 1;
    int fd;

    if (err)
        return err;
    fd = stream_socket(address.family);
    if (fd < 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot make a socket for %s", host);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (dhole__sys.bind(fd, (struct sockaddr *)&address.addr, address.length) < 0 ||
        dhole__sys.listen(fd, backlog) < 0) {
        err = dhole__fail_errno(DHOLE_ERR_CONFIG, "cannot listen on %s, this rank's address", host);
        close(fd);
        return err;
    }
    *out = fd;
    return DHOLE_OK;
}

static dhole_err tcp_open(struct dhole__transport *transport,
                          const struct dhole__transport_config *config)
{
    struct tcp *tcp = (struct tcp *)transport;

    tcp->hosts = config->hosts;
    tcp->listen_fd = config->listen_fd;
    if (tcp->listen_fd >= 0) {
        int flags = fcntl(tcp->listen_fd, F_GETFL);
        if (flags < 0 || fcntl(tcp->listen_fd, F_SETFL, flags | O_NONBLOCK) < 0)
            return dhole__fail_errno(DHOLE_ERR_INVALID, "listen_fd %d", tcp->listen_fd);
        return DHOLE_OK;
    }
    tcp->owns_listen_fd = true;
    return listen_on(config->hosts[config->rank], &tcp->listen_fd);
}

/* One attempt; errno says why it failed. */
static int try_connect(const struct dhole__address *address, dhole__deadline deadline)
{
    int fd = stream_socket(address->family);
    struct pollfd pfd = {.fd = fd, .events = POLLOUT};
    socklen_t length = sizeof(int);
    int error = 0;

    if (fd < 0)
        return -1;
    if (dhole__sys.connect(fd, (const struct sockaddr *)&address->addr, address->length) < 0) {
        error = errno;
        if (error == EINPROGRESS) {
            error = ETIMEDOUT;
            if (dhole__sys.poll(&pfd, 1, dhole__deadline_ms(deadline)) > 0)
                getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
        }
    }
    if (error) {
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* A peer that is yet to start refuses, or its host is not up yet: worth another try. */
static bool worth_retrying(int error)
{
    return error == ECONNREFUSED || error == ECONNRESET || error == EHOSTUNREACH ||
           error == ENETUNREACH || error == EINTR || error == EHOSTDOWN;
}

static dhole_err tcp_connect(struct dhole__transport *transport, int peer, dhole__deadline deadline,
                             struct dhole__conn **out)
{
    const struct tcp *tcp = (const struct tcp *)transport;
    const char *host = tcp->hosts[peer];
    struct timespec pause = {0, 5000000};
    struct dhole__address address;
    dhole_err err = dhole__tcp_resolve(host, &address);
    int fd;

    if (err)
        return err;
    while ((fd = try_connect(&address, deadline)) < 0) {
        if (errno == ETIMEDOUT || (worth_retrying(errno) && dhole__now() >= deadline))
            return dhole__fail_errno(DHOLE_ERR_TIMEOUT, "rank %d could not be reached at %s", peer,
                                     host);
        if (!worth_retrying(errno))
            return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot connect to rank %d at %s", peer,
                                     host);
        nanosleep(&pause, NULL);
        if (pause.tv_nsec < 200000000)
            pause.tv_nsec *= 2;
    }
    err = dhole__tcp_conn_open(fd, out);
    if (err)
        close(fd);
    return err;
}

static dhole_err tcp_accept(struct dhole__transport *transport, struct dhole__conn **out)
{
    const struct tcp *tcp = (const struct tcp *)transport;
    int fd = dhole__sys.accept(tcp->listen_fd, NULL, NULL);
    dhole_err err;

    *out = NULL;
    if (fd < 0) {
        /* Whatever else happened to that one connection, the next may be good. */
        if (errno == EBADF || errno == EINVAL || errno == ENOTSOCK || errno == EMFILE ||
            errno == ENFILE || errno == ENOMEM)
            return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot accept connections");
        return DHOLE_OK;
    }
    err = dhole__tcp_conn_open(fd, out);
    if (err)
        close(fd);
    return err;
}

static bool tcp_arm_accept(struct dhole__transport *transport, struct pollfd *pfd)
{
    *pfd = (struct pollfd){.fd = ((struct tcp *)transport)->listen_fd, .events = POLLIN};
    return true;
}

static void tcp_close_transport(struct dhole__transport *transport)
{
    struct tcp *tcp = (struct tcp *)transport;

    if (tcp->owns_listen_fd)
        close(tcp->listen_fd);
}

const struct dhole__transport_ops dhole__transport_tcp = {
    .name = "tcp",
    .size = sizeof(struct tcp),
    .open = tcp_open,
    .connect = tcp_connect,
    .accept = tcp_accept,
    .arm = tcp_arm_accept,
    .close = tcp_close_transport,
};
