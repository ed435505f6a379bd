/* What rank 0 of a session does: it takes in those who join, and when all are there makes the
 * roster and leads them through an epoch's two steps. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cluster/session.h"
#include "cluster/trust.h"
#include "cluster/where.h"

enum { apart_max = 5 }; /* epochs in a row that did not begin, until there is no hope */

/* The rank of that machine, or a free place for it; -1: it has none. */
static int find_place(const dhole_cluster *s, const dhole_pin *pin)
{
    int place = -1;

    for (int rank = s->size - 1; rank > 0; rank--) {
        const dhole_trusted *who = &s->member[rank].who;
        if (who->name[0] == '\0')
            place = rank;
        else if (memcmp(&who->pin, pin, sizeof *pin) == 0)
            return rank;
    }
    return place;
}

static void tell_lost(dhole_cluster *s, int rank, const char *why)
{
    for (int other = 1; other < s->size; other++)
        if ((other != rank || s->apart > 0) && s->member[other].wire != NULL)
            dhole__session_say(s, s->member[other].wire, DHOLE__NOTE_LOST,
                               json_pack("{s:I, s:i, s:s, s:b}", "epoch",
                                         (json_int_t)s->roster.epoch, "rank", rank, "why", why,
                                         "unreached", s->apart > 0));
}

/* The next epoch comes after a pause, as what ended this one may end it too. */
static void end_epoch(dhole_cluster *s, int rank, bool apart, const char *why)
{
    if (s->phase == DHOLE__EPOCH_OVER)
        return;
    s->apart = apart ? s->apart + 1 : 0;
    tell_lost(s, rank, why);
    dhole__session_over(s, "%s (rank %d): %s", s->member[rank].who.name, rank, why);
    dhole__session_pause(s);
    if (s->apart == apart_max && s->lives == 0)
        dhole__session_fail(s, DHOLE_ERR_PEER_LOST, "%s; " DHOLE__EVERY_TWO, s->over);
}

void dhole__coordinator_lost(dhole_cluster *s, int rank, const char *why)
{
    end_epoch(s, rank, false, why);
    s->member[rank].step = 0;
    if (!s->has_members && s->roster.epoch == 0)
        s->member[rank].who = (dhole_trusted){.name = ""};
}

/* ---- Who comes ---- */

/* Where it listens. Names are not looked up, as that may take long: a rank tells digits. */
static bool read_places(const struct dhole__wire *wire, const json_t *json,
                        char address[static DHOLE_ADDRESS_SIZE],
                        char others[static dhole__places_size])
{
    const char *told = json_string_value(json_object_get(json, "address"));

    if (told == NULL || dhole__check_address(told) != DHOLE_OK)
        return false;
    snprintf(address, DHOLE_ADDRESS_SIZE, "%s", told);
    dhole__where_localise(address, DHOLE_ADDRESS_SIZE, dhole_link_own_address(wire->link));
    return dhole__where_is_numeric(address) &&
           dhole__places_decode(json_object_get(json, "others"), others) == DHOLE_OK;
}

static void take_join(dhole_cluster *s, struct dhole__wire *wire, const json_t *json)
{
    char address[DHOLE_ADDRESS_SIZE], others[dhole__places_size];
    json_int_t epoch = json_integer_value(json_object_get(json, "epoch"));
    const dhole_trusted *known;
    struct dhole__member *m;
    dhole_pin pin;
    int rank;

    dhole_link_pin(wire->link, &pin);
    known = dhole__session_find_trusted(s, &pin);
    rank = known != NULL ? find_place(s, &pin) : -1;
    if (rank < 0) {
        dhole__session_refuse(s, wire, "%s has no place in this session of %d ranks",
                              known != NULL ? known->name : "it", s->size);
        return;
    }
    if (strcmp(known->name, s->name) == 0) {
        dhole__session_refuse(s, wire, "%s is the coordinator's own name", s->name);
        return;
    }
    if (!read_places(wire, json, address, others)) {
        dhole__session_refuse(s, wire, "%s told no address in digits at which it listens",
                              known->name);
        return;
    }
    m = &s->member[rank];
    if (m->wire != NULL)
        dhole__coordinator_lost(s, rank, "it has called again");
    if (m->who.name[0] == '\0')
        m->who = *known;
    strcpy(m->who.address, address);
    strcpy(m->others, others);
    if (epoch > 0 && epoch < INT32_MAX && (uint64_t)epoch > s->roster.epoch)
        s->roster.epoch = (uint64_t)epoch; /* this coordinator has been started anew */
    dhole__session_place(s, wire, rank);
    dhole__log(DHOLE__LOG_INFO, "%s at %s has joined", m->who.name, m->who.address);
}

/* ---- An epoch ---- */

/* Ranks by address: members change places so that they stand as `who` does. */
static void rearrange(dhole_cluster *s, const dhole_trusted *who)
{
    for (int rank = 1; rank < s->size; rank++)
        for (int at = rank; at < s->size; at++)
            if (memcmp(&s->member[at].who.pin, &who[rank].pin, sizeof who->pin) == 0) {
                struct dhole__member other = s->member[rank];
                s->member[rank] = s->member[at];
                s->member[at] = other;
                s->member[rank].wire->rank = rank;
                s->member[at].wire->rank = at;
                break;
            }
}

static dhole_err order(dhole_cluster *s)
{
    dhole_trusted who[dhole__rank_max];
    dhole_err err;

    if (s->ordered)
        return DHOLE_OK;
    for (int rank = 1; rank < s->size; rank++)
        who[rank] = s->member[rank].who;
    err = dhole__roster_order(who + 1, s->size - 1);
    if (!err) {
        rearrange(s, who);
        s->ordered = true;
    }
    return err;
}

