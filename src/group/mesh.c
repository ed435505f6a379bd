/* Building the mesh: first all control connections, then all lanes.
 *
 * A connection on its way into the mesh is a `call`, a small state machine that never waits, so
 * that a stranger who calls and stalls holds up nobody: all calls are stepped side by side and
 * polled together, with a deadline each. Stages, as the dialler and the acceptor go through them:
 *
 *   control:  PREAMBLE -> ANSWER -> TLS (when sealed) -> HELLO -> in the mesh
 *   lane:     PREAMBLE -> SHM (when the two can share memory) -> PROOF -> in the mesh
 *             PREAMBLE -> PROOF -> RDMA -> PROOF -> in the mesh (when devices lead to the other)
 *
 * What goes wrong with a call that we made ends the init. What goes wrong with one that came in
 * is noted, and told if no better call comes. */
#include "group/mesh.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/sys.h"
#include "group/devices.h"
#include "group/hello.h"
#include "group/report.h"
#include "seal/seal.h"
#include "transport/rails.h"
#include "transport/rdma/rdma.h"
#include "transport/shm/shm.h"
#include "transport/tcp/tcp.h"

enum {
    calls_max = 3 * dhole__rank_max, /* control and lane of everyone at once, and strangers */
    rail_name_max = 64,
    preamble_ms = 2000,     /* for a caller to say who it is */
    handshake_ms = 5000,    /* for the rest */
    dial_slice_ms = 250,    /* between looks at cancel_fd */
    after_refusal_ms = 3000 /* for the right peer to come after a differing one */
};

/* Shared memory of a lane, each way, and of all lanes of a group of one host together. */
enum { bulk_max = 1 << 20, bulk_total = 64 << 20 };

enum stage { PREAMBLE, ANSWER, TLS, HELLO, SHM, RDMA, PROOF, DONE };

/* What a lane is to go over. */
enum way { CONNECTION, MEMORY, DEVICES };

/* A lane proves itself by its first bytes, which open under the pair's keys only. */
static const char lane_proof[8] = "lane 1";

struct call {
    struct dhole__conn *conn; /* NULL: not in use */
    enum dhole__seal_side side;
    int channel;
    enum stage stage;
    int peer;                  /* -1: not told yet */
    bool peer_sealed;          /* what a caller's preamble says */
    bool sealed, memory, rdma; /* what has been made of a lane */
    dhole__deadline deadline;
    uint8_t bytes[dhole__preamble_size]; /* preamble, answer or proof */
    struct dhole__io io;                 /* of those */
    struct dhole__hello hello;
};

struct builder {
    struct dhole__transport *transport;
    const dhole_options *options;
    enum dhole__lanes lanes;
    dhole__deadline deadline;
    struct dhole__mesh mesh;
    /* Known of a peer once its control connection is there: the way to it, and its host's name. */
    enum way way[dhole__rank_max];
    char host[dhole__rank_max][dhole__host_text_max + 1];
    struct dhole__conn *rail[dhole__rank_max][dhole__rails_max]; /* of the lane that is to be */
    struct call call[calls_max];
    dhole_err unopened; /* why this rank's devices are not there */
    char unopened_text[dhole__message_max];
    struct dhole__report report[dhole__rank_max]; /* of those who join over RDMA */
    dhole_err refusal;                            /* why a caller was refused */
    char refusal_text[dhole__message_max];
};

static void hang_up(struct call *call)
{
    dhole__conn_close(call->conn);
    call->conn = NULL;
}

static bool is_sealed(const struct builder *b)
{
    return b->options->identity != NULL;
}

static dhole_err start_hello(struct builder *b, struct call *call)
{
    call->stage = HELLO;
    dhole__hello_start(&call->hello, call->conn, b->options, b->lanes, b->transport->rails,
                       call->peer);
    return DHOLE_OK;
}

static dhole_err start_control(struct builder *b, struct call *call)
{
    if (!is_sealed(b))
        return start_hello(b, call);
    call->stage = TLS;
    return dhole__tls_start(call->conn, b->options->identity, &b->options->pins[call->peer],
                            call->side, &call->conn);
}

