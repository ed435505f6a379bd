#include "group/liveness.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/os.h"
#include "base/pipe.h"
#include "base/sys.h"
#include "transport/io.h"

enum {
    text_max = 512,
    head_size = 8,
    beats_per_silence = 4,
    pieces_a_round = 256,
    verdict_wait_ms = 1000, /* for a verdict that is on its way */
    hearsay_ms = 100,       /* for that of a rank that is nearer to the one that is late */
    second_wait_ms = 500,   /* for that of a peer who waits just as long */
    farewell_ms = 500,      /* for the last message to go out */
    told_ms = 2 * farewell_ms,
};

/* A message on a control connection. Head: kind 1, error 1, culprit 2, text length 2, zero
 * 2, little-endian; the text follows. */
enum kind { BEAT = 1, VERDICT = 2, GOODBYE = 3, STANCE = 4, WAIT = 5 };

/* A call that a peer has waited in for a while. */
struct peer_wait {
    bool waits;
    struct dhole__waits in;
};

struct note {
    uint8_t head[head_size];
    char text[text_max];
};

struct peer {
    struct dhole__conn *control; /* NULL for this rank itself */
    bool gone;                   /* its control connection has ended or said goodbye */
    int64_t heard;               /* when something last came, or is to be expected from */
    struct note in;
    struct dhole__io in_io;
    bool in_text; /* the head is in, the text is on its way */
    struct note out;
    struct dhole__io out_io; /* what is on its way */
    unsigned told;           /* this rank's stances until then */
    unsigned told_waits;     /* likewise */
    uint64_t received;       /* over its lane, as the observer knows */
};

struct dhole__liveness {
    struct dhole__mesh *mesh;
    int64_t silence_ns;
    pthread_t thread;
    bool has_thread;
    int pipe[2]; /* wakes the thread */
    struct peer peer[dhole__rank_max];
    struct dhole__roll roll;
    atomic_uint stances; /* that this rank has taken */
    atomic_uint waits;   /* that it has begun or ended */

    atomic_bool all_here; /* nobody is busy connecting any more */
    atomic_bool decided;  /* there is a verdict */

    pthread_mutex_t lock; /* for what follows */
    pthread_cond_t changed;
    bool stop;
    bool left[dhole__rank_max]; /* said goodbye */
    struct peer_wait wait[dhole__rank_max];
    bool own_waits; /* this rank; each peer is told of it: */
    struct dhole__waits own_wait[dhole__rank_max];
    bool told; /* the peers know the verdict, those who can be told */
    dhole_err verdict;
    int culprit;
    char text[text_max];
    bool has_observer, reported; /* to it, if there was one */
    struct dhole__observer observer;
};

static void note_make(struct note *note, enum kind kind, dhole_err err, int culprit,
                      const void *text, size_t length)
{
    memset(note->head, 0, sizeof note->head);
    note->head[0] = (uint8_t)kind;
    note->head[1] = (uint8_t)err;
    note->head[2] = (uint8_t)culprit;
    dhole__put16(note->head + 4, (unsigned)length);
    memcpy(note->text, text, length);
}

static struct dhole__io note_send(const struct peer *peer, const struct note *note)
{
    return dhole__io_send(peer->control, note->head, head_size, note->text,
                          dhole__get16(note->head + 4));
}

static void wake(struct dhole__liveness *live)
{
    if (write(live->pipe[1], "", 1) < 0 && errno != EAGAIN)
        dhole__log(DHOLE__LOG_ERROR, "cannot wake the liveness thread");
}

/* The first verdict stands. */
static void decide(struct dhole__liveness *live, dhole_err err, int culprit, const char *text)
{
    pthread_mutex_lock(&live->lock);
    if (live->verdict == DHOLE_OK) {
        live->culprit = culprit;
        snprintf(live->text, sizeof live->text, "%s", text);
        live->verdict = err;
        atomic_store(&live->decided, true);
        pthread_cond_broadcast(&live->changed);
        if (live->has_thread)
            wake(live);
    }
    pthread_mutex_unlock(&live->lock);
}

static void lost(struct dhole__liveness *live, int peer, const char *why)
{
    char text[text_max];

    snprintf(text, sizeof text, "rank %d was lost: %.400s", peer, why);
    decide(live, DHOLE_ERR_PEER_LOST, peer, text);
}

