/* The side that calls: one step after the other, each waiting no longer than the deadline. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "link/link_internal.h"
#include "seal/seal.h"

struct caller {
    const struct dhole__link_terms *terms;
    struct dhole__address address;
    dhole__deadline deadline;
    char own[dhole__address_text_max], peer[dhole__address_text_max];
};

enum { pause_min_ms = 5, pause_max_ms = 200 };

static dhole_err sleep_on(const struct caller *c, struct pollfd pfd, dhole__deadline deadline)
{
    struct pollfd pfds[] = {pfd, {.fd = c->terms->options.cancel_fd, .events = POLLIN}};
    dhole_err err = dhole__io_poll(pfds, 2, deadline);

    if (!err && pfds[1].revents != 0)
        return dhole__fail(DHOLE_ERR_CANCELLED, "cancelled");
    return err;
}

/* One attempt; *error is the system's, 0 when *fd is connected. */
static dhole_err try_once(const struct caller *c, int *fd, int *error)
{
    dhole_err err;

    *fd = dhole__tcp_start_connect(&c->address);
    *error = *fd < 0 ? errno : 0;
    if (*fd < 0)
        return DHOLE_OK;
    err = sleep_on(c, (struct pollfd){.fd = *fd, .events = POLLOUT}, c->deadline);
    if (!err)
        *error = dhole__tcp_connected(*fd);
    if (err || *error)
        close(*fd);
    return err;
}

/* A connected socket; whoever is yet to listen is tried again. */
static dhole_err call(const struct caller *c, int *fd)
{
    int64_t pause = pause_min_ms;

    for (;;) {
        dhole__deadline until = dhole__deadline_in(pause);
        int error;
        dhole_err err = try_once(c, fd, &error);
        if (err || error == 0)
            return err;
        errno = error;
        if (!dhole__tcp_worth_retrying(error) && error != ETIMEDOUT)
            return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot connect");
        if (c->terms->options.no_retry)
            return dhole__fail_errno(DHOLE_ERR_PEER_LOST, "nobody answers");
        if (until >= c->deadline)
            return dhole__fail_errno(DHOLE_ERR_TIMEOUT, "nobody answered in time");
        err = sleep_on(c, (struct pollfd){.fd = -1}, until);
        if (err && err != DHOLE_ERR_TIMEOUT)
            return err;
        pause = pause < pause_max_ms / 2 ? 2 * pause : pause_max_ms;
    }
}

/* Bytes that must cross before anything else happens. */
static dhole_err exchange(const struct caller *c, struct dhole__io io)
{
    return dhole__io_run_until(&io, 1, c->deadline, c->terms->options.cancel_fd, false);
}

/* A connection that has said what it is for. */
static dhole_err dial(struct caller *c, const struct dhole__link_preamble *preamble,
                      struct dhole__conn **out)
{
    uint8_t bytes[dhole__link_preamble_size];
    int fd;
    dhole_err err = call(c, &fd);

    if (err)
        return err;
    dhole__tcp_own_text(fd, c->own);
    dhole__tcp_peer_text(fd, c->peer);
    err = dhole__tcp_conn_open(fd, out);
    if (err) {
        close(fd);
        return err;
    }
    dhole__link_preamble_encode(preamble, bytes);
    err = exchange(c, dhole__io_send(*out, bytes, sizeof bytes, NULL, 0));
    if (err)
        dhole__conn_close(*out);
    return err;
}

/* Waits as arm said, to step again. */
static dhole_err wait_to_step(const struct caller *c, bool armed, struct pollfd pfd)
{
    if (armed)
        return sleep_on(c, pfd, c->deadline);
    if (dhole__now() >= c->deadline)
        return dhole__fail(DHOLE_ERR_TIMEOUT, "the deadline passed");
    return DHOLE_OK;
}

static dhole_err shake_hands(const struct caller *c, struct dhole__conn *tls)
{
    struct pollfd pfd;
    bool done;

    for (;;) {
        dhole_err err = dhole__tls_step(tls, &done);
        if (err || done)
            return err;
        err = wait_to_step(c, tls->ops->arm(tls, true, true, &pfd), pfd);
        if (err)
            return err;
    }
}

static dhole_err say_hello(const struct caller *c, struct dhole__conn *tls,
                           struct dhole__link_hello *hello)
{
    struct pollfd pfd;
    bool done;