/* The more ranks, the less for each pair. */
static size_t bulk_size(int ranks)
{
    size_t size = bulk_max;

    while (size > dhole__bulk_min && size * (size_t)(ranks * (ranks - 1)) > bulk_total)
        size /= 2;
    return size;
}

/* Seals the lane as it is by now, unless it is sealed or nothing is. */
static dhole_err seal_lane(struct builder *b, struct call *call)
{
    if (!is_sealed(b) || call->sealed)
        return DHOLE_OK;
    call->sealed = true;
    return dhole__lane_open(call->conn, b->mesh.control[call->peer], call->side,
                            (uint32_t)call->channel, &call->conn);
}

static dhole_err start_proof(struct call *call)
{
    call->stage = PROOF;
    memcpy(call->bytes, lane_proof, sizeof lane_proof);
    if (call->side == DHOLE__SEAL_CLIENT)
        call->io = dhole__io_send(call->conn, call->bytes, sizeof lane_proof, NULL, 0);
    else
        call->io = dhole__io_recv(call->conn, call->bytes, sizeof lane_proof, NULL, 0);
    return DHOLE_OK;
}

/* The last stage, of what is by then all that the lane goes through. */
static dhole_err start_last_proof(struct builder *b, struct call *call)
{
    dhole_err err = seal_lane(b, call);

    return err ? err : start_proof(call);
}

/* Memory needs no second one, and devices have their own. */
static int rails_to(const struct builder *b, int peer)
{
    return b->way[peer] == CONNECTION ? b->transport->rails : 1;
}

static dhole_err start_rdma(struct builder *b, struct call *call)
{
    char name[dhole__devices_max][dhole__devices_name_max + 1];
    const char *devices[dhole__devices_max];
    int n = dhole__devices_split(b->options->devices[call->peer], name);

    for (int i = 0; i < n; i++)
        devices[i] = name[i];
    call->stage = RDMA;
    call->rdma = true;
    call->deadline = b->deadline; /* devices that do not reach each other take their time */
    return dhole__rdma_start(b->mesh.rdma, call->conn, call->side == DHOLE__SEAL_SERVER, call->peer,
                             devices, n, &call->conn);
}

static dhole_err start_shm(struct builder *b, struct call *call)
{
    call->stage = SHM;
    return dhole__shm_start(call->conn, call->side == DHOLE__SEAL_SERVER, bulk_size(b->mesh.size),
                            &call->conn);
}

static dhole_err start_lane(struct builder *b, struct call *call)
{
    enum way way = b->way[call->peer];

    if (call->channel - DHOLE__CHANNEL_LANE >= rails_to(b, call->peer))
        return dhole__fail(DHOLE_ERR_PROTOCOL, "its connection %d is one too many", call->channel);
    if (way == CONNECTION)
        return start_last_proof(b, call);
    /* What is sealed before it becomes memory or RDMA guards the offer, after it every byte. */
    if (way == MEMORY ? b->options->plain_memory : !b->options->seal_rdma) {
        dhole_err err = seal_lane(b, call);
        if (err)
            return err;
    }
    /* Under seal the side that called must be heard first, and devices are offered by both. */
    return way == MEMORY ? start_shm(b, call) : start_proof(call);
}

/* Who can't share memory after all stays on the connection, unless memory was asked for. */
static dhole_err step_shm(struct builder *b, struct call *call)
{
    bool done;
    dhole_err err = dhole__shm_step(call->conn, &done);

    if (err == DHOLE_ERR_UNSUPPORTED && b->lanes == DHOLE__LANES_ANY) {
        dhole__log(DHOLE__LOG_WARN, "ranks %d and %d of one host use TCP: %s", b->mesh.rank,
                   call->peer, dhole_error_message());
        call->conn = dhole__shm_give_up(call->conn);
        return start_last_proof(b, call);
    }
    if (err || !done)
        return err;
    call->memory = !is_sealed(b) || call->sealed;
    return start_last_proof(b, call);
}