/* A rank has reached the coordinator where its link ends. */
static json_t *pack_roster(dhole_cluster *s, int rank)
{
    snprintf(s->roster.who[0].address, DHOLE_ADDRESS_SIZE, "%s",
             dhole_link_own_address(s->member[rank].wire->link));
    return dhole__roster_encode(&s->roster, rank);
}

static void send_roster(dhole_cluster *s)
{
    s->roster.epoch++;
    s->roster.size = s->size;
    for (int rank = 0; rank < s->size; rank++) {
        s->roster.who[rank] = s->member[rank].who;
        strcpy(s->roster.others[rank], s->member[rank].others);
        s->member[rank].step = rank == 0 ? 2 : 0;
    }
    for (int rank = 1; rank < s->size; rank++) {
        s->member[rank].fresh = false;
        dhole__session_say(s, s->member[rank].wire, DHOLE__NOTE_ROSTER, pack_roster(s, rank));
    }
    s->phase = DHOLE__EPOCH_FORMS;
    s->step = 0;
    s->form_until = dhole__deadline_in(dhole__form_ms);
}

/* A step is taken when all have reached it. */
static void advance(dhole_cluster *s)
{
    int step = 2;

    for (int rank = 1; rank < s->size; rank++)
        if (s->member[rank].step < step)
            step = s->member[rank].step;
    for (; s->step < step; s->step++)
        for (int rank = 1; rank < s->size; rank++)
            dhole__session_say(
                s, s->member[rank].wire, DHOLE__NOTE_STEP,
                json_pack("{s:I, s:i}", "epoch", (json_int_t)s->roster.epoch, "step", s->step + 1));
    if (s->step == 2)
        dhole__session_live(s);
}

static void form(dhole_cluster *s)
{
    dhole_err err = order(s);

    if (err) {
        dhole__session_fail(s, err, "cannot rank the machines by address: %.900s",
                            dhole_error_message());
        return;
    }
    send_roster(s);
    advance(s);
}

static void call_again(dhole_cluster *s)
{
    for (int rank = 1; rank < s->size; rank++) {
        struct dhole__member *m = &s->member[rank];
        if (m->fresh || m->told_again)
            continue;
        m->told_again = true;
        dhole__session_say(s, m->wire, DHOLE__NOTE_AGAIN, json_object());
    }
}

static void consider_epoch(dhole_cluster *s, int64_t now)
{
    bool all_fresh = true;

    for (int rank = 1; rank < s->size; rank++) {
        if (s->member[rank].wire == NULL)
            return;
        all_fresh = all_fresh && s->member[rank].fresh;
    }
    if (now < s->not_before)
        dhole__session_due(s, s->not_before);
    else if (all_fresh)
        form(s);
    else
        call_again(s);
}

static void check_forming(dhole_cluster *s, int64_t now)
{
    if (now < s->form_until) {
        dhole__session_due(s, s->form_until);
        return;
    }
    for (int rank = 1; rank < s->size; rank++)
        if (s->member[rank].step <= s->step) {
            end_epoch(s, rank, false, "it did not link to the other ranks in time");
            return;
        }
}

void dhole__coordinator_look(dhole_cluster *s, int64_t now)
{
    if (s->phase == DHOLE__EPOCH_OVER)
        consider_epoch(s, now);
    else if (s->phase == DHOLE__EPOCH_FORMS)
        check_forming(s, now);
}

/* ---- What ranks say ---- */

static bool is_of_epoch(const dhole_cluster *s, const json_t *json)
{
    return s->phase != DHOLE__EPOCH_OVER &&
           json_integer_value(json_object_get(json, "epoch")) == (json_int_t)s->roster.epoch;
}

static void take_step(dhole_cluster *s, int rank, const json_t *json)
{
    if (json_integer_value(json_object_get(json, "step")) != s->member[rank].step + 1)
        return;
    s->member[rank].step++;
    if (s->phase == DHOLE__EPOCH_FORMS)
        advance(s);
}

/* Which of the two is at fault cannot be told from here. */
static void take_lost(dhole_cluster *s, int rank, const json_t *json)
{
    const char *why = json_string_value(json_object_get(json, "why"));
    json_int_t other = json_integer_value(json_object_get(json, "rank"));
    char text[dhole__why_size];
    bool apart;

    if (why == NULL || other <= 0 || other >= s->size || other == rank)
        return;
    apart = json_is_true(json_object_get(json, "unreached"));
    snprintf(text, sizeof text, "%.64s (rank %d) %s it: %.160s", s->member[rank].who.name, rank,
             apart ? "cannot reach" : "lost", why);
    dhole__disarm(text);
    end_epoch(s, (int)other, apart, text);
}

void dhole__coordinator_take(dhole_cluster *s, struct dhole__wire *wire, enum dhole__note note,
                             const json_t *json)
{
    if (wire->rank < 0) {
        if (note == DHOLE__NOTE_JOIN)
            take_join(s, wire, json);
        else
            dhole__session_refuse(s, wire, "who calls here must join first");
        return;
    }
    if (!is_of_epoch(s, json))
        return;
    switch (note) {
    case DHOLE__NOTE_STEP: take_step(s, wire->rank, json); break;
    case DHOLE__NOTE_LOST: take_lost(s, wire->rank, json); break;
    case DHOLE__NOTE_PIECE: dhole__gather_take_piece(s, wire->rank, json); break;
    default: break; /* of a later version */
    }
}
