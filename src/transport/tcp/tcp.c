#include "transport/tcp/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/sys.h"
#include "transport/io.h"
#include "transport/transport.h"

struct tcp {
    struct dhole__transport base;
    const char *const *hosts;
    bool on_host;
    int listen_fd[dhole__rails_max]; /* -1 where an address repeats another, and where is none */
    bool owned[dhole__rails_max];
};

static bool is_repeated(const struct dhole__address *address, int rail)
{
    for (int i = 0; i < rail; i++)
        if (address[i].length == address[rail].length &&
            memcmp(&address[i].addr, &address[rail].addr, address[rail].length) == 0)
            return true;
    return false;
}

/* Names are looked up anew each time, and may lead elsewhere than when the group was checked. */
static dhole_err check_still_on_host(const struct tcp *tcp, const char *host,
                                     const struct dhole__address *address)
{
    if (tcp->on_host && !dhole__tcp_is_loopback(address))
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "\"%s\" leads to a network by now, and this group is not sealed", host);
    return DHOLE_OK;
}

static void close_listeners(struct tcp *tcp)
{
    for (int rail = 0; rail < tcp->base.rails; rail++)
        if (tcp->owned[rail])
            close(tcp->listen_fd[rail]);
}

/* Listens on this rank's addresses, but on those that were given as sockets, and once on each. */
static dhole_err listen_on(struct tcp *tcp, const char *host, dhole__deadline deadline)
{
    struct dhole__address address[dhole__rails_max];

    for (int rail = 0; rail < tcp->base.rails; rail++) {
        size_t length;
        const char *text = dhole__tcp_rail(host, rail, &length);
        dhole_err err = dhole__tcp_resolve_rail_by(host, rail, deadline, -1, &address[rail]);
        if (!err)
            err = check_still_on_host(tcp, host, &address[rail]);
        if (!err && tcp->listen_fd[rail] < 0 && !is_repeated(address, rail)) {
            tcp->owned[rail] = dhole__tcp_listen(&address[rail], &tcp->listen_fd[rail]) == 0;
            if (!tcp->owned[rail])
                err = dhole__fail_errno(DHOLE_ERR_CONFIG,
                                        "cannot listen on %.*s, this rank's address", (int)length,
                                        text);
        }
        if (err) {
            close_listeners(tcp);
            return err;
        }
    }
    return DHOLE_OK;
}

static dhole_err tcp_open(struct dhole__transport *transport,
                          const struct dhole__transport_config *config)
{
    struct tcp *tcp = (struct tcp *)transport;
    const char *host = config->hosts[config->rank];

    tcp->hosts = config->hosts;
    tcp->on_host = config->on_host;
    transport->rails = dhole__tcp_rails(host);
    if (transport->rails > dhole__rails_max)
        return dhole__fail(DHOLE_ERR_CONFIG, "a rank may have %d addresses, this one has %d: %s",
                           dhole__rails_max, transport->rails, host);
    for (int rank = 0; rank < config->size; rank++)
        if (dhole__tcp_rails(config->hosts[rank]) != transport->rails)
            return dhole__fail(
                DHOLE_ERR_CONFIG,
                "rank %d has %d addresses (%s), rank %d has %d (%s): expected as many", rank,
                dhole__tcp_rails(config->hosts[rank]), config->hosts[rank], config->rank,
                transport->rails, host);
    for (int rail = 0; rail < dhole__rails_max; rail++) {
        const int *other = config->other_fds;
        int fd = rail == 0 ? config->listen_fd : other != NULL ? other[rail - 1] : -1;
        int flags = fd >= 0 ? fcntl(fd, F_GETFL) : 0;
        if (flags < 0 || (fd >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0))
            return dhole__fail_errno(DHOLE_ERR_INVALID, "listen_fd %d", fd);
        tcp->listen_fd[rail] = fd;
    }
    return listen_on(tcp, host, config->deadline);
}

static dhole_err tcp_connect(struct dhole__transport *transport, int peer, int rail,
                             dhole__deadline deadline, struct dhole__conn **out)
{
    const struct tcp *tcp = (const struct tcp *)transport;
    size_t length;
    const char *text = dhole__tcp_rail(tcp->hosts[peer], rail, &length);
    struct timespec pause = {0, 5000000};
    struct dhole__address address;
    dhole_err err = dhole__tcp_resolve_rail_by(tcp->hosts[peer], rail, deadline, -1, &address);
    int fd;

    if (!err)
        err = check_still_on_host(tcp, tcp->hosts[peer], &address);
    if (err)
        return err;
    while ((fd = dhole__tcp_try_connect(&address, deadline)) < 0) {
        if (errno == ETIMEDOUT || (dhole__tcp_worth_retrying(errno) && dhole__now() >= deadline))
            return dhole__fail_errno(DHOLE_ERR_TIMEOUT, "rank %d could not be reached at %.*s",
                                     peer, (int)length, text);
        if (!dhole__tcp_worth_retrying(errno))
            return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot connect to rank %d at %.*s", peer,
                                     (int)length, text);
        nanosleep(&pause, NULL);
        if (pause.tv_nsec < 200000000)
            pause.tv_nsec *= 2;
    }
    err = dhole__tcp_conn_open(fd, out);
    if (err)
        close(fd);
    return err;
}

static dhole_err accept_on(int listen_fd, struct dhole__conn **out)
{
    int fd = dhole__sys.accept(listen_fd, NULL, NULL);
    dhole_err err;

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

static dhole_err tcp_accept(struct dhole__transport *transport, struct dhole__conn **out)
{
    const struct tcp *tcp = (const struct tcp *)transport;
    dhole_err err = DHOLE_OK;

    *out = NULL;
    for (int rail = 0; rail < dhole__rails_max && *out == NULL && !err; rail++)
        if (tcp->listen_fd[rail] >= 0)
            err = accept_on(tcp->listen_fd[rail], out);
    return err;
}

static int tcp_arm_accept(struct dhole__transport *transport,
                          struct pollfd pfds[static dhole__rails_max])
{
    const struct tcp *tcp = (const struct tcp *)transport;

    for (int rail = 0; rail < dhole__rails_max; rail++) /* poll ignores those that are -1 */
        pfds[rail] = (struct pollfd){.fd = tcp->listen_fd[rail], .events = POLLIN};
    return dhole__rails_max;
}

static void tcp_close_transport(struct dhole__transport *transport)
{
    close_listeners((struct tcp *)transport);
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