/* Nothing more is to be expected from this peer. */
static void drop(struct dhole__liveness *live, int rank)
{
    live->peer[rank].gone = true;
    dhole__roll_strike(&live->roll, rank);
}

static void expect_note(struct peer *peer)
{
    peer->in_text = false;
    peer->in_io = dhole__io_recv(peer->control, peer->in.head, head_size, NULL, 0);
}

static void take_stance(struct dhole__liveness *live, int rank)
{
    struct dhole__stance stance;

    if (dhole__stance_decode((const uint8_t *)live->peer[rank].in.text, &stance))
        dhole__roll_hear(&live->roll, rank, &stance);
}

/* With the lock held: whether this rank and that one make different calls in one place. */
static dhole_err compare_waits(const struct dhole__liveness *live, int peer)
{
    const struct dhole__waits *ours = &live->own_wait[peer], *theirs = &live->wait[peer].in;

    if (!live->own_waits || !live->wait[peer].waits || !dhole__waits_differ(ours, theirs))
        return DHOLE_OK;
    return dhole__waits_mismatch(ours, live->mesh->rank, theirs, peer);
}

static void take_wait(struct dhole__liveness *live, int rank)
{
    const struct note *note = &live->peer[rank].in;
    dhole_err err;

    pthread_mutex_lock(&live->lock);
    live->wait[rank].waits = dhole__get16(note->head + 4) > 0;
    if (live->wait[rank].waits)
        dhole__waits_decode((const uint8_t *)note->text, &live->wait[rank].in);
    err = compare_waits(live, rank);
    pthread_mutex_unlock(&live->lock);
    if (err)
        decide(live, err, rank, dhole_error_message());
}

/* A whole note is in. */
static void take_note(struct dhole__liveness *live, int rank)
{
    struct peer *peer = &live->peer[rank];
    unsigned length = dhole__get16(peer->in.head + 4);

    switch ((enum kind)peer->in.head[0]) {
    case BEAT: break;
    case VERDICT:
        peer->in.text[length] = '\0';
        decide(live, (dhole_err)peer->in.head[1], peer->in.head[2], peer->in.text);
        break;
    case GOODBYE:
        pthread_mutex_lock(&live->lock);
        live->left[rank] = true;
        drop(live, rank);
        pthread_cond_broadcast(&live->changed);
        pthread_mutex_unlock(&live->lock);
        break;
    case STANCE: take_stance(live, rank); break;
    case WAIT: take_wait(live, rank); break;
    }
    expect_note(peer);
}

static bool head_is_sane(const struct dhole__liveness *live, const uint8_t *head)
{
    unsigned length = dhole__get16(head + 4);

    switch (head[0]) {
    case BEAT:
    case GOODBYE: return length < text_max;
    case VERDICT:
        return length < text_max && head[1] != DHOLE_OK && head[1] <= DHOLE_ERR_CANCELLED &&
               (int)dhole__get16(head + 2) < live->mesh->size;
    case STANCE: return length == dhole__stance_size;
    case WAIT: return length == 0 || length == dhole__waits_size;
    default: return false;
    }
}

/* Reads what there is; of who never ends a part, for the others' sake. */
static void hear(struct dhole__liveness *live, int rank)
{
    struct peer *peer = &live->peer[rank];
    bool moved = true;

    for (int pieces = 0; moved && !peer->gone && pieces < pieces_a_round; pieces++) {
        dhole_err err = dhole__io_step(&peer->in_io, 1, &moved);
        if (moved)
            peer->heard = dhole__now();
        if (err) {
            drop(live, rank);
            lost(live, rank, dhole_error_message());
            return;
        }
        if (dhole__io_left(&peer->in_io) > 0)
            continue;
        if (!peer->in_text && !head_is_sane(live, peer->in.head)) {
            drop(live, rank);
            lost(live, rank, "it sent rubbish on its control connection");
            return;
        }
        if (!peer->in_text && dhole__get16(peer->in.head + 4) > 0) {
            peer->in_text = true;
            peer->in_io = dhole__io_recv(peer->control, peer->in.text,
                                         dhole__get16(peer->in.head + 4), NULL, 0);
            continue;
        }
        take_note(live, rank);
    }
}

