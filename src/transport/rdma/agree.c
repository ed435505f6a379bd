/* Which devices of two sides reach each other, and over which of their addresses, only trying
 * tells.
 *
 * Both tell each other what they have, and list all pairs in the same order. They go through
 * that list in step, and for each pair whose devices are not in use yet each side
 *
 *   OFFER  makes a queue pair and tells its number, or the two give up,
 *   READY  connects it to the other's, and tells whether that went well,
 *   PROBE  sends messages of full length over it until one has come from the other side and its own
 *          was acknowledged, or time is up, and tells which.
 *
 * A pair that both found good is a rail. Every answer of one side is waited for by the other, so
 * they always agree on what comes next. */
#include "transport/rdma/agree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __APPLE__
#include <sys/random.h>
#endif

#include "base/bytes.h"
#include "base/log.h"
#include "base/sys.h"
#include "transport/io.h"
#include "transport/rdma/events.h"
#include "transport/rdma/offer.h"
#include "transport/rdma/rail_parts.h"

enum {
    answer_size = 24,
    /* Over UC one may be lost, or wait for an ARP reply that was. RC sends its only one again,
     * which takes seconds where many packets overtake each other; one that cannot arrive fails
     * sooner. */
    probes = 3,
    probe_every_ms = 400,
    probe_for_ms = 2000,
    reliable_probe_for_ms = 6000
};

enum stage { HELLO, OFFER, READY, PROBE, DONE };
enum verdict { NO, YES, TOO_LONG, OPEN };

/* stage, verdict, 16 bits number of the attempt, 32 bits each: queue pair, its first packet, errno;
 * 16 bits tag. */
struct answer {
    enum verdict verdict;
    uint32_t number, first, error;
    uint16_t tag;
};

struct dhole__agreement {
    struct dhole__agree_with with;
    enum stage stage;
    struct dhole__rdma_offer offer[2]; /* by side */
    int attempts, at;
    struct dhole__attempt attempt[dhole__attempts_max];
    bool used[2][dhole__rdma_devices_max];
    struct dhole__io io[2]; /* what is told, and what is heard */
    uint8_t out[dhole__rdma_offer_size], in[dhole__rdma_offer_size];

    /* The present attempt. */
    uint32_t message; /* at most that long */
    struct answer ours, theirs;
    dhole_err failed; /* to make a queue pair, which has nothing to do with reaching */
    struct dhole__rail *trial;
    int probed;
    int64_t next_probe, give_up;

    int rails;
    struct dhole__rail *rail[dhole__rdma_devices_max];
    char why[dhole__message_max]; /* the last attempt failed */
};

static const struct dhole__attempt *present(const struct dhole__agreement *a)
{
    return &a->attempt[a->at];
}

static const struct dhole__offered *offered(const struct dhole__agreement *a, int side)
{
    return &a->offer[side].device[present(a)->device[side]];
}

static void hear(struct dhole__agreement *a, size_t size)
{
    a->io[0] = dhole__io_send(a->with.link->lower, NULL, 0, NULL, 0);
    a->io[1] = dhole__io_recv(a->with.link->lower, a->in, size, NULL, 0);
}

static void tell(struct dhole__agreement *a, size_t size)
{
    a->io[0] = dhole__io_send(a->with.link->lower, a->out, size, NULL, 0);
}

static void tell_answer(struct dhole__agreement *a)
{
    memset(a->out, 0, answer_size);
    a->out[0] = (uint8_t)a->stage;
    a->out[1] = (uint8_t)a->ours.verdict;
    dhole__put16(a->out + 2, (unsigned)a->at);
    dhole__put32(a->out + 4, a->ours.number);
    dhole__put32(a->out + 8, a->ours.first);
    dhole__put32(a->out + 12, a->ours.error);
    dhole__put16(a->out + 16, a->ours.tag);
    tell(a, answer_size);
}

static dhole_err read_answer(struct dhole__agreement *a)
{
    if (a->in[0] != a->stage || a->in[1] >= OPEN || dhole__get16(a->in + 2) != (unsigned)a->at)
        return dhole__fail(DHOLE_ERR_PROTOCOL,
                           "rank %d is not in step while RDMA devices are tried: it is at %u.%u, "
                           "expected %d.%d",
                           a->with.link->peer, dhole__get16(a->in + 2), a->in[0], a->at, a->stage);
    a->theirs.verdict = (enum verdict)a->in[1];
    a->theirs.error = dhole__get32(a->in + 12);
    if (a->stage == OFFER) {
        a->theirs.number = dhole__get32(a->in + 4) & 0xffffff;
        a->theirs.first = dhole__get32(a->in + 8) & 0xffffff;
        a->theirs.tag = (uint16_t)dhole__get16(a->in + 16);
    }
    return DHOLE_OK;
}

