/* Pings, their answers, and what else shows that a member is alive. */
#include "base/os.h"
#include "cluster/session.h"

void dhole__pulse_answer(dhole_cluster *s, struct dhole__wire *wire, const json_t *json)
{
    dhole__session_say(s, wire, DHOLE__NOTE_PONG,
                       json_pack("{s:I, s:b, s:i, s:i}", "number",
                                 json_integer_value(json_object_get(json, "number")),
                                 "model_loaded", s->status.model_loaded, "in_flight",
                                 s->status.in_flight, "memory_pressure", dhole__memory_pressure()));
}

static int bounded(const json_t *json, const char *key, int min, int max)
{
    json_int_t n = json_integer_value(json_object_get(json, key));

    return n < min ? min : n > max ? max : (int)n;
}

void dhole__pulse_take(dhole_cluster *s, struct dhole__wire *wire, const json_t *json)
{
    struct dhole__member *m;

    if (!dhole__session_is_placed(s, wire))
        return;
    m = &s->member[wire->rank];
    if (json_integer_value(json_object_get(json, "number")) == wire->pings)
        m->round_trip_us = (atomic_load(&wire->heard) - wire->said + 999) / 1000;
    m->pong.model_loaded = json_is_true(json_object_get(json, "model_loaded"));
    m->pong.in_flight = bounded(json, "in_flight", 0, 1000000);
    m->pong.memory_pressure = bounded(json, "memory_pressure", -1, 100);
}

/* No ping goes out while something else does: that is answered as well, if only by TCP, and what
 * comes back meanwhile is life enough. */
static void ping(dhole_cluster *s, struct dhole__wire *wire)
{
    if (wire->first != NULL || wire->users > 0)
        return;
    wire->said = dhole__now();
    dhole__session_say(s, wire, DHOLE__NOTE_PING,
                       json_pack("{s:I}", "number", (json_int_t)++wire->pings));
}

static void look_at(dhole_cluster *s, int rank, int64_t now)
{
    struct dhole__member *m = &s->member[rank];
    int64_t heard = atomic_load(&m->wire->heard);
    dhole__deadline next;

    if (m->doubted != 0 && heard > m->doubted) {
        m->doubted = 0;
        pthread_cond_broadcast(&s->changed);
    }
    if (m->doubted == 0 && heard < m->heard_in_group)
        heard = m->heard_in_group;
    switch (dhole__health_look(&m->health, heard, now, s->ping_ns, &next)) {
    case DHOLE__HEALTH_LOST:
        dhole__session_lose(s, rank, "three pings in a row were not answered");
        return;
    case DHOLE__HEALTH_PING: ping(s, m->wire); break;
    case DHOLE__HEALTH_FINE: break;
    }
    dhole__session_due(s, next);
}

void dhole__session_heard(dhole_cluster *s, uint64_t life, int rank)
{
    pthread_mutex_lock(&s->lock);
    if (s->phase == DHOLE__EPOCH_LIVE && s->lives == life)
        s->member[rank].heard_in_group = dhole__now();
    pthread_mutex_unlock(&s->lock);
}

/* A rank that its group lost may have left that group alone: it is asked at once, and until it
 * answers the session does not count as ready. */
void dhole__session_doubt(dhole_cluster *s, uint64_t life, int rank)
{
    struct dhole__member *m = &s->member[rank];

    pthread_mutex_lock(&s->lock);
    if (s->phase == DHOLE__EPOCH_LIVE && s->lives == life && m->doubted == 0) {
        m->doubted = dhole__now();
        m->health.doubtful = true;
        dhole__mailbox_wake(&s->box);
    }
    pthread_mutex_unlock(&s->lock);
}

void dhole__pulse_look(dhole_cluster *s, int64_t now)
{
    for (int rank = 0; rank < s->size; rank++)
        if (s->member[rank].wire != NULL)
            look_at(s, rank, now);
}

/* When this process was stopped itself, the silence is its own. */
void dhole__pulse_forgive(dhole_cluster *s, int64_t now)
{
    if (now - s->due < s->ping_ns / 2)
        return;
    for (int rank = 0; rank < s->size; rank++)
        if (s->member[rank].wire != NULL)
            dhole__health_begin(&s->member[rank].health, now);
}