/* Whether the peer has yet to be told where this rank stands: then that is the next note. */
static bool make_stance(struct dhole__liveness *live, struct peer *peer)
{
    struct dhole__stance stance[dhole__rank_max];
    uint8_t text[dhole__stance_size];
    unsigned taken = atomic_load(&live->stances);
    uint64_t gone;

    if (peer->told == taken)
        return false;
    peer->told = taken;
    dhole__roll_look(&live->roll, stance, &gone);
    dhole__stance_encode(&stance[live->mesh->rank], text);
    note_make(&peer->out, STANCE, DHOLE_OK, 0, text, sizeof text);
    peer->out_io = note_send(peer, &peer->out);
    return true;
}

/* Likewise what this rank waits in. */
static bool make_wait(struct dhole__liveness *live, struct peer *peer)
{
    int to = (int)(peer - live->peer);
    unsigned waits = atomic_load(&live->waits);
    uint8_t text[dhole__waits_size];
    size_t length = 0;

    if (peer->told_waits == waits)
        return false;
    peer->told_waits = waits;
    pthread_mutex_lock(&live->lock);
    if (live->own_waits) {
        dhole__waits_encode(&live->own_wait[to], text);
        length = sizeof text;
    }
    pthread_mutex_unlock(&live->lock);
    note_make(&peer->out, WAIT, DHOLE_OK, 0, text, length);
    peer->out_io = note_send(peer, &peer->out);
    return true;
}

/* Pushes on what is on its way, and then starts what is to be said: this rank's stance, its wait,
 * or a beat if one is due. */
static void speak(struct dhole__liveness *live, struct peer *peer, bool due)
{
    bool moved;

    if (dhole__io_left(&peer->out_io) == 0 && !make_stance(live, peer) && !make_wait(live, peer) &&
        due) {
        note_make(&peer->out, BEAT, DHOLE_OK, 0, "", 0);
        peer->out_io = note_send(peer, &peer->out);
    }
    /* If this fails, hearing from the peer will fail too, and say why. */
    if (dhole__io_step(&peer->out_io, 1, &moved) != DHOLE_OK)
        peer->out_io.iov[0].iov_len = peer->out_io.iov[1].iov_len = 0;
}

static void check_silence(struct dhole__liveness *live, int rank, int64_t now)
{
    struct peer *peer = &live->peer[rank];
    int64_t silent;
    char why[64];

    if (peer->heard > now && atomic_load(&live->all_here))
        peer->heard = now;
    silent = now - peer->heard;
    if (silent < live->silence_ns)
        return;
    drop(live, rank);
    snprintf(why, sizeof why, "silent for %.1f s", (double)silent / 1e9);
    lost(live, rank, why);
}

/* The same last note to everyone who is still there, with bounded patience: after
 * whatever was half sent, and with no regard to who cannot be told. */
static void tell_all(struct dhole__liveness *live, const struct note *note)
{
    dhole__deadline deadline = dhole__deadline_in(farewell_ms);

    for (int rank = 0; rank < live->mesh->size; rank++) {
        struct peer *peer = &live->peer[rank];
        dhole_err err;
        if (peer->control == NULL || peer->gone)
            continue;
        err = dhole__io_run(&peer->out_io, 1, deadline);
        if (err == DHOLE_OK && make_stance(live, peer))
            err = dhole__io_run(&peer->out_io, 1, deadline);
        if (err == DHOLE_OK)
            err = dhole__io_run_one(note_send(peer, note), deadline);
        if (err) {
            dhole__log(DHOLE__LOG_INFO, "rank %d could not be told: %s", rank,
                       dhole_error_message());
            drop(live, rank); /* what was half sent makes rubbish of what follows */
        }
    }
}

static void report_traffic(struct dhole__liveness *live)
{
    struct dhole__observer observer;
    bool has;

    pthread_mutex_lock(&live->lock);
    has = live->has_observer;
    observer = live->observer;
    pthread_mutex_unlock(&live->lock);
    if (!has)
        return;
    for (int rank = 0; rank < live->mesh->size; rank++) {
        const struct dhole__conn *lane = live->mesh->lane[rank];
        uint64_t received = lane != NULL ? atomic_load(&lane->received) : 0;
        if (received != live->peer[rank].received)
            observer.heard(observer.arg, rank);
        live->peer[rank].received = received;
    }
}