/* "rxe0 GID 1 (...) to rxe1 of rank 1" */
static void describe(const struct dhole__agreement *a, char *out, size_t size)
{
    int side = a->with.side, gid = present(a)->gid[side];
    char from[dhole__gid_text_max] = "its LID", to[dhole__gid_text_max] = "its LID";

    if (gid >= 0) {
        dhole__gid_text(&a->with.device[present(a)->device[side]]->gid[gid], from);
        dhole__gid_text(&offered(a, !side)->gid[present(a)->gid[!side]], to);
    }
    snprintf(out, size, "RDMA device %s %s to %s %s of rank %d", offered(a, side)->name, from,
             offered(a, !side)->name, to, a->with.link->peer);
}

static void drop_trial(struct dhole__agreement *a)
{
    if (a->trial != NULL)
        dhole__rail_free(a->trial);
    free(a->trial);
    a->trial = NULL;
}

/* Takes down why this attempt failed: this thread's message, or what the other side says. */
static void note_failure(struct dhole__agreement *a)
{
    char what[256];

    describe(a, what, sizeof what);
    if (a->ours.verdict != YES)
        dhole__fail_in(DHOLE_ERR_UNSUPPORTED, "%s", what);
    else if (a->theirs.error != 0)
        dhole__fail(DHOLE_ERR_UNSUPPORTED, "%s: the peer failed: %s (errno %u)", what,
                    strerror((int)a->theirs.error), a->theirs.error);
    else
        dhole__fail(DHOLE_ERR_UNSUPPORTED, "%s: the peer says that it does not reach", what);
    dhole__message_save(a->why);
    dhole__log(DHOLE__LOG_DEBUG, "%s", a->why);
}

static struct dhole__rdma_shape trial_shape(const struct dhole__agreement *a)
{
    struct dhole__rdma_shape shape =
        dhole__shape_common(&offered(a, 0)->shape, &offered(a, 1)->shape);

    if (shape.message > a->message)
        shape.message = a->message;
    return shape;
}

static dhole_err open_trial(struct dhole__agreement *a)
{
    int number = present(a)->device[a->with.side];
    struct dhole__rdma_shape shape = trial_shape(a);
    uint32_t random[2];
    dhole_err err;

    if (getentropy(random, sizeof random) != 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "getting random numbers");
    a->ours =
        (struct answer){.verdict = YES, .first = random[0] & 0xffffff, .tag = (uint16_t)random[1]};
    a->trial = dhole__sys.calloc(1, sizeof *a->trial);
    if (a->trial == NULL)
        return dhole__fail_nomem(sizeof *a->trial, "an RDMA connection");
    err = dhole__rail_open(a->trial, a->with.link, a->with.blocks, a->with.device[number],
                           a->with.device_number[number], &shape, a->ours.tag);
    if (err) {
        free(a->trial);
        a->trial = NULL;
        return err;
    }
    a->ours.number = a->trial->qp.ibv->qp_num;
    return DHOLE_OK;
}

static bool is_free(const struct dhole__agreement *a, const struct dhole__attempt *attempt)
{
    return !a->used[0][attempt->device[0]] && !a->used[1][attempt->device[1]];
}

static int rails_possible(const struct dhole__agreement *a)
{
    return a->offer[0].n < a->offer[1].n ? a->offer[0].n : a->offer[1].n;
}

static dhole_err finish(struct dhole__agreement *a)
{
    int peer = a->with.link->peer;

    a->stage = DONE;
    if (a->rails == 0)
        return dhole__fail(DHOLE_ERR_UNSUPPORTED, "no RDMA device reaches rank %d; %s", peer,
                           a->attempts > 0 ? a->why : "their addresses are of different kinds");
    if (a->rails < rails_possible(a))
        dhole__log(DHOLE__LOG_WARN, "rank %d is reached over %d RDMA devices instead of %d; %s",
                   peer, a->rails, rails_possible(a), a->why);
    return DHOLE_OK;
}

static dhole_err begin_attempt(struct dhole__agreement *a)
{
    while (a->at < a->attempts && !is_free(a, present(a)))
        a->at++;
    if (a->at == a->attempts || a->rails == rails_possible(a))
        return finish(a);
    a->stage = OFFER;
    a->failed = open_trial(a);
    if (a->failed) {
        a->ours.verdict = NO;
        dhole__message_save(a->why);
    }
    hear(a, answer_size);
    tell_answer(a);
    return DHOLE_OK;
}

static dhole_err next_attempt(struct dhole__agreement *a)
{
    a->at++;
    a->message = dhole__message_most;
    return begin_attempt(a);
}

/* After both answers: whether both sides say yes; else goes on to the next. */
static bool both_agree(struct dhole__agreement *a)
{
    if (a->ours.verdict == YES && a->theirs.verdict == YES)
        return true;
    if (a->ours.verdict == YES)
        note_failure(a);
    drop_trial(a);
    return false;
}