    dhole__link_hello_start(hello, tls, c->terms, c->terms->options.lanes, NULL);
    for (;;) {
        dhole_err err = dhole__link_hello_step(hello, &done);
        if (err || done)
            return err;
        err = wait_to_step(c, dhole__link_hello_arm(hello, &pfd), pfd);
        if (err)
            return err;
    }
}

/* The control connection, and the link that begins with it. */
static dhole_err open_control(struct caller *c, struct dhole__link_hello *hello, dhole_link **out)
{
    const struct dhole__link_preamble preamble = {.kind = DHOLE__LINK_CONTROL};
    struct dhole__tls_trust trust = dhole__link_terms_trust(c->terms);
    struct dhole__conn *wire, *tls;
    dhole_err err = dial(c, &preamble, &wire);

    if (err)
        return err;
    err =
        dhole__tls_start_asking(wire, c->terms->options.identity, &trust, DHOLE__SEAL_CLIENT, &tls);
    if (err) {
        dhole__conn_close(wire);
        return err;
    }
    err = shake_hands(c, tls);
    if (!err)
        err = say_hello(c, tls, hello);
    if (!err)
        err = dhole__link_new(c->terms, hello, tls, wire, out);
    if (err) {
        dhole__conn_close(tls);
        return err;
    }
    memcpy((*out)->address, c->peer, sizeof c->peer);
    memcpy((*out)->own_address, c->own, sizeof c->own);
    return DHOLE_OK;
}

static dhole_err open_lane(struct caller *c, dhole_link *link, const uint8_t *token, int lane)
{
    struct dhole__link_preamble preamble = {.kind = DHOLE__LINK_MESSAGES + (unsigned)lane};
    struct dhole__conn *wire;
    dhole_err err;

    memcpy(preamble.token, token, sizeof preamble.token);
    err = dial(c, &preamble, &wire);
    if (err)
        return err;
    err = dhole__lane_open(wire, link->channel[DHOLE_CHANNEL_CONTROL], DHOLE__SEAL_CLIENT,
                           (uint32_t)lane, &link->lane[lane]);
    if (err) {
        dhole__conn_close(wire);
        return err;
    }
    link->wire[1 + lane] = wire;
    return exchange(
        c, dhole__io_send(link->lane[lane], dhole__link_proof, sizeof dhole__link_proof, NULL, 0));
}

/* The lanes, and the server's byte that says that it has them all. */
static dhole_err open_lanes(struct caller *c, dhole_link *link,
                            const struct dhole__link_hello *hello)
{
    const uint8_t *token = dhole__link_hello_token(hello);
    dhole_err err = DHOLE_OK;
    uint8_t byte;

    link->bulk_lanes = c->terms->options.lanes;
    for (int lane = 0; lane < dhole__link_lanes(link) && !err; lane++)
        err = open_lane(c, link, token, lane);
    if (!err)
        err = exchange(c, dhole__io_recv(link->channel[DHOLE_CHANNEL_CONTROL], &byte, 1, NULL, 0));
    if (!err && byte != dhole__link_up)
        err = dhole__fail(DHOLE_ERR_PROTOCOL, "it ended the handshake with %d, not %d", byte,
                          dhole__link_up);
    return err ? err : dhole__link_join(link);
}

static dhole_err connect_to(struct caller *c, dhole_link **out)
{
    struct dhole__link_hello hello;
    dhole_link *link;
    dhole_err err = open_control(c, &hello, &link);

    if (err)
        return err;
    err = open_lanes(c, link, &hello);
    if (err)
        dhole_link_free(link);
    else
        *out = link;
    return err;
}

dhole_err dhole_link_connect(const dhole_link_options *options, const char *address,
                             dhole_link **out)
{
    struct dhole__link_terms terms;
    struct caller c = {.terms = &terms};
    dhole_err err = dhole__link_terms_init(&terms, options);

    if (!err)
        err = dhole__tcp_resolve(address, &c.address);
    if (err)
        return err;
    c.deadline = dhole__deadline_in(terms.options.connect_timeout_ms);
    err = dhole__io_check_cancelled(terms.options.cancel_fd);
    if (!err)
        err = connect_to(&c, out);
    return err ? dhole__fail_in(err, "connecting to %s", address) : DHOLE_OK;
}