/* Before this rank's callers hear of it. */
static void report_loss(struct dhole__liveness *live)
{
    struct dhole__observer observer;
    bool is_loss, has;

    pthread_mutex_lock(&live->lock);
    live->reported = true;
    is_loss = live->verdict == DHOLE_ERR_PEER_LOST && live->culprit != live->mesh->rank;
    has = live->has_observer;
    observer = live->observer;
    pthread_mutex_unlock(&live->lock);
    if (is_loss && has)
        observer.lost(observer.arg, live->culprit);
}

/* Tells the peers, and wakes this rank's callers. Every rank tells all, not
 * only the one that noticed: nobody must see a rank that gave up before hearing why. */
static void carry_out_verdict(struct dhole__liveness *live)
{
    struct note note;

    pthread_mutex_lock(&live->lock);
    note_make(&note, VERDICT, live->verdict, live->culprit, live->text, strlen(live->text));
    pthread_mutex_unlock(&live->lock);
    dhole__log(DHOLE__LOG_INFO, "rank %d: verdict: %.*s", live->mesh->rank,
               (int)dhole__get16(note.head + 4), note.text);
    tell_all(live, &note);
    for (int rank = 0; rank < live->mesh->size; rank++)
        if (live->mesh->lane[rank] != NULL)
            live->mesh->lane[rank]->ops->shutdown(live->mesh->lane[rank]);
    report_loss(live);
    pthread_mutex_lock(&live->lock);
    live->told = true;
    pthread_cond_broadcast(&live->changed);
    pthread_mutex_unlock(&live->lock);
    /* Who is given up is given up by all, though some may still hear it. */
    if (note.head[1] == DHOLE_ERR_PEER_LOST && note.head[2] != live->mesh->rank)
        drop(live, note.head[2]);
}

/* Sleeps until a peer says something, a report comes, the next beat is due, or a peer has been
 * silent for too long. */
static void doze(struct dhole__liveness *live, dhole__deadline next_beat)
{
    struct pollfd pfds[dhole__rank_max + 1] = {{.fd = live->pipe[0], .events = POLLIN}};
    dhole__deadline until = next_beat;
    char drain[16];
    int n = 1;

    for (int rank = 0; rank < live->mesh->size; rank++) {
        const struct peer *peer = &live->peer[rank];
        if (peer->control == NULL || peer->gone)
            continue;
        if (!dhole__io_arm(&peer->in_io, &pfds[n++]))
            return;
        until = dhole__deadline_min(until, peer->heard + live->silence_ns);
    }
    /* A poll that fails is a poll that was short: the loop goes on by the clock. */
    if (dhole__io_poll(pfds, n, until) == DHOLE_OK && (pfds[0].revents & POLLIN))
        while (read(live->pipe[0], drain, sizeof drain) > 0)
            ;
}

/* When this process was stopped itself, the peers' beats wait in the sockets, and their
 * silence is ours. */
static void forgive_own_absence(struct dhole__liveness *live, int64_t last_round, int64_t now)
{
    if (now - last_round < live->silence_ns / 2)
        return;
    for (int rank = 0; rank < live->mesh->size; rank++)
        if (live->peer[rank].heard < now)
            live->peer[rank].heard = now;
}

/* One look at every peer. */
static void go_round(struct dhole__liveness *live, int64_t now, bool due)
{
    for (int rank = 0; rank < live->mesh->size; rank++) {
        struct peer *peer = &live->peer[rank];
        if (peer->control == NULL || peer->gone)
            continue;
        hear(live, rank);
        if (!peer->gone)
            check_silence(live, rank, now);
        if (!peer->gone)
            speak(live, peer, due);
    }
}

static void *watch(void *arg)
{
    struct dhole__liveness *live = arg;
    int64_t period = live->silence_ns / beats_per_silence;
    int64_t next_beat = 0, last_round = dhole__now();
    bool stop = false, carried_out = false;
    struct note goodbye;

    dhole__thread_name("dhole-liveness");
    while (!stop) {
        int64_t now = dhole__now();
        bool due = now >= next_beat;
        dhole_err verdict;
        forgive_own_absence(live, last_round, now);
        last_round = now;
        go_round(live, now, due);
        report_traffic(live);
        if (due)
            next_beat = now + period;
        pthread_mutex_lock(&live->lock);
        stop = live->stop;
        verdict = live->verdict;
        pthread_mutex_unlock(&live->lock);
        if (verdict != DHOLE_OK && !carried_out)
            carry_out_verdict(live);
        else if (!stop)
            doze(live, next_beat);
        carried_out = verdict != DHOLE_OK;
    }
    note_make(&goodbye, GOODBYE, DHOLE_OK, 0, "", 0);
    tell_all(live, &goodbye);
    return NULL;
}