/* Whoever asked for RDMA gets no other lane in its place. */
static dhole_err step_rdma(struct builder *b, struct call *call)
{
    bool done;
    dhole_err err = dhole__rdma_step(call->conn, &done);

    return err || !done ? err : start_last_proof(b, call);
}

static void encode_preamble(const struct builder *b, struct call *call)
{
    struct dhole__preamble p = {b->mesh.rank, call->peer, call->channel, is_sealed(b)};

    dhole__preamble_encode(&p, call->bytes);
}

/* Nothing but the answer is under way then, so that whoever is refused hears why. */
static dhole_err start_answer(struct builder *b, struct call *call)
{
    call->stage = ANSWER;
    if (call->side == DHOLE__SEAL_CLIENT) {
        call->io = dhole__io_recv(call->conn, call->bytes, sizeof call->bytes, NULL, 0);
        return DHOLE_OK;
    }
    encode_preamble(b, call);
    call->io = dhole__io_send(call->conn, call->bytes, sizeof call->bytes, NULL, 0);
    return DHOLE_OK;
}

/* Anybody may call in the clear, and shortens a sealed group's time to join no more than by a
 * wrong key. */
static dhole_err end_answer(struct builder *b, struct call *call)
{
    struct dhole__preamble p = {.sealed = call->peer_sealed};
    bool client = call->side == DHOLE__SEAL_CLIENT;

    if (client && (!dhole__preamble_decode(call->bytes, &p) || p.from != call->peer ||
                   p.to != b->mesh.rank || p.channel != call->channel))
        return dhole__fail(DHOLE_ERR_PROTOCOL, "it did not answer as a rank does");
    if (p.sealed == is_sealed(b))
        return start_control(b, call);
    return dhole__fail(is_sealed(b) && !client ? DHOLE_ERR_AUTH : DHOLE_ERR_CONFIG,
                       "the seal differs: rank %d has keys, rank %d has none: see that all have "
                       "them (DHOLE_IDENTITY and DHOLE_PINS, or options), or DHOLE_SEAL=off",
                       is_sealed(b) ? b->mesh.rank : call->peer,
                       is_sealed(b) ? call->peer : b->mesh.rank);
}

/* The preamble of someone who calls us. */
static dhole_err identify(struct builder *b, struct call *call)
{
    struct dhole__preamble p;

    if (!dhole__preamble_decode(call->bytes, &p) || p.to != b->mesh.rank ||
        p.from <= b->mesh.rank || p.from >= b->mesh.size)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "a caller did not say who it is");
    call->peer = p.from;
    call->peer_sealed = p.sealed;
    call->channel = p.channel;
    call->deadline = dhole__deadline_in(handshake_ms);
    return DHOLE_OK;
}

static bool may_be_lane(const struct builder *b, const struct call *call)
{
    return b->mesh.control[call->peer] != NULL && b->unopened == DHOLE_OK;
}

/* The preamble is over. A lane waits here for its control connection, and for ever where there are
 * no devices for it. */
static dhole_err step_preamble(struct builder *b, struct call *call)
{
    if (call->peer < 0) {
        dhole_err err = identify(b, call);
        if (err)
            return err;
    }
    if (call->channel == DHOLE__CHANNEL_CONTROL)
        return start_answer(b, call);
    return may_be_lane(b, call) ? start_lane(b, call) : DHOLE_OK;
}

static struct dhole__conn **place_of(struct builder *b, int peer, int channel)
{
    return channel == DHOLE__CHANNEL_CONTROL ? &b->mesh.control[peer]
                                             : &b->rail[peer][channel - DHOLE__CHANNEL_LANE];
}

/* Into the mesh, unless somebody was faster. */
static dhole_err join(struct builder *b, struct call *call)
{
    struct dhole__conn **place = place_of(b, call->peer, call->channel);

    if (*place != NULL)
        return dhole__fail(DHOLE_ERR_CONFIG, "a second process says that it is rank %d",
                           call->peer);
    call->conn->sent = call->conn->received = 0;
    *place = call->conn;
    b->mesh.memory[call->peer] |= call->memory;
    b->mesh.devices[call->peer] |= call->rdma;
    call->conn = NULL;
    call->stage = DONE;
    return DHOLE_OK;
}

