/* The side that is called.
 *
 * A connection that has come in is a `call`, a small state machine that never waits: all are
 * stepped side by side and polled together, with a deadline each.
 *
 *   control:  PREAMBLE -> TLS -> HELLO -> LANES -> UP -> READY
 *   lane:     PREAMBLE -> MATCHED -> PROOF -> in its link
 *
 * There are so many places. When all are taken, the one that has shown least of who it is makes way
 * for the next, among equals the oldest; so strangers who stall only ever cost each other. A lane's
 * token is no secret to who listens on the wire: whoever calls with it is one more candidate for
 * that lane, and the first that can seal the proof is taken. */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sys.h"
#include "link/dial.h"
#include "link/link_internal.h"
#include "seal/seal.h"

enum {
    calls_max = 128,
    of_one_key_max = calls_max / 4, /* that have shown it */
    preamble_ms = 2000,             /* for a caller to say what it wants */
    handshake_ms = 5000,            /* for the rest */
    loud_max = 20                   /* refusals of a kind that are logged in loud_ns */
};

static const int64_t loud_ns = INT64_C(10000000000);

/* In the order in which they make way for others, up to UP. */
enum stage { FREE, PREAMBLE, TLS, MATCHED, PROOF, HELLO, LANES, UP, READY };

struct call {
    enum stage stage;
    struct dhole__conn *conn; /* NULL when it is the link's */
    struct dhole__conn *wire; /* below it */
    dhole__deadline deadline;
    uint8_t bytes[dhole__link_preamble_size]; /* preamble, proof, or the byte that ends it */
    struct dhole__io io;                      /* of those */

    struct dhole__link_hello hello;
    uint8_t token[dhole__link_token_size]; /* from HELLO on */
    dhole_pin pin;                         /* from HELLO on */
    dhole_link *link;                      /* from LANES on */

    struct call *control; /* of a lane, from MATCHED on */
    int lane;

    char own[dhole__address_text_max], peer[dhole__address_text_max];
};

struct dhole_link_listener {
    struct dhole__link_terms terms;
    int fd[DHOLE_LANES_MAX], fds;
    char address[DHOLE_LANES_MAX * dhole__address_text_max];
    struct call call[calls_max];
    int loud[2]; /* refusals since then, before and after they had said what they wanted */
    int64_t loud_since;
};

static void hang_up(dhole_link_listener *l, struct call *call)
{
    if (call->stage == FREE)
        return;
    for (int i = 0; i < calls_max; i++)
        if (l->call[i].stage != FREE && l->call[i].control == call)
            hang_up(l, &l->call[i]);
    dhole__conn_close(call->conn);
    dhole_link_free(call->link);
    call->stage = FREE;
    call->conn = call->wire = NULL;
    call->control = NULL;
    call->link = NULL;
}

static dhole_err start_tls(const dhole_link_listener *l, struct call *call)
{
    struct dhole__tls_trust trust = dhole__link_terms_trust(&l->terms);

    call->stage = TLS;
    return dhole__tls_start_asking(call->conn, l->terms.options.identity, &trust,
                                   DHOLE__SEAL_SERVER, &call->conn);
}

/* A machine that is trusted, and calls again and again without saying more, displaces itself. */
static void limit_key(dhole_link_listener *l, const struct call *last)
{
    struct call *oldest = NULL;
    int others = 0;

    for (struct call *call = l->call; call < l->call + calls_max; call++) {
        if (call == last || (call->stage != HELLO && call->stage != LANES) ||
            memcmp(&call->pin, &last->pin, sizeof call->pin) != 0)
            continue;
        others++;
        if (oldest == NULL || call->deadline < oldest->deadline)
            oldest = call;
    }
    if (others >= of_one_key_max)
        hang_up(l, oldest);
}

static dhole_err step_tls(dhole_link_listener *l, struct call *call)
{
    bool done;
    dhole_err err = dhole__tls_step(call->conn, &done);

    if (err || !done)
        return err;
    if (RAND_bytes(call->token, sizeof call->token) != 1)
        return dhole__fail(DHOLE_ERR_SYSTEM, "OpenSSL has no random bytes");
    dhole__tls_pin(call->conn, &call->pin);
    limit_key(l, call);
    call->stage = HELLO;
    dhole__link_hello_start(&call->hello, call->conn, &l->terms, 0, call->token);
    return DHOLE_OK;
}

