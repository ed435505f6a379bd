#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "base/sys.h"
#include "transport/tcp/tcp.h"

enum { backlog = 128 };

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

int dhole__tcp_try_connect(const struct dhole__address *address, dhole__deadline deadline)
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
    return error ? fail_with(fd, error) : fd;
}

bool dhole__tcp_worth_retrying(int error)
{
    return error == ECONNREFUSED || error == ECONNRESET || error == EHOSTUNREACH ||
           error == ENETUNREACH || error == EINTR || error == EHOSTDOWN;
}