static dhole_err end_proof(struct builder *b, struct call *call)
{
    if (memcmp(call->bytes, lane_proof, sizeof lane_proof) != 0)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "a lane began with other bytes");
    if (b->way[call->peer] == DEVICES && !call->rdma)
        return start_rdma(b, call);
    return join(b, call);
}

static enum way way_to(const struct dhole__hello *hello)
{
    if (dhole__hello_shares_memory(hello))
        return MEMORY;
    return dhole__hello_uses_rdma(hello) ? DEVICES : CONNECTION;
}

/* Goes on as far as can be gone without waiting. */
static dhole_err step(struct builder *b, struct call *call)
{
    enum stage before;
    bool done = false;
    dhole_err err = DHOLE_OK;

    do {
        before = call->stage;
        switch (before) {
        case PREAMBLE:
        case ANSWER:
        case PROOF:
            err = dhole__io_step(&call->io, 1, &done);
            if (err || dhole__io_left(&call->io) > 0)
                break;
            err = before == PREAMBLE ? step_preamble(b, call)
                  : before == ANSWER ? end_answer(b, call)
                                     : end_proof(b, call);
            break;
        case TLS:
            err = dhole__tls_step(call->conn, &done);
            if (!err && done)
                err = start_hello(b, call);
            break;
        case HELLO:
            err = dhole__hello_step(&call->hello, &done);
            if (err || !done)
                break;
            err = join(b, call);
            if (err)
                break;
            b->way[call->peer] = way_to(&call->hello);
            dhole__hello_host(&call->hello, b->host[call->peer]);
            break;
        case SHM: err = step_shm(b, call); break;
        case RDMA: err = step_rdma(b, call); break;
        case DONE: break;
        }
    } while (!err && call->stage != before && call->stage != DONE);
    return err;
}

/* Whoever called, one refused connection does not end the init: a stranger must not be able to.
 * It is what the user wants to hear of if the right peer does not come. A peer that is one of
 * us but differs will not change its mind, so then there is no long wait; whether a caller in
 * an unsealed group is one of us, nobody can tell. */
static void note_refusal(struct builder *b, const struct call *call, dhole_err err)
{
    if (call->peer < 0)
        return;
    dhole__log(DHOLE__LOG_WARN, "refused a connection: %s", dhole_error_message());
    b->refusal = err;
    dhole__message_save(b->refusal_text);
    if (err == DHOLE_ERR_CONFIG || err == DHOLE_ERR_UNSUPPORTED)
        b->deadline = dhole__deadline_min(b->deadline, dhole__deadline_in(after_refusal_ms));
}

/* Steps one call; an error is one that ends the init. */
static dhole_err drive(struct builder *b, struct call *call)
{
    dhole_err err = step(b, call);

    if (!err && call->stage == DONE)
        return DHOLE_OK;
    if (!err && dhole__now() >= call->deadline)
        err = dhole__fail(DHOLE_ERR_TIMEOUT, "it did not answer in time");
    if (!err)
        return DHOLE_OK;
    if (call->peer >= 0)
        dhole__fail_in(err, "rank %d", call->peer);
    hang_up(call);
    if (call->side == DHOLE__SEAL_CLIENT)
        return err;
    note_refusal(b, call, err);
    return DHOLE_OK;
}

/* A free place for a call; when there is none, that of the call that has least time left. */
static struct call *place_for_call(struct builder *b)
{
    struct call *oldest = NULL;

    for (int i = 0; i < calls_max; i++) {
        struct call *call = &b->call[i];
        if (call->conn == NULL)
            return call;
        if (call->side == DHOLE__SEAL_SERVER &&
            (oldest == NULL || call->deadline < oldest->deadline))
            oldest = call;
    }
    hang_up(oldest);
    return oldest;
}

static dhole_err accept_all(struct builder *b)
{
    for (;;) {
        struct dhole__conn *conn;
        struct call *call;
        dhole_err err = b->transport->ops->accept(b->transport, &conn);
        if (err || conn == NULL)
            return err;
        call = place_for_call(b);
        call->conn = conn;
        call->side = DHOLE__SEAL_SERVER;
        call->sealed = call->memory = call->rdma = false;
        call->stage = PREAMBLE;
        call->peer = -1;
        call->deadline = dhole__deadline_in(preamble_ms);
        call->io = dhole__io_recv(conn, call->bytes, sizeof call->bytes, NULL, 0);
    }
}

