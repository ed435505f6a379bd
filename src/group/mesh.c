#include "group/mesh.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/sys.h"
#include "group/hello.h"
#include "seal/seal.h"
#include "transport/io.h"

enum {
    waiting_max = 64,       /* connections that have not said who they are */
    preamble_ms = 2000,     /* for saying so */
    handshake_ms = 5000,    /* for one peer's handshake */
    dial_slice_ms = 250,    /* between looks at cancel_fd */
    after_refusal_ms = 3000 /* for the right peer to come after a wrong one was refused */
};

struct waiting {
    struct dhole__conn *conn;
    dhole__deadline deadline;
    uint8_t preamble[dhole__preamble_size];
    struct dhole__io io;
};

struct builder {
    struct dhole__transport *transport;
    const dhole_options *options;
    dhole__deadline deadline;
    struct dhole__mesh mesh;
    struct waiting waiting[waiting_max]; /* oldest first */
    int waiting_count;
    dhole_err refusal; /* why a peer was refused, to be told if no better one comes */
    char refusal_text[1024];
};

static dhole_err check_cancelled(const struct builder *b)
{
    struct pollfd pfd = {.fd = b->options->cancel_fd, .events = POLLIN};

    if (pfd.fd >= 0 && dhole__sys.poll(&pfd, 1, 0) > 0)
        return dhole__fail(DHOLE_ERR_CANCELLED, "joining the group was cancelled");
    return DHOLE_OK;
}

static const dhole_pin *pin_of(const struct builder *b, int peer)
{
    return &b->options->pins[peer];
}

/* TLS when sealed, then the hellos. On success the mesh owns the connection. */
static dhole_err open_control(struct builder *b, struct dhole__conn *conn, int peer,
                              enum dhole__seal_side side, dhole__deadline deadline)
{
    struct dhole__conn *control = conn;
    dhole_err err = DHOLE_OK;

    if (b->options->identity != NULL)
        err =
            dhole__tls_open(conn, b->options->identity, pin_of(b, peer), side, deadline, &control);
    if (err) {
        dhole__conn_close(conn);
        return dhole__fail_in(err, "rank %d", peer);
    }
    err = dhole__hello(control, b->options, peer, deadline);
    if (err) {
        dhole__conn_close(control);
        return err;
    }
    b->mesh.control[peer] = control;
    return DHOLE_OK;
}

/* A lane proves itself by its first bytes, which open under the pair's keys only. */
static const char lane_proof[8] = "lane 1";

static dhole_err prove_lane(struct dhole__conn *lane, enum dhole__seal_side side,
                            dhole__deadline deadline)
{
    char theirs[sizeof lane_proof];
    dhole_err err;

    if (side == DHOLE__SEAL_CLIENT)
        return dhole__io_run_one(dhole__io_send(lane, lane_proof, sizeof lane_proof, NULL, 0),
                                 deadline);
    err = dhole__io_run_one(dhole__io_recv(lane, theirs, sizeof theirs, NULL, 0), deadline);
    if (err)
        return err;
    if (memcmp(theirs, lane_proof, sizeof theirs) != 0)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "a lane began with other bytes than it should");
    return DHOLE_OK;
}

static dhole_err open_lane(struct builder *b, struct dhole__conn *conn, int peer,
                           enum dhole__seal_side side, dhole__deadline deadline)
{
    struct dhole__conn *lane = conn;
    dhole_err err = DHOLE_OK;

    if (b->options->identity != NULL)
        err = dhole__lane_open(conn, b->mesh.control[peer], side, DHOLE__CHANNEL_LANE, &lane);
    if (err == DHOLE_OK)
        err = prove_lane(lane, side, deadline);
    if (err) {
        dhole__conn_close(lane);
        return dhole__fail_in(err, "lane to rank %d", peer);
    }
    lane->sent = lane->received = 0;
    b->mesh.lane[peer] = lane;
    return DHOLE_OK;
}

static dhole_err dial(struct builder *b, int peer, enum dhole__channel channel,
                      struct dhole__conn **out)
{
    struct dhole__preamble preamble = {b->options->rank, peer, channel};
    uint8_t bytes[dhole__preamble_size];
    dhole_err err;

