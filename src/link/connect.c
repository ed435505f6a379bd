/* The side that calls: one step after the other, each waiting no longer than the deadline. */
#include <string.h>
#include <unistd.h>

#include "link/dial.h"
#include "link/link_internal.h"
#include "seal/seal.h"

struct caller {
    const struct dhole__link_terms *terms;
    struct dhole__book book;
    struct dhole__dial dial;
    int first; /* of the addresses, that which answered */
};

/* For all lanes to be connected; a listener waits no longer for them. */
enum { lanes_ms = 5000 };

static dhole_err sleep_on(const struct caller *c, struct pollfd pfd)
{
    struct pollfd pfds[2] = {[1] = pfd};

    return dhole__dial_poll(&c->dial, pfds, 2, c->dial.deadline);
}

/* Bytes that must cross before anything else happens. */
static dhole_err exchange(const struct caller *c, struct dhole__io io)
{
    return dhole__io_run_until(&io, 1, c->dial.deadline, c->dial.cancel_fd, false);
}

/* Makes a connection of the socket, and says what it is for. */
static dhole_err begin(const struct caller *c, int fd, const struct dhole__link_preamble *preamble,
                       struct dhole__conn **out)
{
    uint8_t bytes[dhole__link_preamble_size];
    dhole_err err = dhole__tcp_conn_open(fd, out);

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
        return sleep_on(c, pfd);
    if (dhole__now() >= c->dial.deadline)
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

/* What the hellos are said over. */
static dhole_err open_tls(struct caller *c, struct dhole__conn *wire,
                          struct dhole__link_hello *hello, struct dhole__conn **out)
{
    struct dhole__tls_trust trust = dhole__link_terms_trust(c->terms);
    dhole_err err =
        dhole__tls_start_asking(wire, c->terms->options.identity, &trust, DHOLE__SEAL_CLIENT, out);