static dhole_err check_cancelled(const struct builder *b)
{
    struct pollfd pfd = {.fd = b->options->cancel_fd, .events = POLLIN};

    if (pfd.fd >= 0 && dhole__sys.poll(&pfd, 1, 0) > 0)
        return dhole__fail(DHOLE_ERR_CANCELLED, "joining the group was cancelled on rank %d",
                           b->mesh.rank);
    return DHOLE_OK;
}

/* Why there is no use in waiting any longer, if there is a reason. */
static dhole_err check_news(struct builder *b)
{
    dhole_err err = check_cancelled(b);

    for (int peer = 0; peer < b->mesh.size && !err; peer++)
        if (b->report[peer].awaited)
            err = dhole__report_step(&b->report[peer], peer);
    return err;
}

/* What to poll for to step this call; false: nothing, it can be stepped now. */
static bool arm(const struct builder *b, const struct call *call, struct pollfd *pfd)
{
    struct dhole__conn *conn = call->conn;
    bool send = false;

    if (call->stage == PREAMBLE && dhole__io_left(&call->io) == 0) {
        *pfd = (struct pollfd){.fd = -1};
        return !may_be_lane(b, call);
    }
    if (call->stage == PREAMBLE || call->stage == ANSWER || call->stage == PROOF)
        return dhole__io_arm(&call->io, pfd);
    if (call->stage == HELLO)
        send = dhole__io_left(&call->hello.io[0]) > 0;
    return conn->ops->arm(conn, send, true, pfd);
}

/* Until something happens to a call, someone calls or reports, or a deadline passes. */
static dhole_err sleep_on_calls(struct builder *b)
{
    struct pollfd pfds[dhole__rails_max + 1 + calls_max + dhole__rank_max];
    dhole__deadline deadline = b->deadline;
    int n = b->transport->ops->arm(b->transport, pfds);
    dhole_err err;

    pfds[n++] = (struct pollfd){.fd = b->options->cancel_fd, .events = POLLIN};
    for (int i = 0; i < calls_max; i++) {
        if (b->call[i].conn == NULL)
            continue;
        if (!arm(b, &b->call[i], &pfds[n++]))
            return DHOLE_OK;
        deadline = dhole__deadline_min(deadline, b->call[i].deadline);
        if (b->call[i].stage == RDMA)
            deadline = dhole__deadline_min(deadline, dhole__rdma_wake(b->call[i].conn));
    }
    for (int peer = 0; peer < b->mesh.size; peer++)
        if (b->report[peer].awaited && !dhole__io_arm(&b->report[peer].io, &pfds[n++]))
            return DHOLE_OK;
    err = dhole__io_poll(pfds, n, deadline);
    return err == DHOLE_ERR_TIMEOUT ? DHOLE_OK : err;
}

static dhole_err step_all(struct builder *b)
{
    dhole_err err = check_news(b);

    if (!err)
        err = accept_all(b);
    for (int i = 0; i < calls_max && !err; i++)
        if (b->call[i].conn != NULL)
            err = drive(b, &b->call[i]);
    if (err == DHOLE_ERR_PEER_LOST) { /* who gives up says why before it hangs up */
        dhole_err news = check_news(b);
        err = news ? news : err;
    }
    return err;
}

/* Until something more has come, which is waited for from `peer`. */
static dhole_err wait_on(struct builder *b, int peer)
{
    if (dhole__now() < b->deadline)
        return sleep_on_calls(b);
    if (b->refusal)
        return dhole__fail(b->refusal, "%s", b->refusal_text);
    return dhole__fail(DHOLE_ERR_TIMEOUT, "rank %d did not come in time", peer);
}

