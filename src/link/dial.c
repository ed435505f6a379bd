#include "link/dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

#include "transport/io.h"

enum {
    pause_min_ms = 5,
    pause_max_ms = 200,
    head_start_ms = 250 /* of an address over the next (RFC 8305, 5: Connection Attempt Delay) */
};

struct dhole__dial dhole__dial_of(const dhole_link_options *options)
{
    return (struct dhole__dial){dhole__deadline_in(options->connect_timeout_ms), options->cancel_fd,
                                options->no_retry};
}

/* The system would call it an invalid argument. */
static dhole_err check_scope(const struct dhole__address *address)
{
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address->addr;
    char text[dhole__address_text_max];

    if (address->family != AF_INET6 || !IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr) ||
        v6->sin6_scope_id != 0)
        return DHOLE_OK;
    dhole__tcp_address_text(address, text);
    return dhole__fail(DHOLE_ERR_CONFIG,
                       "%s is an address of one cable: say of which, as in [fe80::1%%eth0]:7777",
                       text);
}

dhole_err dhole__book_read(struct dhole__book *book, const char *text,
                           const struct dhole__dial *how)
{
    dhole_err err = DHOLE_OK;

    book->text = text;
    book->count = dhole__tcp_rails(text);
    if (book->count > DHOLE_LANES_MAX)
        return dhole__fail(DHOLE_ERR_CONFIG, "%d addresses: expected at most %d", book->count,
                           DHOLE_LANES_MAX);
    for (int i = 0; i < book->count && !err; i++) {
        err = dhole__tcp_resolve_rail_by(text, i, how->deadline, how->cancel_fd, &book->address[i]);
        if (!err)
            err = check_scope(&book->address[i]);
    }
    return err;
}

dhole_err dhole__dial_poll(const struct dhole__dial *how, struct pollfd *pfds, int n,
                           dhole__deadline deadline)
{
    dhole_err err;

    pfds[0] = (struct pollfd){.fd = how->cancel_fd, .events = POLLIN};
    err = dhole__io_poll(pfds, n, dhole__deadline_min(deadline, how->deadline));
    if (!err && pfds[0].revents != 0)
        return dhole__fail(DHOLE_ERR_CANCELLED, "cancelled");
    return err;
}

/* One attempt at each address. */
struct attempt {
    const struct dhole__address *address;
    int n, started, open;
    struct pollfd pfd[1 + DHOLE_LANES_MAX]; /* but the first: of each address */
    int error; /* the system's of those that failed, one worth retrying before others */
    int which; /* has answered; -1: none yet */
};

static void note(struct attempt *a, int error)
{
    if (a->error == 0 || !dhole__tcp_worth_retrying(a->error))
        a->error = error;
}

static void start_next(struct attempt *a)
{
    int fd = dhole__tcp_start_connect(&a->address[a->started++]);

    a->pfd[a->started] = (struct pollfd){.fd = fd, .events = POLLOUT};
    if (fd < 0)
        note(a, errno);
    else
        a->open++;
}

static void look(struct attempt *a)
{
    for (int i = 0; i < a->started && a->which < 0; i++) {
        struct pollfd *pfd = &a->pfd[1 + i];
        int error;
        if (pfd->fd < 0 || pfd->revents == 0)
            continue;
        error = dhole__tcp_connected(pfd->fd);
        if (error == 0) {
            a->which = i;
            return;
        }
        note(a, error);
        close(pfd->fd);
        pfd->fd = -1;
        a->open--;
    }
}

static dhole_err run(struct attempt *a, const struct dhole__dial *how)
{
    while (a->which < 0 && (a->open > 0 || a->started < a->n)) {
        bool more = a->started < a->n;
        dhole__deadline turn = more ? dhole__deadline_in(head_start_ms) : how->deadline;
        dhole_err err;
        if (a->open == 0) {
            start_next(a);
            continue;
        }
        err = dhole__dial_poll(how, a->pfd, 1 + a->started, turn);
        if (err == DHOLE_ERR_TIMEOUT && more && dhole__now() < how->deadline)
            start_next(a);
        else if (err)
            return err;
        else
            look(a);
    }
    return DHOLE_OK;
}

/* *fd is -1 when nobody answers, for the reason *error. */
static dhole_err try_once(const struct dhole__address *address, int n,
                          const struct dhole__dial *how, int *fd, int *which, int *error)
{
    struct attempt a = {.address = address, .n = n, .which = -1};
    dhole_err err = run(&a, how);

    *fd = err || a.which < 0 ? -1 : a.pfd[1 + a.which].fd;
    for (int i = 1; i <= a.started; i++)
        if (a.pfd[i].fd >= 0 && a.pfd[i].fd != *fd)
            close(a.pfd[i].fd);
    *which = a.which;
    *error = a.error;
    return err;
}

dhole_err dhole__dial(const struct dhole__address *address, int n, const struct dhole__dial *how,
                      int *fd, int *which)
{
    int64_t pause = pause_min_ms;

    for (;;) {
        dhole__deadline until = dhole__deadline_in(pause);
        struct pollfd none[1];
        int error;
        dhole_err err = try_once(address, n, how, fd, which, &error);
        if (err == DHOLE_ERR_TIMEOUT)
            return dhole__fail(err, "nobody answered in time");
        if (err || *fd >= 0)
            return err;
        errno = error;
        if (!dhole__tcp_worth_retrying(error) && error != ETIMEDOUT)
            return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot connect");
        if (how->no_retry)
            return dhole__fail_errno(DHOLE_ERR_PEER_LOST, "nobody answers");
        if (until >= how->deadline)
            return dhole__fail_errno(DHOLE_ERR_TIMEOUT, "nobody answered in time");
        err = dhole__dial_poll(how, none, 1, until);
        if (err && err != DHOLE_ERR_TIMEOUT)
            return err;
        pause = pause < pause_max_ms / 2 ? 2 * pause : pause_max_ms;
    }
}