static dhole_err step_hello(const dhole_link_listener *l, struct call *call)
{
    bool done;
    dhole_err err = dhole__link_hello_step(&call->hello, &done);

    if (err || !done)
        return err;
    err = dhole__link_new(&l->terms, &call->hello, call->conn, call->wire, &call->link);
    if (err)
        return err;
    call->conn = NULL;
    call->link->bulk_lanes = dhole__link_hello_lanes(&call->hello);
    memcpy(call->link->address, call->peer, sizeof call->peer);
    memcpy(call->link->own_address, call->own, sizeof call->own);
    call->stage = LANES;
    return DHOLE_OK;
}

static dhole_err step_lanes(struct call *call)
{
    dhole_err err;

    if (!dhole__link_is_complete(call->link))
        return DHOLE_OK;
    err = dhole__link_join(call->link);
    if (err)
        return err;
    call->stage = UP;
    call->bytes[0] = dhole__link_up;
    call->io = dhole__io_send(call->link->channel[DHOLE_CHANNEL_CONTROL], call->bytes, 1, NULL, 0);
    return DHOLE_OK;
}

/* The control connection whose client was told that token. */
static struct call *find_control(dhole_link_listener *l, const uint8_t *token)
{
    struct call *found = NULL;

    for (int i = 0; i < calls_max; i++) {
        struct call *call = &l->call[i];
        if ((call->stage == HELLO || call->stage == LANES) &&
            CRYPTO_memcmp(call->token, token, sizeof call->token) == 0)
            found = call;
    }
    return found;
}

static dhole_err identify(dhole_link_listener *l, struct call *call)
{
    struct dhole__link_preamble preamble;

    if (!dhole__link_preamble_decode(call->bytes, &preamble))
        return dhole__fail(DHOLE_ERR_PROTOCOL, "it does not begin as a link does");
    call->deadline = dhole__deadline_in(handshake_ms);
    if (preamble.kind == DHOLE__LINK_CONTROL)
        return start_tls(l, call);
    call->control = find_control(l, preamble.token);
    if (call->control == NULL)
        return dhole__fail(DHOLE_ERR_AUTH, "a lane of no link that is being made");
    call->lane = (int)(preamble.kind - DHOLE__LINK_MESSAGES);
    call->stage = MATCHED;
    return DHOLE_OK;
}

/* The control connection's hello can be later than the lane. */
static dhole_err step_matched(struct call *call)
{
    dhole_link *link = call->control->link;
    dhole_err err;

    if (link == NULL)
        return DHOLE_OK;
    if (call->lane >= dhole__link_lanes(link) || link->lane[call->lane] != NULL)
        return dhole__fail(DHOLE_ERR_AUTH, "a second lane %d, or one too many", call->lane);
    err = dhole__lane_open(call->conn, link->channel[DHOLE_CHANNEL_CONTROL], DHOLE__SEAL_SERVER,
                           (uint32_t)call->lane, &call->conn);
    if (err)
        return err;
    call->stage = PROOF;
    call->io = dhole__io_recv(call->conn, call->bytes, dhole__link_proof_size, NULL, 0);
    return DHOLE_OK;
}

static dhole_err end_proof(struct call *call)
{
    struct call *control = call->control;

    if (control->stage != LANES || control->link->lane[call->lane] != NULL)
        return dhole__fail(DHOLE_ERR_AUTH, "lane %d is there already", call->lane);
    if (memcmp(call->bytes, dhole__link_proof, dhole__link_proof_size) != 0)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "a lane began with other bytes");
    control->link->lane[call->lane] = call->conn;
    control->link->wire[1 + call->lane] = call->wire;
    memcpy(control->link->lane_address[call->lane], call->peer, sizeof call->peer);
    call->conn = NULL;
    call->control = NULL;
    call->stage = FREE;
    return DHOLE_OK;
}

/* The bytes that a stage is about have moved. */
static dhole_err step_bytes(dhole_link_listener *l, struct call *call)
{
    bool moved;
    dhole_err err = dhole__io_step(&call->io, 1, &moved);

    if (err || dhole__io_left(&call->io) > 0)
        return err;
    if (call->stage == PREAMBLE)
        return identify(l, call);
    if (call->stage == PROOF)
        return end_proof(call);
    call->stage = READY;
    return DHOLE_OK;
}

/* Goes on as far as can be gone without waiting. */
static dhole_err step(dhole_link_listener *l, struct call *call)
{
    enum stage before;
    dhole_err err = DHOLE_OK;

    do {
        before = call->stage;
        switch (before) {
        case PREAMBLE:
        case PROOF:
        case UP: err = step_bytes(l, call); break;
        case TLS: err = step_tls(l, call); break;
        case HELLO: err = step_hello(l, call); break;
        case LANES: err = step_lanes(call); break;
        case MATCHED: err = step_matched(call); break;
        case READY:
        case FREE: break;
        }
    } while (!err && call->stage != before);
    return err;
}