/* Until `peer` is there on that channel. */
static dhole_err wait_for(struct builder *b, int peer, int channel)
{
    struct dhole__conn **place = place_of(b, peer, channel);
    dhole_err err = step_all(b);

    while (!err && *place == NULL) {
        err = wait_on(b, peer);
        if (!err)
            err = step_all(b);
    }
    return err;
}

static dhole_err connect_to(struct builder *b, int peer, int channel, struct dhole__conn **out)
{
    int rail = channel == DHOLE__CHANNEL_CONTROL ? 0 : channel - DHOLE__CHANNEL_LANE;
    dhole_err err;

    do {
        dhole__deadline slice = dhole__deadline_min(b->deadline, dhole__deadline_in(dial_slice_ms));
        err = check_news(b);
        if (err)
            return err;
        err = b->transport->ops->connect(b->transport, peer, rail, slice, out);
    } while (err == DHOLE_ERR_TIMEOUT && dhole__now() < b->deadline);
    return err;
}

static dhole_err dial(struct builder *b, int peer, int channel)
{
    struct dhole__conn *conn;
    struct call *call;
    dhole_err err = connect_to(b, peer, channel, &conn);

    if (err)
        return err;
    call = place_for_call(b);
    call->conn = conn;
    call->side = DHOLE__SEAL_CLIENT;
    call->sealed = call->memory = call->rdma = false;
    call->channel = channel;
    call->stage = PREAMBLE;
    call->peer = peer;
    call->deadline = b->deadline;
    encode_preamble(b, call);
    call->io = dhole__io_send(conn, call->bytes, sizeof call->bytes, NULL, 0);
    return wait_for(b, peer, channel);
}

/* Makes one lane of the rails to a peer. */
static dhole_err join_rails(struct builder *b, int peer)
{
    int n = rails_to(b, peer);
    char address[dhole__rails_max][rail_name_max];
    const char *name[dhole__rails_max];
    dhole_err err = DHOLE_OK;

    if (n == 1) {
        b->mesh.lane[peer] = b->rail[peer][0];
    } else {
        for (int rail = 0; rail < n; rail++) {
            size_t length;
            const char *text = dhole__tcp_rail(b->options->hosts[peer], rail, &length);
            snprintf(address[rail], sizeof address[0], "%.*s", (int)length, text);
            name[rail] = address[rail];
        }
        err = dhole__rails_open(b->rail[peer], name, n, dhole__rails_chunk, &b->mesh.lane[peer]);
    }
    if (!err)
        memset(b->rail[peer], 0, sizeof b->rail[peer]);
    return err;
}

/* Lower ranks are called, higher ones call. */
static dhole_err get(struct builder *b, int peer, int channel)
{
    return peer < b->mesh.rank ? dial(b, peer, channel) : wait_for(b, peer, channel);
}

static dhole_err connect_controls(struct builder *b)
{
    dhole_err err = DHOLE_OK;

    for (int peer = 0; peer < b->mesh.size && !err; peer++)
        if (peer != b->mesh.rank)
            err = get(b, peer, DHOLE__CHANNEL_CONTROL);
    return err;
}

static dhole_err connect_lanes(struct builder *b)
{
    dhole_err err = DHOLE_OK;

    for (int peer = 0; peer < b->mesh.size && !err; peer++) {
        if (peer == b->mesh.rank)
            continue;
        for (int rail = 0; !err && rail < rails_to(b, peer); rail++)
            err = get(b, peer, DHOLE__CHANNEL_LANE + rail);
        if (!err)
            err = join_rails(b, peer);
    }
    return err;
}

/* Numbers the hosts; where ranks do not ask for memory, each has its own. */
static void number_hosts(struct builder *b)
{
    for (int rank = 0; rank < b->mesh.size; rank++) {
        bool memory = b->lanes == DHOLE__LANES_SHM || b->lanes == DHOLE__LANES_ANY;
        int first = memory ? 0 : rank;
        while (strcmp(b->host[first], b->host[rank]) != 0)
            first++;
        b->mesh.host[rank] = first;
        b->mesh.local[rank] = strcmp(b->host[rank], b->host[b->mesh.rank]) == 0;
    }
}

