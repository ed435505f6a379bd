#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/os.h"
#include "cluster/session.h"
#include "transport/io.h"

enum {
    send_ms = 1000,     /* a note is small: more means that the peer does not take it */
    farewell_ms = 1000, /* for the last words */
    idle_ms = 5000,
    calls_max = 4 /* of one machine that has yet to say who it is */
};

void dhole__session_due(dhole_cluster *s, dhole__deadline when)
{
    s->due = dhole__deadline_min(s->due, when);
}

void dhole__session_say(dhole_cluster *s, struct dhole__wire *wire, enum dhole__note note,
                        json_t *json)
{
    (void)s;
    if (dhole__wire_say(wire, note, json))
        return;
    dhole__log(DHOLE__LOG_ERROR, "a session ends a link, as there is no memory for a message");
    wire->last_words = true;
}

void dhole__session_refuse(dhole_cluster *s, struct dhole__wire *wire, const char *format, ...)
{
    char why[dhole__why_size];
    va_list args;

    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    dhole__disarm(why);
    dhole__log(DHOLE__LOG_WARN, "the machine at %s is refused: %s", dhole_link_address(wire->link),
               why);
    dhole__session_say(s, wire, DHOLE__NOTE_BYE, json_pack("{s:s, s:b}", "why", why, "end", 0));
    wire->last_words = true;
}

void dhole__session_place(dhole_cluster *s, struct dhole__wire *wire, int rank)
{
    struct dhole__member *m = &s->member[rank];

    dhole__session_detach(s, rank);
    wire->rank = rank;
    m->wire = wire;
    m->why[0] = '\0';
    m->fresh = true;
    m->told_again = false;
    m->doubted = m->heard_in_group = 0;
    dhole__health_begin(&m->health, dhole__now());
    pthread_cond_broadcast(&s->changed);
}

void dhole__session_detach(dhole_cluster *s, int rank)
{
    struct dhole__wire *wire = s->member[rank].wire;

    s->member[rank].wire = NULL;
    s->member[rank].doubted = 0;
    if (wire != NULL)
        dhole__wire_hang_up(wire);
}

void dhole__session_over(dhole_cluster *s, const char *format, ...)
{
    va_list args;

    if (s->phase == DHOLE__EPOCH_OVER)
        return;
    s->phase = DHOLE__EPOCH_OVER;
    va_start(args, format);
    vsnprintf(s->over, sizeof s->over, format, args);
    va_end(args);
    dhole__log(DHOLE__LOG_INFO, "epoch %llu of the session is over: %s",
               (unsigned long long)s->roster.epoch, s->over);
    dhole__words_drop(s);
    for (int rank = 0; rank < s->size; rank++)
        s->member[rank].piece.here = false;
    if (s->group_pipe >= 0) {
        ssize_t n = write(s->group_pipe, "", 1);
        (void)n;
    }
    pthread_cond_broadcast(&s->changed);
}

void dhole__session_fail(dhole_cluster *s, dhole_err err, const char *format, ...)
{
    va_list args;

    if (s->failed)
        return;
    s->failed = err;
    va_start(args, format);
    vsnprintf(s->failure, sizeof s->failure, format, args);
    va_end(args);
    dhole__session_over(s, "%s", s->failure);
    pthread_cond_broadcast(&s->changed);
}

void dhole__session_live(dhole_cluster *s)
{
    s->phase = DHOLE__EPOCH_LIVE;
    s->lives++;
    s->apart = 0;
    s->pause_ms = 0;
    pthread_mutex_lock(&s->trust_lock);
    s->stranger[0] = '\0';
    pthread_mutex_unlock(&s->trust_lock);
    dhole__log(DHOLE__LOG_INFO, "epoch %llu of the session: all %d ranks are there",
               (unsigned long long)s->roster.epoch, s->size);
    pthread_cond_broadcast(&s->changed);
}

/* Some more or less, so that ranks that were lost together do not call together. */
void dhole__session_pause(dhole_cluster *s)
{
    int64_t now = dhole__now();

    s->pause_ms = s->pause_ms == 0 ? dhole__first_pause_ms : 2 * s->pause_ms;
    if (s->pause_ms > s->reconnect_ms)
        s->pause_ms = s->reconnect_ms;
    s->not_before = now + s->pause_ms * (750000 + now / 64 % 500000);
}

/* ---- What comes ---- */

static void part(dhole_cluster *s, int rank, const char *why, enum dhole__log_level level)
{
    struct dhole__member *m = &s->member[rank];

    dhole__session_detach(s, rank);
    snprintf(m->why, sizeof m->why, "%s", why);
    dhole__log(level, "%s (rank %d) is %s: %s", m->who.name, rank,
               level == DHOLE__LOG_INFO ? "gone" : "lost", why);
    if (s->is_coordinator)
        dhole__coordinator_lost(s, rank, why);
    else
        dhole__joined_lost(s, rank, why);
    pthread_cond_broadcast(&s->changed);
}

void dhole__session_lose(dhole_cluster *s, int rank, const char *why)
{
    part(s, rank, why, DHOLE__LOG_WARN);
}