static void liveness_free(struct dhole__liveness *live)
{
    dhole__pipe_close(live->pipe);
    dhole__roll_destroy(&live->roll);
    pthread_cond_destroy(&live->changed);
    pthread_mutex_destroy(&live->lock);
    free(live);
}

static dhole_err start_thread(struct dhole__liveness *live)
{
    dhole_err err = dhole__pipe_open(live->pipe, O_NONBLOCK);
    int error;

    if (err)
        return err;
    live->has_thread = true;
    error = dhole__sys.thread_create(&live->thread, NULL, watch, live);
    if (error) {
        live->has_thread = false;
        errno = error;
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot start the liveness thread");
    }
    return DHOLE_OK;
}

dhole_err dhole__liveness_start(struct dhole__mesh *mesh, int64_t silence_ms, int64_t grace_ms,
                                struct dhole__liveness **out)
{
    struct dhole__liveness *live = dhole__sys.calloc(1, sizeof *live);
    dhole_err err;

    if (live == NULL)
        return dhole__fail_nomem(sizeof *live, "watching the peers");
    live->mesh = mesh;
    live->silence_ns = silence_ms * 1000000;
    live->pipe[0] = live->pipe[1] = -1;
    pthread_mutex_init(&live->lock, NULL);
    pthread_cond_init(&live->changed, NULL);
    dhole__roll_init(&live->roll);
    for (int rank = 0; rank < mesh->size; rank++) {
        live->peer[rank].control = mesh->control[rank];
        live->peer[rank].heard = dhole__deadline_in(grace_ms);
        if (mesh->control[rank] != NULL)
            expect_note(&live->peer[rank]);
    }
    err = mesh->size > 1 ? start_thread(live) : DHOLE_OK;
    if (err) {
        liveness_free(live);
        return err;
    }
    *out = live;
    return DHOLE_OK;
}

void dhole__liveness_observe(struct dhole__liveness *live, const struct dhole__observer *observer)
{
    bool late;

    pthread_mutex_lock(&live->lock);
    live->observer = *observer;
    live->has_observer = true;
    late = live->reported;
    pthread_mutex_unlock(&live->lock);
    if (late)
        report_loss(live);
}

void dhole__liveness_all_here(struct dhole__liveness *live)
{
    atomic_store(&live->all_here, true);
}

void dhole__liveness_stop(struct dhole__liveness *live)
{
    if (live == NULL)
        return;
    if (live->has_thread) {
        pthread_mutex_lock(&live->lock);
        live->stop = true;
        pthread_mutex_unlock(&live->lock);
        wake(live);
        pthread_join(live->thread, NULL);
    }
    if (live->has_observer)
        live->observer.release(live->observer.arg);
    liveness_free(live);
}

/* Sleeps until something has changed, or for a moment; with the lock held. */
static void await_change(struct dhole__liveness *live)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 20000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&live->changed, &live->lock, &until);
}

/* Who hears of the verdict may end its process at once, and the peers would take that for the
 * cause: first they are told. */
dhole_err dhole__liveness_check(struct dhole__liveness *live)
{
    char text[text_max];
    dhole__deadline deadline;
    dhole_err err;

    if (!atomic_load_explicit(&live->decided, memory_order_acquire))
        return DHOLE_OK;
    deadline = dhole__deadline_in(told_ms);
    pthread_mutex_lock(&live->lock);
    while (live->has_thread && !live->told && dhole__now() < deadline)
        await_change(live);
    err = live->verdict;
    memcpy(text, live->text, sizeof text);
    pthread_mutex_unlock(&live->lock);
    return err ? dhole__fail(err, "%s", text) : DHOLE_OK;
}

dhole_err dhole__liveness_report(struct dhole__liveness *live, dhole_err err, int culprit)
{
    decide(live, err, culprit, dhole_error_message());
    return dhole__liveness_check(live);
}

/* Until there is a verdict, `peer` has left, or the deadline; with the lock held. */
static void await_verdict(struct dhole__liveness *live, int peer, dhole__deadline deadline)
{
    while (live->verdict == DHOLE_OK && !live->left[peer] && dhole__now() < deadline)
        await_change(live);
}