/* Who did not even say what it wants is not worth a warning, nor may strangers fill the log. */
static void log_refusal(dhole_link_listener *l, const struct call *call)
{
    bool wants = call->stage != PREAMBLE;
    enum dhole__log_level level = wants ? DHOLE__LOG_WARN : DHOLE__LOG_INFO;
    int64_t now = dhole__now();

    if (now - l->loud_since > loud_ns) {
        l->loud_since = now;
        memset(l->loud, 0, sizeof l->loud);
    }
    if (l->loud[wants]++ >= loud_max)
        level = DHOLE__LOG_DEBUG;
    dhole__log(level, "refused a connection from %s: %s", call->peer, dhole_error_message());
}

/* What goes wrong with a call is its own affair. */
static void drive(dhole_link_listener *l, struct call *call)
{
    dhole_err err = step(l, call);

    if (!err && call->stage != FREE && call->stage != READY && dhole__now() >= call->deadline)
        err = dhole__fail(DHOLE_ERR_TIMEOUT, "it did not say enough in time");
    if (!err)
        return;
    log_refusal(l, call);
    hang_up(l, call);
}

/* The next to make way; NULL when nobody has to. */
static struct call *least(dhole_link_listener *l)
{
    struct call *least = NULL;

    for (int i = 0; i < calls_max; i++) {
        struct call *call = &l->call[i];
        if (call->stage == FREE || call->stage >= UP)
            continue;
        if (least == NULL || call->stage < least->stage ||
            (call->stage == least->stage && call->deadline < least->deadline))
            least = call;
    }
    return least;
}

static struct call *find_free(dhole_link_listener *l)
{
    for (int i = 0; i < calls_max; i++)
        if (l->call[i].stage == FREE)
            return &l->call[i];
    return NULL;
}

/* A free place, which may have been somebody's; NULL when there is none. Who is to make way is
 * heard once more: it may have said something since it was heard last. */
static struct call *find_place(dhole_link_listener *l)
{
    struct call *call;

    while ((call = find_free(l)) == NULL && (call = least(l)) != NULL) {
        enum stage before = call->stage;
        drive(l, call);
        if (call->stage == before)
            hang_up(l, call);
    }
    return call;
}

static void take(dhole_link_listener *l, int fd)
{
    struct call *call = find_place(l);

    if (call == NULL || dhole__tcp_conn_open(fd, &call->conn) != DHOLE_OK) {
        dhole__log(DHOLE__LOG_WARN, "no place for a connection%s%s", call == NULL ? "" : ": ",
                   call == NULL ? "" : dhole_error_message());
        close(fd);
        return;
    }
    call->wire = call->conn;
    call->stage = PREAMBLE;
    call->deadline = dhole__deadline_in(preamble_ms);
    call->io = dhole__io_recv(call->conn, call->bytes, sizeof call->bytes, NULL, 0);
    dhole__tcp_own_text(fd, call->own);
    dhole__tcp_peer_text(fd, call->peer);
    drive(l, call); /* before the next one may need its place */
}