    do {
        dhole__deadline slice = dhole__deadline_min(b->deadline, dhole__deadline_in(dial_slice_ms));
        err = check_cancelled(b);
        if (err)
            return err;
        err = b->transport->ops->connect(b->transport, peer, slice, out);
    } while (err == DHOLE_ERR_TIMEOUT && dhole__now() < b->deadline);
    if (err)
        return err;
    dhole__preamble_encode(&preamble, bytes);
    err = dhole__io_run_one(dhole__io_send(*out, bytes, sizeof bytes, NULL, 0), b->deadline);
    if (err)
        dhole__conn_close(*out);
    return err;
}

static dhole_err dial_peer(struct builder *b, int peer)
{
    struct dhole__conn *conn;
    dhole_err err = dial(b, peer, DHOLE__CHANNEL_CONTROL, &conn);

    if (err)
        return err;
    err = open_control(b, conn, peer, DHOLE__SEAL_CLIENT, b->deadline);
    if (err)
        return err;
    err = dial(b, peer, DHOLE__CHANNEL_LANE, &conn);
    return err ? err : open_lane(b, conn, peer, DHOLE__SEAL_CLIENT, b->deadline);
}

/* Whoever called, one refused connection does not end the init: a stranger must not be
 * able to. But it is what the user wants to hear of if the right peer does not come
 * soon. */
static void note_refusal(struct builder *b, dhole_err err)
{
    dhole__log(DHOLE__LOG_WARN, "refused a connection: %s", dhole_error_message());
    b->refusal = err;
    snprintf(b->refusal_text, sizeof b->refusal_text, "%s", dhole_error_message());
    b->deadline = dhole__deadline_min(b->deadline, dhole__deadline_in(after_refusal_ms));
}

static void take_in(struct builder *b, struct dhole__conn *conn, const uint8_t *bytes)
{
    dhole__deadline deadline = dhole__deadline_min(b->deadline, dhole__deadline_in(handshake_ms));
    const struct dhole__mesh *mesh = &b->mesh;
    struct dhole__preamble p;
    dhole_err err;

    if (!dhole__preamble_decode(bytes, &p) || p.to != mesh->rank || p.from <= mesh->rank ||
        p.from >= mesh->size) {
        dhole__conn_close(conn);
        return;
    }
    if (p.channel == DHOLE__CHANNEL_CONTROL && mesh->control[p.from] == NULL)
        err = open_control(b, conn, p.from, DHOLE__SEAL_SERVER, deadline);
    else if (p.channel == DHOLE__CHANNEL_LANE && mesh->control[p.from] != NULL &&
             mesh->lane[p.from] == NULL)
        err = open_lane(b, conn, p.from, DHOLE__SEAL_SERVER, deadline);
    else {
        dhole__conn_close(conn);
        err = dhole__fail(DHOLE_ERR_CONFIG, "a second process says that it is rank %d", p.from);
    }
    if (err)
        note_refusal(b, err);
}

static void forget(struct builder *b, int i)
{
    b->waiting_count--;
    memmove(&b->waiting[i], &b->waiting[i + 1],
            (size_t)(b->waiting_count - i) * sizeof b->waiting[0]);
    for (; i < b->waiting_count; i++) {
        struct waiting *w = &b->waiting[i];
        w->io.iov[0].iov_base = w->preamble + sizeof w->preamble - w->io.iov[0].iov_len;
    }
}

static dhole_err accept_all(struct builder *b)
{
    for (;;) {
        struct dhole__conn *conn;
        struct waiting *w;
        dhole_err err = b->transport->ops->accept(b->transport, &conn);
        if (err || conn == NULL)
            return err;
        if (b->waiting_count == waiting_max) {
            dhole__conn_close(b->waiting[0].conn);
            forget(b, 0);
        }
        w = &b->waiting[b->waiting_count++];
        w->conn = conn;
        w->deadline = dhole__deadline_in(preamble_ms);
        w->io = dhole__io_recv(conn, w->preamble, sizeof w->preamble, NULL, 0);
    }
}