dhole_err dhole__liveness_report_late(struct dhole__liveness *live, int culprit, int hearsay)
{
    dhole__deadline deadline = dhole__deadline_in((int64_t)hearsay * hearsay_ms);

    pthread_mutex_lock(&live->lock);
    await_verdict(live, culprit, deadline);
    pthread_mutex_unlock(&live->lock);
    return dhole__liveness_report(live, DHOLE_ERR_TIMEOUT, culprit);
}

void dhole__liveness_wait(struct dhole__liveness *live, const struct dhole__waits *waits)
{
    size_t size = (size_t)live->mesh->size;
    dhole_err err = DHOLE_OK;
    int peer;

    pthread_mutex_lock(&live->lock);
    live->own_waits = waits != NULL;
    if (waits != NULL)
        memcpy(live->own_wait, waits, size * sizeof *waits);
    for (peer = 0; peer < live->mesh->size; peer++)
        if ((err = compare_waits(live, peer)) != DHOLE_OK)
            break;
    atomic_fetch_add(&live->waits, 1);
    pthread_mutex_unlock(&live->lock);
    if (err)
        decide(live, err, peer, dhole_error_message());
    else if (live->has_thread)
        wake(live);
}

bool dhole__liveness_waits(struct dhole__liveness *live, int rank, struct dhole__waits *out)
{
    bool waits;

    pthread_mutex_lock(&live->lock);
    waits = live->wait[rank].waits;
    if (waits)
        *out = live->wait[rank].in;
    pthread_mutex_unlock(&live->lock);
    return waits;
}

bool dhole__liveness_own_wait(struct dhole__liveness *live, int peer, struct dhole__waits *out)
{
    bool waits;

    pthread_mutex_lock(&live->lock);
    waits = live->own_waits;
    if (waits)
        *out = live->own_wait[peer];
    pthread_mutex_unlock(&live->lock);
    return waits;
}

/* What `peer`, or this rank itself, waits in; with the lock held. NULL: it does not. */
static const struct dhole__waits *wait_of(const struct dhole__liveness *live, int peer)
{
    if (peer == live->mesh->rank)
        return live->own_waits ? &live->own_wait[peer] : NULL;
    return live->wait[peer].waits ? &live->wait[peer].in : NULL;
}

dhole_err dhole__liveness_deadlock(struct dhole__liveness *live, int *culprit)
{
    int rank = live->mesh->rank, size = live->mesh->size, first = *culprit;
    dhole_err err = DHOLE_OK;

    pthread_mutex_lock(&live->lock);
    for (int i = 0; i < size && live->own_waits && !err; i++) {
        int peer = (first + i) % size;
        const struct dhole__waits *ours = &live->own_wait[peer], *theirs = wait_of(live, peer);
        if (theirs == NULL || !dhole__waits_deadlock(ours, rank, theirs, peer))
            continue;
        *culprit = peer;
        err = dhole__waits_mismatch(ours, rank, theirs, peer);
    }
    pthread_mutex_unlock(&live->lock);
    return err;
}

dhole_err dhole__liveness_report_broken(struct dhole__liveness *live, int peer)
{
    /* When both are alive, as one of several rails between them broke, both come here; so that they
     * say the same, the lower rank speaks first. */
    int64_t patience_ms = verdict_wait_ms + (peer < live->mesh->rank ? second_wait_ms : 0);
    dhole__deadline deadline = dhole__deadline_in(patience_ms);
    char why[text_max];
    bool left;

    snprintf(why, sizeof why, "%s", dhole_error_message());
    pthread_mutex_lock(&live->lock);
    await_verdict(live, peer, deadline);
    left = live->left[peer];
    pthread_mutex_unlock(&live->lock);
    lost(live, peer, left ? "it has left the group" : why);
    return dhole__liveness_check(live);
}

int dhole__liveness_culprit(struct dhole__liveness *live)
{
    int culprit;

    pthread_mutex_lock(&live->lock);
    culprit = live->culprit;
    pthread_mutex_unlock(&live->lock);
    return culprit;
}

struct dhole__roll *dhole__liveness_roll(struct dhole__liveness *live)
{
    return &live->roll;
}

void dhole__liveness_say(struct dhole__liveness *live, const struct dhole__stance *stance)
{
    dhole__roll_hear(&live->roll, live->mesh->rank, stance);
    atomic_fetch_add(&live->stances, 1);
    if (live->has_thread)
        wake(live);
}