bool dhole__session_is_placed(const dhole_cluster *s, const struct dhole__wire *wire)
{
    return wire->rank >= 0 && s->member[wire->rank].wire == wire;
}

/* The wire is of no use any more. */
static void give_up(dhole_cluster *s, struct dhole__wire *wire, const char *why)
{
    if (dhole__session_is_placed(s, wire)) {
        dhole__session_lose(s, wire->rank, why);
        return;
    }
    if (wire->up)
        dhole__log(DHOLE__LOG_INFO, "a call from %s came to nothing: %s",
                   dhole_link_address(wire->link), why);
    dhole__wire_hang_up(wire);
}

/* It called, and has not been given a rank. */
static bool is_caller(const dhole_cluster *s, const struct dhole__wire *wire)
{
    return wire->up && !wire->called && !wire->dropped && !dhole__session_is_placed(s, wire);
}

/* A machine that calls more and more displaces itself alone. */
static void limit_calls(dhole_cluster *s, const struct dhole__wire *last)
{
    struct dhole__wire *oldest = NULL;
    dhole_pin pin, other;
    int calls = 0;

    dhole_link_pin(last->link, &pin);
    for (struct dhole__wire *wire = s->wires; wire != NULL; wire = wire->next) {
        if (!is_caller(s, wire))
            continue;
        dhole_link_pin(wire->link, &other);
        if (memcmp(&pin, &other, sizeof pin) != 0)
            continue;
        oldest = wire;
        calls++;
    }
    if (calls > calls_max)
        give_up(s, oldest, "it has called again");
}

static void take_up(dhole_cluster *s, struct dhole__wire *wire)
{
    wire->up = true;
    wire->since = dhole__now();
    if (!wire->called) {
        wire->next = s->wires;
        s->wires = wire;
    }
    if (wire->dropped)
        dhole__wire_hang_up(wire);
    else if (wire->called)
        dhole__joined_up(s, wire);
    else
        limit_calls(s, wire);
}

static void take_down(dhole_cluster *s, struct dhole__wire *wire, const struct dhole__event *event)
{
    wire->down = true;
    if (dhole__session_is_placed(s, wire)) {
        bool expected = s->failed || s->member[wire->rank].told_again;
        part(s, wire->rank, event->bytes, expected ? DHOLE__LOG_INFO : DHOLE__LOG_WARN);
    } else if (wire->called && !wire->dropped) {
        dhole__joined_unreached(s, wire, event->err, event->bytes);
    }
    wire->dropped = true;
}

/* The other side ends the link, and says why. */
static void take_bye(dhole_cluster *s, struct dhole__wire *wire, const json_t *json)
{
    const char *why = json_string_value(json_object_get(json, "why"));

    if (why == NULL)
        why = "it says goodbye";
    if (!s->is_coordinator && wire->rank == 0)
        dhole__joined_sent_away(s, wire, why, json_is_true(json_object_get(json, "end")));
    else if (wire->called && !dhole__session_is_placed(s, wire))
        dhole__joined_unreached(s, wire, DHOLE_ERR_PEER_LOST, why);
    if (dhole__session_is_placed(s, wire))
        part(s, wire->rank, why, DHOLE__LOG_INFO);
    else
        give_up(s, wire, why);
}

static void take_object(dhole_cluster *s, struct dhole__wire *wire,
                        const struct dhole__event *event, const json_t *json)
{
    enum dhole__note note = (enum dhole__note)event->note;

    if (note == DHOLE__NOTE_PING && dhole__session_is_placed(s, wire))
        dhole__pulse_answer(s, wire, json);
    else if (note == DHOLE__NOTE_PONG)
        dhole__pulse_take(s, wire, json);
    else if (note == DHOLE__NOTE_BYE)
        take_bye(s, wire, json);
    else if (s->is_coordinator)
        dhole__coordinator_take(s, wire, note, json);
    else
        dhole__joined_take(s, wire, note, json, event);
}

static void take_note(dhole_cluster *s, struct dhole__wire *wire, const struct dhole__event *event)
{
    json_t *json = NULL;

    if (dhole__json_parse(event->bytes, event->size, "a message", &json) != DHOLE_OK ||
        !json_is_object(json))
        give_up(s, wire, "it sent a message that is no JSON object");
    else
        take_object(s, wire, event, json);
    json_decref(json);
}

static void take_event(dhole_cluster *s, struct dhole__event *event)
{
    struct dhole__wire *wire = event->wire;

    atomic_fetch_sub(&wire->waiting, dhole__event_cost(event));
    if (event->note == DHOLE__NOTE_WORD && dhole__session_is_placed(s, wire)) {
        dhole__words_take(s, wire->rank, event);
        return;
    }
    if (event->kind == DHOLE__WIRE_UP)
        take_up(s, wire);
    else if (event->kind == DHOLE__WIRE_DOWN)
        take_down(s, wire, event);
    else if (!wire->dropped && !wire->last_words)
        take_note(s, wire, event);
    dhole__event_free(event);
}

/* ---- What is due ---- */

