#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "base/sys.h"
#include "transport/tcp/tcp.h"

/* Strangers who call in great number must not keep others from being heard. */
enum { backlog = SOMAXCONN };

enum { listen_tries = 16 }; /* for a port that is free at several addresses */

static int stream_socket(int family)
{
    int fd = dhole__sys.socket(family, SOCK_STREAM, 0);

    if (fd >= 0 && (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

static int fail_with(int fd, int error)
{
    close(fd);
    errno = error;
    return -1;
}

int dhole__tcp_listen(const struct dhole__address *address, int *out)
{
    int fd = stream_socket(address->family);
    int on = 1;

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (dhole__sys.bind(fd, (const struct sockaddr *)&address->addr, address->length) < 0 ||
        dhole__sys.listen(fd, backlog) < 0)
        return fail_with(fd, errno);
    *out = fd;
    return 0;
}

static void close_all(int *fds, int count)
{
    int error = errno;

    while (count > 0)
        close(fds[--count]);
    errno = error;
}

static int try_to_listen(const struct dhole__address *addresses, int count, int *fds)
{
    struct dhole__address first = addresses[0];

    if (dhole__tcp_listen(&first, &fds[0]) < 0)
        return -1;
    if (getsockname(fds[0], (struct sockaddr *)&first.addr, &first.length) < 0)
        return fail_with(fds[0], errno);
    for (int i = 1; i < count; i++) {
        struct dhole__address address = addresses[i];
        dhole__tcp_set_port(&address, dhole__tcp_port(&first));
        if (dhole__tcp_listen(&address, &fds[i]) < 0) {
            close_all(fds, i);
            return -1;
        }
    }
    return 0;
}

int dhole__tcp_listen_all(const struct dhole__address *addresses, int count, int *out)
{
    int tries = dhole__tcp_port(&addresses[0]) == 0 ? listen_tries : 1, failed;

    do
        failed = try_to_listen(addresses, count, out);
    while (failed && errno == EADDRINUSE && --tries > 0);
    return failed;
}

int dhole__tcp_start_connect(const struct dhole__address *address)
{
    int fd = stream_socket(address->family);

    if (fd >= 0 &&
        dhole__sys.connect(fd, (const struct sockaddr *)&address->addr, address->length) < 0 &&
        errno != EINPROGRESS)
        return fail_with(fd, errno);
    return fd;
}

int dhole__tcp_connected(int fd)
{
    socklen_t length = sizeof(int);
    int error = 0;

    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 ? errno : error;
}

int dhole__tcp_try_connect(const struct dhole__address *address, dhole__deadline deadline)
{
    int fd = dhole__tcp_start_connect(address);
    struct pollfd pfd = {.fd = fd, .events = POLLOUT};
    int error = ETIMEDOUT;

    if (fd < 0)
        return -1;
    if (dhole__sys.poll(&pfd, 1, dhole__deadline_ms(deadline)) > 0)
        error = dhole__tcp_connected(fd);
    return error ? fail_with(fd, error) : fd;
}

bool dhole__tcp_has_ended(int fd)
{
    char byte;
    ssize_t got = dhole__sys.recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

bool dhole__tcp_worth_retrying(int error)
{
    return error == ECONNREFUSED || error == ECONNRESET || error == EHOSTUNREACH ||
           error == ENETUNREACH || error == EINTR || error == EHOSTDOWN;
}