static bool is_scarcity(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

/* Takes what has come in at one address, at most as many as there are places, so that the others
 * are not forgotten. */
static dhole_err take_all_at(dhole_link_listener *l, int listen_fd)
{
    for (int i = 0; i < calls_max; i++) {
        int fd = dhole__sys.accept(listen_fd, NULL, NULL);
        int error = errno;
        struct call *victim;
        if (fd >= 0) {
            take(l, fd);
            continue;
        }
        if (error == EAGAIN || error == EWOULDBLOCK)
            return DHOLE_OK;
        if (!is_scarcity(error) && error != EBADF && error != EINVAL && error != ENOTSOCK)
            continue; /* that one is gone already */
        victim = is_scarcity(error) ? least(l) : NULL;
        errno = error;
        if (victim == NULL)
            return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot accept connections");
        hang_up(l, victim);
    }
    return DHOLE_OK;
}

static dhole_err take_all(dhole_link_listener *l)
{
    dhole_err err = DHOLE_OK;

    for (int i = 0; i < l->fds && !err; i++)
        err = take_all_at(l, l->fd[i]);
    return err;
}

/* What to poll for to step this call; false: nothing, it can be stepped now. */
static bool arm(const struct call *call, struct pollfd *pfd)
{
    *pfd = (struct pollfd){.fd = -1};
    switch (call->stage) {
    case PREAMBLE:
    case PROOF:
    case UP: return dhole__io_arm(&call->io, pfd);
    case TLS: return call->conn->ops->arm(call->conn, true, true, pfd);
    case HELLO: return dhole__link_hello_arm(&call->hello, pfd);
    case MATCHED: return call->control->link == NULL;
    case LANES: return !dhole__link_is_complete(call->link);
    default: return true;
    }
}

/* Until something happens to a call, someone calls, or a deadline passes. */
static dhole_err sleep_on_calls(const dhole_link_listener *l, dhole__deadline deadline)
{
    struct pollfd pfds[1 + DHOLE_LANES_MAX + calls_max] = {
        {.fd = l->terms.options.cancel_fd, .events = POLLIN}};
    int n = 1;
    dhole_err err;

    for (int i = 0; i < l->fds; i++)
        pfds[n++] = (struct pollfd){.fd = l->fd[i], .events = POLLIN};
    for (int i = 0; i < calls_max; i++) {
        const struct call *call = &l->call[i];
        if (call->stage == FREE || call->stage == READY)
            continue;
        if (!arm(call, &pfds[n++]))
            return DHOLE_OK;
        deadline = dhole__deadline_min(deadline, call->deadline);
    }
    err = dhole__io_poll(pfds, n, deadline);
    if (!err && pfds[0].revents != 0)
        return dhole__fail(DHOLE_ERR_CANCELLED, "accepting links was cancelled");
    return err == DHOLE_ERR_TIMEOUT ? DHOLE_OK : err;
}

/* Hands out a link that is up; NULL: there is none. */
static dhole_link *take_ready(dhole_link_listener *l)
{
    for (int i = 0; i < calls_max; i++) {
        struct call *call = &l->call[i];
        dhole_link *link = call->link;
        if (call->stage != READY)
            continue;
        call->link = NULL;
        hang_up(l, call);
        return link;
    }
    return NULL;
}

dhole_err dhole_link_accept(dhole_link_listener *l, int64_t timeout_ms, dhole_link **out)
{
    dhole__deadline deadline = dhole__deadline_in(timeout_ms);
    dhole_err err = dhole__io_check_cancelled(l->terms.options.cancel_fd);

    while (!err) {
        dhole_link *link;
        err = take_all(l);
        for (int i = 0; i < calls_max; i++)
            if (l->call[i].stage != FREE)
                drive(l, &l->call[i]);
        link = take_ready(l);
        if (link != NULL) {
            *out = link;
            return DHOLE_OK;
        }
        if (!err && dhole__now() >= deadline)
            err = dhole__fail(DHOLE_ERR_TIMEOUT, "nobody linked to %s in time", l->address);
        if (!err)
            err = sleep_on_calls(l, deadline);
    }
    return err;
}

static dhole_err listen_at(dhole_link_listener *l, const struct dhole__book *book, int i)
{
    char text[dhole__address_text_max];
    size_t length;
    const char *name = dhole__tcp_rail(book->text, i, &length);

    if (dhole__tcp_listen(&book->address[i], &l->fd[i]) < 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot listen at %.*s", (int)length, name);
    l->fds++;
    dhole__tcp_own_text(l->fd[i], text);
    length = strlen(l->address);
    snprintf(l->address + length, sizeof l->address - length, "%s%s", i > 0 ? "," : "", text);
    return DHOLE_OK;
}

dhole_err dhole_link_listen(const dhole_link_options *options, const char *address,
                            dhole_link_listener **out)
{
    dhole_link_listener *l = dhole__sys.calloc(1, sizeof *l);
    struct dhole__book book;
    struct dhole__dial how;
    dhole_err err;

    if (l == NULL)
        return dhole__fail_nomem(sizeof *l, "a listener");
    err = dhole__link_terms_init(&l->terms, options);
    how = dhole__dial_of(&l->terms.options);
    if (!err)
        err = dhole__book_read(&book, address, &how);
    if (err == DHOLE_ERR_TIMEOUT) /* it waited for no peer */
        err = dhole__fail_in(DHOLE_ERR_CONFIG, "cannot listen");
    for (int i = 0; !err && i < book.count; i++)
        err = listen_at(l, &book, i);
    if (err)
        dhole_link_listener_free(l);
    else
        *out = l;
    return err;
}

const char *dhole_link_listener_address(const dhole_link_listener *listener)
{
    return listener->address;
}

void dhole_link_listener_free(dhole_link_listener *listener)
{
    if (listener == NULL)
        return;
    for (int i = 0; i < calls_max; i++)
        hang_up(listener, &listener->call[i]);
    for (int i = 0; i < listener->fds; i++)
        close(listener->fd[i]);
    free(listener);
}