/* Reads on; takes in whoever has said who it is, drops whoever was too slow. */
static void step_waiting(struct builder *b)
{
    for (int i = 0; i < b->waiting_count;) {
        struct waiting *w = &b->waiting[i];
        uint8_t preamble[dhole__preamble_size];
        struct dhole__conn *conn = w->conn;
        bool moved;
        dhole_err err = dhole__io_step(&w->io, 1, &moved);
        bool complete = err == DHOLE_OK && dhole__io_left(&w->io) == 0;
        if (!complete && err == DHOLE_OK && dhole__now() < w->deadline) {
            i++;
            continue;
        }
        memcpy(preamble, w->preamble, sizeof preamble);
        forget(b, i);
        if (complete)
            take_in(b, conn, preamble);
        else
            dhole__conn_close(conn);
    }
}

static dhole_err wait_for_callers(struct builder *b)
{
    struct pollfd pfds[waiting_max + 2];
    dhole__deadline deadline = b->deadline;
    int n = 0;
    dhole_err err;

    if (!b->transport->ops->arm(b->transport, &pfds[n++]))
        return DHOLE_OK;
    if (b->options->cancel_fd >= 0)
        pfds[n++] = (struct pollfd){.fd = b->options->cancel_fd, .events = POLLIN};
    for (int i = 0; i < b->waiting_count; i++) {
        if (!dhole__io_arm(&b->waiting[i].io, &pfds[n++]))
            return DHOLE_OK;
        deadline = dhole__deadline_min(deadline, b->waiting[i].deadline);
    }
    err = dhole__io_poll(pfds, n, deadline);
    return err == DHOLE_ERR_TIMEOUT ? DHOLE_OK : err;
}

/* The ranks above this one that are not connected yet, in words; NULL when all are. */
static const char *missing(const struct builder *b, char *text, size_t size)
{
    size_t n = 0;

    text[0] = '\0';
    for (int peer = b->mesh.rank + 1; peer < b->mesh.size; peer++)
        if (b->mesh.lane[peer] == NULL && n < size)
            n += (size_t)snprintf(text + n, size - n, "%s%d", n ? ", " : "rank ", peer);
    return n > 0 ? text : NULL;
}

static dhole_err take_in_peers(struct builder *b)
{
    char text[128];

    while (missing(b, text, sizeof text) != NULL) {
        dhole_err err = check_cancelled(b);
        if (err == DHOLE_OK)
            err = accept_all(b);
        if (err)
            return err;
        step_waiting(b);
        if (missing(b, text, sizeof text) == NULL)
            break;
        if (dhole__now() >= b->deadline) {
            if (b->refusal)
                return dhole__fail(b->refusal, "%s", b->refusal_text);
            return dhole__fail(DHOLE_ERR_TIMEOUT, "%s did not come in time", text);
        }
        err = wait_for_callers(b);
        if (err)
            return err;
    }
    return DHOLE_OK;
}

dhole_err dhole__mesh_open(struct dhole__transport *transport, const dhole_options *options,
                           dhole__deadline deadline, struct dhole__mesh *out)
{
    struct builder b = {
        .transport = transport,
        .options = options,
        .deadline = deadline,
        .mesh = {.rank = options->rank, .size = options->size},
    };
    dhole_err err = DHOLE_OK;

    for (int peer = 0; peer < options->rank && err == DHOLE_OK; peer++)
        err = dial_peer(&b, peer);
    if (err == DHOLE_OK)
        err = take_in_peers(&b);
    for (int i = 0; i < b.waiting_count; i++)
        dhole__conn_close(b.waiting[i].conn);
    if (err)
        dhole__mesh_close(&b.mesh);
    else
        *out = b.mesh;
    return err;
}

void dhole__mesh_close(struct dhole__mesh *mesh)
{
    for (int peer = 0; peer < mesh->size; peer++) {
        dhole__conn_close(mesh->lane[peer]);
        dhole__conn_close(mesh->control[peer]);
        mesh->lane[peer] = mesh->control[peer] = NULL;
    }
}