/* A caller that does not say who it is makes room for others. */
static void look_at_callers(dhole_cluster *s, int64_t now)
{
    for (struct dhole__wire *wire = s->wires; wire != NULL; wire = wire->next) {
        dhole__deadline until = wire->since + dhole__first_note_ms * INT64_C(1000000);
        if (!wire->up || wire->dropped || wire->last_words || dhole__session_is_placed(s, wire))
            continue;
        if (now >= until)
            give_up(s, wire, "it did not say who it is");
        else
            dhole__session_due(s, until);
    }
}

static void look(dhole_cluster *s, int64_t now)
{
    dhole__pulse_forgive(s, now);
    s->due = dhole__deadline_in(idle_ms);
    pthread_cond_broadcast(&s->changed); /* whoever waits looks at the time again */
    dhole__pulse_look(s, now);
    look_at_callers(s, now);
    if (s->failed)
        return;
    if (s->is_coordinator)
        dhole__coordinator_look(s, now);
    else
        dhole__joined_look(s, now);
    dhole__gather_look(s);
}

static void take_all(dhole_cluster *s)
{
    struct dhole__event *event, *next;

    for (event = dhole__mailbox_take(&s->box); event != NULL; event = next) {
        next = event->next;
        take_event(s, event);
    }
}

/* ---- The thread ---- */

/* Not under the lock: sending may take a moment. */
static void flush_all(dhole_cluster *s, int64_t timeout_ms)
{
    for (struct dhole__wire *wire = s->wires; wire != NULL; wire = wire->next) {
        if (wire->dropped)
            continue;
        if (dhole__wire_flush(wire, timeout_ms) && wire->last_words)
            dhole__wire_hang_up(wire);
    }
}

static void free_ended(dhole_cluster *s)
{
    struct dhole__wire **at = &s->wires, *wire;

    while ((wire = *at) != NULL) {
        if (wire->down && wire->users == 0) {
            *at = wire->next;
            dhole__wire_free(wire);
        } else {
            at = &wire->next;
        }
    }
}

static void doze(dhole_cluster *s, bool watch_cancel)
{
    struct pollfd pfds[2] = {{.fd = s->box.pipe[0], .events = POLLIN},
                             {.fd = watch_cancel ? s->cancel_fd : -1, .events = POLLIN}};

    /* A poll that fails is a poll that was short: the loop goes on by the clock. */
    if (dhole__io_poll(pfds, 2, s->due) == DHOLE_OK && pfds[1].revents != 0) {
        pthread_mutex_lock(&s->lock);
        dhole__session_fail(s, DHOLE_ERR_CANCELLED, "the session was cancelled");
        pthread_mutex_unlock(&s->lock);
    }
}

static void say_goodbye(dhole_cluster *s)
{
    const char *what = s->is_coordinator ? "the coordinator ended the session" : "it has left";
    char why[2 * dhole__why_size];

    snprintf(why, sizeof why, "%s%s%s", what, s->parting[0] != '\0' ? ": " : "", s->parting);
    for (struct dhole__wire *wire = s->wires; wire != NULL; wire = wire->next)
        if (wire->up && !wire->dropped && dhole__session_is_placed(s, wire))
            dhole__session_say(s, wire, DHOLE__NOTE_BYE,
                               json_pack("{s:s, s:b}", "why", s->failed ? s->failure : why, "end",
                                         (int)s->is_coordinator));
    flush_all(s, farewell_ms);
}

/* Waits until the threads of all wires have come to their end. */
void dhole__session_end(dhole_cluster *s)
{
    ssize_t n = write(s->stop_pipe[1], "", 1);

    (void)n;
    s->phase = DHOLE__EPOCH_OVER;
    for (int rank = 0; rank < s->size; rank++)
        dhole__session_detach(s, rank);
    dhole__gate_close(&s->gate);
    for (;;) {
        struct pollfd pfd = {.fd = s->box.pipe[0], .events = POLLIN};
        for (struct dhole__wire *wire = s->wires; wire != NULL; wire = wire->next)
            dhole__wire_hang_up(wire);
        take_all(s);
        free_ended(s);
        if (atomic_load(&s->box.wires) == 0)
            return;
        if (s->wires != NULL && !s->wires->dropped)
            continue; /* it has just come */
        if (dhole__io_poll(&pfd, 1, dhole__deadline_in(idle_ms)) != DHOLE_OK)
            continue;
    }
}

void *dhole__keeper(void *session)
{
    dhole_cluster *s = session;
    bool stop = false, failed;

    dhole__thread_name("dhole-session");
    s->due = dhole__now();
    while (!stop) {
        int64_t now = dhole__now();
        pthread_mutex_lock(&s->lock);
        take_all(s);
        look(s, now);
        stop = s->stop;
        failed = s->failed != DHOLE_OK;
        pthread_mutex_unlock(&s->lock);
        flush_all(s, send_ms);
        pthread_mutex_lock(&s->lock);
        free_ended(s);
        pthread_mutex_unlock(&s->lock);
        if (!stop)
            doze(s, !failed);
    }
    say_goodbye(s);
    dhole__session_end(s);
    return NULL;
}