static dhole_err open_devices(struct builder *b)
{
    struct dhole__device_use use[dhole__devices_max];
    struct dhole__rdma_wish wish[dhole__devices_max];
    int n;
    dhole_err err = dhole__devices_used(b->options, use, &n);

    for (int i = 0; i < n && !err; i++)
        wish[i] = (struct dhole__rdma_wish){use[i].name, use[i].peers};
    if (!err && n > 0)
        err = dhole__rdma_open(wish, n, &b->mesh.rdma);
    return err ? dhole__fail_in(err, "rank %d", b->mesh.rank) : DHOLE_OK;
}

static void await_reports(struct builder *b)
{
    for (int peer = 0; peer < b->mesh.size; peer++)
        if (peer != b->mesh.rank)
            dhole__report_await(&b->report[peer], b->mesh.control[peer]);
}

/* Until all have told that their lanes are there. */
static dhole_err hear_reports(struct builder *b)
{
    dhole_err err = DHOLE_OK;

    for (int peer = 0; peer < b->mesh.size; peer++) {
        while (!err && b->report[peer].awaited) {
            err = wait_on(b, peer);
            if (!err)
                err = step_all(b);
        }
    }
    return err;
}

static void tell_all(const struct builder *b, dhole_err err)
{
    for (int peer = 0; peer < b->mesh.size; peer++)
        if (b->mesh.control[peer] != NULL)
            dhole__report_tell(b->mesh.control[peer], err);
}

/* Who cannot open its devices meets the others all the same. So nobody is left without a word: each
 * hears why there will be no group from the rank that is at fault, or from one that heard it. */
static dhole_err connect_over_devices(struct builder *b)
{
    dhole_err err;

    b->unopened = open_devices(b);
    if (b->unopened) {
        dhole__message_save(b->unopened_text);
        dhole__log(DHOLE__LOG_WARN, "%s; waiting for the others to tell them", b->unopened_text);
    }
    err = connect_controls(b);
    if (b->unopened)
        err = dhole__fail(b->unopened, "%s", b->unopened_text);
    if (!err) {
        await_reports(b);
        err = connect_lanes(b);
    }
    tell_all(b, err);
    return err ? err : hear_reports(b);
}

static dhole_err connect_over_transport(struct builder *b)
{
    dhole_err err = connect_controls(b);

    return err ? err : connect_lanes(b);
}

static dhole_err build(struct builder *b)
{
    dhole_err err =
        b->lanes == DHOLE__LANES_RDMA ? connect_over_devices(b) : connect_over_transport(b);

    number_hosts(b);
    return err;
}

static void close_rails(struct builder *b)
{
    for (int peer = 0; peer < b->mesh.size; peer++)
        for (int rail = 0; rail < dhole__rails_max; rail++)
            dhole__conn_close(b->rail[peer][rail]);
}

dhole_err dhole__mesh_open(struct dhole__transport *transport, const dhole_options *options,
                           enum dhole__lanes lanes, dhole__deadline deadline,
                           struct dhole__mesh *out)
{
    struct builder *b = dhole__sys.calloc(1, sizeof *b);
    dhole_err err;

    if (b == NULL)
        return dhole__fail_nomem(sizeof *b, "joining the group");
    b->transport = transport;
    b->options = options;
    b->lanes = lanes;
    b->deadline = deadline;
    b->mesh.rank = options->rank;
    b->mesh.size = options->size;
    snprintf(b->host[options->rank], sizeof b->host[0], "%s", options->host);
    err = build(b);
    for (int i = 0; i < calls_max; i++)
        hang_up(&b->call[i]);
    close_rails(b); /* that are no lane yet */
    if (err)
        dhole__mesh_close(&b->mesh);
    else
        *out = b->mesh;
    free(b);
    return err;
}

void dhole__mesh_close(struct dhole__mesh *mesh)
{
    for (int peer = 0; peer < mesh->size; peer++) {
        dhole__conn_close(mesh->lane[peer]);
        dhole__conn_close(mesh->control[peer]);
        mesh->lane[peer] = mesh->control[peer] = NULL;
    }
    dhole__rdma_close(mesh->rdma);
    mesh->rdma = NULL;
}