static enum ibv_mtu common_mtu(const struct dhole__agreement *a)
{
    uint8_t mtu0 = offered(a, 0)->mtu, mtu1 = offered(a, 1)->mtu;

    return (enum ibv_mtu)(mtu0 < mtu1 ? mtu0 : mtu1);
}

static dhole_err connect_trial(struct dhole__agreement *a)
{
    int side = a->with.side;
    const struct dhole__offered *peer = offered(a, !side);
    const struct dhole__device *own = a->with.device[present(a)->device[side]];
    struct dhole__path path = {
        .lid = peer->lid,
        .number = a->theirs.number,
        .first = a->theirs.first,
        .own_first = a->ours.first,
        .mtu = common_mtu(a),
    };
    int error = 0;

    if (a->failed)
        return dhole__fail(a->failed, "%s", a->why);
    if (a->theirs.verdict != YES)
        return dhole__fail(DHOLE_ERR_SYSTEM, "rank %d can make no queue pair, as its message says",
                           a->with.link->peer);
    if (present(a)->gid[side] >= 0) {
        path.own = &own->gid[present(a)->gid[side]];
        path.peer = &peer->gid[present(a)->gid[!side]];
    }
    a->trial->peer_tag = a->theirs.tag;
    a->stage = READY;
    if (dhole__qp_connect(&a->trial->qp, &path, &error) != DHOLE_OK) {
        a->ours.verdict = NO;
        a->ours.error = (uint32_t)error;
        note_failure(a);
    }
    hear(a, answer_size);
    tell_answer(a);
    return DHOLE_OK;
}

static bool is_reliable(const struct dhole__agreement *a)
{
    return a->trial->qp.shape.reliable;
}

static int patience_ms(const struct dhole__agreement *a)
{
    return is_reliable(a) ? reliable_probe_for_ms : probe_for_ms;
}

static void begin_probes(struct dhole__agreement *a)
{
    a->stage = PROBE;
    a->ours.verdict = OPEN;
    a->probed = 0;
    a->next_probe = dhole__now();
    a->give_up = dhole__deadline_in(patience_ms(a));
    hear(a, answer_size);
}

static bool has_heard(const struct dhole__agreement *a)
{
    return dhole__io_left(&a->io[1]) == 0;
}

/* What this side has found out by now. */
static enum verdict judge(const struct dhole__agreement *a)
{
    const struct dhole__rail *trial = a->trial;

    if (trial->err)
        return trial->too_long && trial->qp.shape.message > dhole__message_safe ? TOO_LONG : NO;
    if (trial->probes > 0 && dhole__rail_idle(trial))
        return YES;
    return dhole__now() >= a->give_up || (has_heard(a) && a->in[1] != YES) ? NO : OPEN;
}

static void step_probes(struct dhole__agreement *a)
{
    struct dhole__rail *trial = a->trial;
    dhole_err err = dhole__events_look(trial->qp.device);

    if (err)
        dhole__rail_fail(trial, err);
    dhole__rail_progress(trial);
    if (a->probed < (is_reliable(a) ? 1 : probes) && dhole__now() >= a->next_probe &&
        !has_heard(a) && !trial->err) {
        a->probed++;
        a->next_probe = dhole__deadline_in(probe_every_ms);
        dhole__rail_probe(trial);
    }
    if (a->ours.verdict != OPEN)
        return;
    a->ours.verdict = judge(a);
    if (a->ours.verdict == OPEN)
        return;
    if (trial->err)
        dhole__fail(trial->err, "%s", trial->why);
    else if (has_heard(a))
        dhole__fail(DHOLE_ERR_UNSUPPORTED, "it says that nothing has come from here");
    else
        dhole__fail(DHOLE_ERR_UNSUPPORTED, "nothing has come from it within %d ms", patience_ms(a));
    if (a->ours.verdict != YES)
        note_failure(a);
    tell_answer(a);
}

static dhole_err keep_trial(struct dhole__agreement *a)
{
    const struct dhole__rdma_shape *shape = &a->trial->qp.shape;
    char what[256];

    describe(a, what, sizeof what);
    if (a->trial->qp.device->shape.reliable && !shape->reliable)
        dhole__log(DHOLE__LOG_WARN,
                   "%s: UC instead of RC, which the other side does not offer: a message that is "
                   "lost on the way ends the group",
                   what);
    dhole__log(DHOLE__LOG_INFO, "rail %d: %s, %s, messages of %u bytes, %u under way", a->rails,
               what, shape->reliable ? "RC" : "UC", shape->message, shape->window);
    a->trial->number = a->rails;
    a->rail[a->rails++] = a->trial;
    a->trial = NULL;
    for (int side = 0; side < 2; side++)
        a->used[side][present(a)->device[side]] = true;
    return next_attempt(a);
}