    if (err) {
        dhole__conn_close(wire);
        return err;
    }
    err = shake_hands(c, *out);
    if (err == DHOLE_ERR_TIMEOUT)
        err = dhole__fail(err, "it takes calls, and does not answer them in time: whoever listens "
                               "there is stopped, or very busy");
    if (!err)
        err = say_hello(c, *out, hello);
    if (err)
        dhole__conn_close(*out);
    return err;
}

/* The control connection, and the link that begins with it. */
static dhole_err open_control(struct caller *c, struct dhole__link_hello *hello, dhole_link **out)
{
    const struct dhole__link_preamble preamble = {.kind = DHOLE__LINK_CONTROL};
    char own[dhole__address_text_max], peer[dhole__address_text_max];
    struct dhole__conn *wire, *tls;
    int fd;
    dhole_err err = dhole__dial(c->book.address, c->book.count, &c->dial, &fd, &c->first);

    if (err)
        return err;
    dhole__tcp_own_text(fd, own);
    dhole__tcp_peer_text(fd, peer);
    err = begin(c, fd, &preamble, &wire);
    if (!err)
        err = open_tls(c, wire, hello, &tls);
    if (err)
        return err;
    err = dhole__link_new(c->terms, hello, tls, wire, out);
    if (err) {
        dhole__conn_close(tls);
        return err;
    }
    memcpy((*out)->address, peer, sizeof peer);
    memcpy((*out)->own_address, own, sizeof own);
    return DHOLE_OK;
}

/* Which of the addresses a lane goes to. */
static int address_of(const struct caller *c, int lane)
{
    return lane == 0 ? c->first : (lane - 1) % c->book.count;
}

static dhole_err dial_lane(const struct caller *c, const struct dhole__dial *how, dhole_link *link,
                           const uint8_t *token, int lane)
{
    struct dhole__link_preamble preamble = {.kind = DHOLE__LINK_MESSAGES + (unsigned)lane};
    struct dhole__conn *wire;
    int fd, which;
    dhole_err err = dhole__dial(&c->book.address[address_of(c, lane)], 1, how, &fd, &which);

    if (err)
        return err;
    dhole__tcp_peer_text(fd, link->lane_address[lane]);
    memcpy(preamble.token, token, sizeof preamble.token);
    err = begin(c, fd, &preamble, &wire);
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

static dhole_err fail_lane(const struct caller *c, int lane, dhole_err err)
{
    size_t length;
    const char *text = dhole__tcp_rail(c->book.text, address_of(c, lane), &length);

    if (lane == 0)
        return dhole__fail_in(err, "the lane of MESSAGES, to %.*s", (int)length, text);
    return dhole__fail_in(err, "lane %d of BULK, to %.*s", lane - 1, (int)length, text);
}

static dhole_err open_lanes(const struct caller *c, dhole_link *link,
                            const struct dhole__link_hello *hello)
{
    const uint8_t *token = dhole__link_hello_token(hello);
    struct dhole__dial how = c->dial;

    /* Somebody is there: who does not answer at an address is not there. */
    how.deadline = dhole__deadline_min(how.deadline, dhole__deadline_in(lanes_ms));
    how.no_retry = true;
    for (int lane = 0; lane < dhole__link_lanes(link); lane++) {
        dhole_err err = dial_lane(c, &how, link, token, lane);
        if (err)
            return fail_lane(c, lane, err);
    }
    return DHOLE_OK;
}

/* Sleeps until CONTROL is ready, or a lane that is `watched` ends: the server closes what it
 * refuses. One that has bytes is not watched any longer. */
static dhole_err watch(const struct caller *c, const dhole_link *link, struct pollfd control,
                       bool watched[static dhole__link_lanes_max])
{
    struct pollfd pfds[2 + dhole__link_lanes_max] = {[1] = control};
    int lanes = dhole__link_lanes(link);
    dhole_err err;

    for (int i = 0; i < lanes; i++) {
        struct dhole__conn *wire = link->wire[1 + i];
        wire->ops->arm(wire, false, true, &pfds[2 + i]);
        if (!watched[i])
            pfds[2 + i].fd = -1;
    }
    err = dhole__dial_poll(&c->dial, pfds, 2 + lanes, c->dial.deadline);
    if (err || pfds[1].revents != 0)
        return err;
    for (int i = 0; i < lanes; i++) {
        if (!watched[i] || pfds[2 + i].revents == 0)
            continue;
        watched[i] = false;
        if (dhole__tcp_has_ended(pfds[2 + i].fd))
            return fail_lane(c, i, dhole__fail(DHOLE_ERR_PEER_LOST, "the other side refused it"));
    }
    return DHOLE_OK;
}

/* The server's byte that says that it has all lanes. */
static dhole_err await_up(const struct caller *c, dhole_link *link)
{
    struct dhole__conn *control = link->channel[DHOLE_CHANNEL_CONTROL];
    uint8_t byte;
    struct dhole__io io = dhole__io_recv(control, &byte, 1, NULL, 0);
    bool watched[dhole__link_lanes_max], moved;

    memset(watched, true, sizeof watched);
    for (;;) {
        struct pollfd pfd;
        dhole_err err = dhole__io_step(&io, 1, &moved);
        if (!err && dhole__io_left(&io) == 0)
            break;
        if (!err && dhole__now() >= c->dial.deadline)
            err = dhole__fail(DHOLE_ERR_TIMEOUT, "it did not say in time that it has all lanes");
        if (!err && dhole__io_arm(&io, &pfd))
            err = watch(c, link, pfd, watched);
        if (err)
            return err;
    }
    if (byte != dhole__link_up)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "it ended the handshake with %d, not %d", byte,
                           dhole__link_up);
    return DHOLE_OK;
}

static dhole_err connect_to(struct caller *c, dhole_link **out)
{
    struct dhole__link_hello hello;
    dhole_link *link;
    dhole_err err = open_control(c, &hello, &link);

    if (err)
        return err;
    link->bulk_lanes = c->terms->options.lanes;
    err = open_lanes(c, link, &hello);
    if (!err)
        err = await_up(c, link);
    if (!err)
        err = dhole__link_join(link);
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

    if (err)
        return err;
    c.dial = dhole__dial_of(&terms.options);
    err = dhole__io_check_cancelled(terms.options.cancel_fd);
    if (!err)
        err = dhole__book_read(&c.book, address, &c.dial);
    if (err)
        return err;
    err = connect_to(&c, out);
    return err ? dhole__fail_in(err, "connecting to %s", address) : DHOLE_OK;
}