/* Old systems take short messages only, whatever they say. */
static dhole_err settle(struct dhole__agreement *a)
{
    bool too_long = a->ours.verdict == TOO_LONG || a->theirs.verdict == TOO_LONG;

    if (both_agree(a))
        return keep_trial(a);
    if (!too_long || a->message == dhole__message_safe)
        return next_attempt(a);
    a->message = dhole__message_safe;
    return begin_attempt(a);
}

static dhole_err begin(struct dhole__agreement *a)
{
    int side = a->with.side;
    dhole_err err = dhole__rdma_offer_decode(a->in, &a->offer[!side]);

    if (err)
        return err;
    a->attempts = dhole__attempts_list(&a->offer[0], &a->offer[1], a->attempt);
    return begin_attempt(a);
}

/* Both sides have said what belongs to this stage. */
static dhole_err advance(struct dhole__agreement *a)
{
    dhole_err err = a->stage == HELLO ? DHOLE_OK : read_answer(a);

    if (err)
        return err;
    switch (a->stage) {
    case HELLO: return begin(a);
    case OFFER: return connect_trial(a);
    case READY:
        if (!both_agree(a))
            return next_attempt(a);
        begin_probes(a);
        return DHOLE_OK;
    case PROBE: return settle(a);
    case DONE: break;
    }
    return DHOLE_OK;
}

dhole_err dhole__agree_step(struct dhole__agreement *a, bool *done)
{
    dhole_err err = DHOLE_OK;

    while (!err && a->stage != DONE) {
        bool moved;
        if (a->stage == PROBE)
            step_probes(a);
        err = dhole__io_step(a->io, 2, &moved);
        if (err || dhole__io_left(&a->io[0]) > 0 || !has_heard(a) ||
            (a->stage == PROBE && a->ours.verdict == OPEN && !moved))
            break;
        if (a->stage != PROBE || a->ours.verdict != OPEN)
            err = advance(a);
    }
    *done = a->stage == DONE && a->rails > 0;
    return err;
}

bool dhole__agree_arm(struct dhole__agreement *a, struct pollfd *pfd)
{
    struct dhole__conn *lower = a->with.link->lower;
    bool telling = dhole__io_left(&a->io[0]) > 0;

    if (a->stage == PROBE && !telling)
        return a->trial->base.ops->arm(&a->trial->base, false, true, pfd);
    return lower->ops->arm(lower, telling, !has_heard(a), pfd);
}

dhole__deadline dhole__agree_wake(const struct dhole__agreement *a)
{
    if (a->stage != PROBE)
        return INT64_MAX;
    if (a->probed < probes && !has_heard(a))
        return dhole__deadline_min(a->next_probe, a->give_up);
    return a->ours.verdict == OPEN ? a->give_up : INT64_MAX;
}

static void offer_own(const struct dhole__agree_with *with, struct dhole__rdma_offer *offer)
{
    offer->n = with->n;
    for (int i = 0; i < with->n; i++) {
        const struct dhole__device *device = with->device[i];
        struct dhole__offered *out = &offer->device[i];
        snprintf(out->name, sizeof out->name, "%.*s", dhole__offer_name - 1, device->name);
        out->shape = device->shape;
        out->mtu = (uint8_t)device->attr.active_mtu;
        out->by_lid = device->attr.link_layer == IBV_LINK_LAYER_INFINIBAND;
        out->lid = device->attr.lid;
        out->gids = device->gids;
        memcpy(out->gid, device->gid, sizeof out->gid);
    }
}

dhole_err dhole__agree_start(const struct dhole__agree_with *with, struct dhole__agreement **out)
{
    struct dhole__agreement *a = dhole__sys.calloc(1, sizeof *a);

    if (a == NULL)
        return dhole__fail_nomem(sizeof *a, "an RDMA connection");
    a->with = *with;
    a->message = dhole__message_most;
    offer_own(with, &a->offer[with->side]);
    dhole__rdma_offer_encode(&a->offer[with->side], a->out);
    hear(a, sizeof a->in);
    tell(a, sizeof a->out);
    *out = a;
    return DHOLE_OK;
}

int dhole__agree_take(struct dhole__agreement *a,
                      struct dhole__rail *out[static dhole__rdma_devices_max])
{
    int n = a->rails;

    memcpy(out, a->rail, sizeof a->rail);
    a->rails = 0;
    return n;
}

void dhole__agree_free(struct dhole__agreement *a)
{
    if (a == NULL)
        return;
    drop_trial(a);
    for (int i = 0; i < a->rails; i++) {
        dhole__rail_free(a->rail[i]);
        free(a->rail[i]);
    }
    free(a);
}
