/* What a rank of a session does that joined: it calls the coordinator, takes the roster, and links
 * to the others. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cluster/own_addresses.h"
#include "cluster/session.h"
#include "cluster/where.h"

static dhole_err call(dhole_cluster *s, const dhole_pin *pin, const char *places, int rank,
                      struct dhole__wire **out)
{
    struct dhole__dial call = {.options = dhole__session_link_options(s)};
    dhole_err err;

    call.options.pin = pin;
    snprintf(call.address, sizeof call.address, "%s", places);
    if (rank == 0) {
        call.options.trusts = dhole__session_lists;
        call.locate = s->find;
        call.arg = s->find_arg;
    }
    err = dhole__wire_call(&s->box, &call, out);
    if (err)
        return err;
    (*out)->rank = rank;
    (*out)->next = s->wires;
    s->wires = *out;
    return DHOLE_OK;
}

static json_t *pack_pair(const dhole_cluster *s)
{
    return json_pack("{s:s, s:I, s:i}", "session", s->roster.session, "epoch",
                     (json_int_t)s->roster.epoch, "rank", s->rank);
}

/* ---- The coordinator ---- */

static void call_coordinator(dhole_cluster *s)
{
    const dhole_pin *pin = s->coordinator != NULL ? &s->coordinator->pin : NULL;

    if (call(s, pin, s->address, 0, &s->calling) == DHOLE_OK)
        return;
    snprintf(s->member[0].why, dhole__why_size, "%.250s", dhole_error_message());
    s->calling = NULL;
    dhole__session_pause(s);
}

/* Where the coordinator can be reached from here the others can be as well. */
static dhole_err open_gate(dhole_cluster *s, const char *local)
{
    dhole_link_options options = dhole__session_link_options(s);
    char at[DHOLE_ADDRESS_SIZE];

    if (s->own_address[0] != '\0')
        snprintf(at, sizeof at, "%s", s->own_address);
    else
        dhole__where_with_port(local, "0", at);
    if (s->gate.listener != NULL) {
        if (s->own_address[0] != '\0' ||
            dhole__where_same_host(dhole_link_listener_address(s->gate.listener), at))
            return DHOLE_OK;
        dhole__gate_close(&s->gate);
    }
    return dhole__gate_open(&s->gate, &s->box, &options, at);
}

/* The addresses of this machine but one; there may be none. */
static void list_others(const char *listens, const char *first,
                        char others[static dhole__places_size])
{
    char own[dhole__places_max][DHOLE_ADDRESS_SIZE];
    int count;

    if (dhole__own_addresses(listens, own, dhole__places_max, &count) != DHOLE_OK)
        return;
    for (int i = 0; i < count; i++)
        if (strcmp(own[i], first) != 0)
            dhole__places_add(others, dhole__places_size, own[i]);
}

static void introduce(dhole_cluster *s, struct dhole__wire *wire, const char *local)
{
    const char *listens = dhole_link_listener_address(s->gate.listener);
    char told[DHOLE_ADDRESS_SIZE], others[dhole__places_size] = "";

    snprintf(told, sizeof told, "%s", listens);
    if (dhole__where_is_wild(listens)) {
        dhole__where_with_port(local, dhole__where_port(listens), told);
        list_others(listens, told, others);
    }
    dhole__session_say(s, wire, DHOLE__NOTE_JOIN,
                       json_pack("{s:s, s:s, s:o, s:I}", "name", s->name, "address", told, "others",
                                 dhole__places_encode(others), "epoch",
                                 (json_int_t)s->roster.epoch));
}

static void reached_coordinator(dhole_cluster *s, struct dhole__wire *wire)
{
    const char *local = dhole_link_own_address(wire->link);
    struct dhole__member *m = &s->member[0];
    const dhole_trusted *known;

    s->calling = NULL;
    if (open_gate(s, local) != DHOLE_OK) {
        snprintf(m->why, sizeof m->why, "%.250s", dhole_error_message());
        if (s->roster.epoch == 0)
            dhole__session_fail(s, DHOLE_ERR_SYSTEM, "cannot listen for the other ranks: %.900s",
                                m->why);
        dhole__session_pause(s);
        dhole__wire_hang_up(wire);
        return;
    }
    dhole__session_place(s, wire, 0);
    dhole_link_pin(wire->link, &m->who.pin);
    known = dhole__session_find_trusted(s, &m->who.pin);
    if (known != NULL)
        m->who = *known;
    introduce(s, wire, local);
}

/* Before the first roster a refusal is final: whoever asked to join is to hear of it. */
void dhole__joined_sent_away(dhole_cluster *s, struct dhole__wire *wire, const char *why, bool end)
{
    const char *address = dhole_link_address(wire->link);

    if (end)
        dhole__session_fail(s, DHOLE_ERR_PEER_LOST, "%s", why);
    else if (s->roster.epoch == 0)
        dhole__session_fail(s, DHOLE_ERR_AUTH, "the coordinator at %s refuses this machine: %s",
                            address, why);
}

/* ---- The other ranks ---- */

static void tell_lost(dhole_cluster *s, int rank, const char *why)
{
    if (s->member[0].wire != NULL)
        dhole__session_say(s, s->member[0].wire, DHOLE__NOTE_LOST,
                           json_pack("{s:I, s:i, s:s, s:b}", "epoch", (json_int_t)s->roster.epoch,
                                     "rank", rank, "why", why, "unreached", s->apart > 0));
}

static void step(dhole_cluster *s, int number)
{
    s->step = number;
    dhole__session_say(
        s, s->member[0].wire, DHOLE__NOTE_STEP,
        json_pack("{s:I, s:i}", "epoch", (json_int_t)s->roster.epoch, "step", number));
}

/* When the last pair is up. */
static void check_paired(dhole_cluster *s)
{
    if (s->phase != DHOLE__EPOCH_FORMS || s->step != 1 || !s->may_pair)
        return;
    for (int rank = 0; rank < s->size; rank++)
        if (rank != s->rank && s->member[rank].wire == NULL)
            return;
    step(s, 2);
}

static dhole_err call_peer(dhole_cluster *s, int rank)
{
    const char *own = dhole_link_own_address(s->member[0].wire->link);
    const char *others = s->roster.others[rank];
    char places[dhole__dial_size];
    struct dhole__wire *wire;

    snprintf(places, sizeof places, "%s%s%s", s->roster.who[rank].address,
             others[0] != '\0' ? "," : "", others);
    dhole__places_order(places, own);
    return call(s, &s->roster.who[rank].pin, places, rank, &wire);
}

static void pair(dhole_cluster *s)
{
    s->may_pair = true;
    for (int rank = 1; rank < s->rank; rank++) {
        if (call_peer(s, rank) != DHOLE_OK) {
            char why[dhole__message_max];
            dhole__message_save(why);
            dhole__joined_lost(s, rank, why);
            return;
        }
    }
    check_paired(s);
}

void dhole__joined_up(dhole_cluster *s, struct dhole__wire *wire)
{
    if (wire == s->calling)
        reached_coordinator(s, wire);
    else
        dhole__session_say(s, wire, DHOLE__NOTE_PAIR, pack_pair(s));
}

static void lose(dhole_cluster *s, int rank, bool apart, const char *why)
{
    const char *name = rank == 0 ? "the coordinator" : s->member[rank].who.name;

    if (s->phase != DHOLE__EPOCH_OVER)
        s->apart = apart;
    if (rank == 0)
        dhole__session_pause(s);
    else if (s->phase != DHOLE__EPOCH_OVER)
        tell_lost(s, rank, why);
    dhole__session_over(s, "%s (rank %d)%s: %s", name, rank,
                        apart ? " cannot be reached by this rank" : "", why);
}

void dhole__joined_lost(dhole_cluster *s, int rank, const char *why)
{
    lose(s, rank, false, why);
}

void dhole__joined_unreached(dhole_cluster *s, struct dhole__wire *wire, dhole_err err,
                             const char *why)
{
    struct dhole__member *m = &s->member[wire->rank];

    if (wire->rank > 0 && s->phase == DHOLE__EPOCH_OVER)
        return;
    snprintf(m->why, sizeof m->why, "%.250s", why);
    dhole__disarm(m->why);
    dhole__log(DHOLE__LOG_INFO, "rank %d cannot be reached: %s", wire->rank, why);
    if (wire->rank > 0) {
        lose(s, wire->rank, true, m->why);
        return;
    }
    s->calling = NULL;
    if (s->roster.epoch == 0 && err != DHOLE_ERR_TIMEOUT && err != DHOLE_ERR_PEER_LOST &&
        err != DHOLE_ERR_SYSTEM)
        dhole__session_fail(s, err, "%s", why);
    dhole__session_pause(s);
}

/* ---- An epoch ---- */

static void drop_pairs(dhole_cluster *s)
{
    for (int rank = 1; rank < s->size; rank++) {
        dhole__session_detach(s, rank);
        s->member[rank].why[0] = '\0';
    }
    for (struct dhole__wire *wire = s->wires; wire != NULL; wire = wire->next)
        if (wire->called && wire->rank > 0 && !wire->dropped)
            dhole__wire_hang_up(wire);
}

static bool is_roster_right(const dhole_cluster *s, const struct dhole__roster *roster)
{
    return roster->rank > 0 &&
           memcmp(&roster->who[roster->rank].pin, &s->pin, sizeof s->pin) == 0 &&
           memcmp(&roster->who[0].pin, &s->member[0].who.pin, sizeof s->pin) == 0 &&
           roster->epoch > s->roster.epoch;
}

static void take_roster(dhole_cluster *s, struct dhole__wire *wire,
                        const struct dhole__event *event)
{
    const dhole_trusted *known;
    struct dhole__roster roster;
    dhole_err err = dhole__roster_decode(event->bytes, event->size, &roster);

    if (err || !is_roster_right(s, &roster)) {
        dhole__session_refuse(s, wire, "%s",
                              err ? dhole_error_message() : "a roster that is not for this rank");
        return;
    }
    dhole__session_over(s, "the coordinator makes another epoch");
    drop_pairs(s);
    s->roster = roster;
    s->size = roster.size;
    s->rank = roster.rank;
    dhole__session_expect(s, &roster);
    for (int rank = 0; rank < s->size; rank++) {
        char *address = s->roster.who[rank].address;
        dhole__where_localise(address, DHOLE_ADDRESS_SIZE, dhole_link_own_address(wire->link));
        s->member[rank].who = s->roster.who[rank];
    }
    known = dhole__session_find_trusted(s, &roster.who[0].pin);
    if (known != NULL) /* by its name on this machine, as before the roster came */
        strcpy(s->member[0].who.name, known->name);
    s->phase = DHOLE__EPOCH_FORMS;
    s->may_pair = false;
    step(s, 1);
}

static bool is_of_epoch(const dhole_cluster *s, const json_t *json)
{
    return s->phase != DHOLE__EPOCH_OVER &&
           json_integer_value(json_object_get(json, "epoch")) == (json_int_t)s->roster.epoch;
}

static void take_step(dhole_cluster *s, const json_t *json)
{
    json_int_t number = json_integer_value(json_object_get(json, "step"));

    if (s->phase != DHOLE__EPOCH_FORMS)
        return;
    if (number == 1 && s->step == 1 && !s->may_pair)
        pair(s);
    else if (number == 2 && s->step == 2)
        dhole__session_live(s);
}

/* What the coordinator says of a rank; the link to that one, if it is well, stays. */
static void take_lost(dhole_cluster *s, const json_t *json)
{
    const char *why = json_string_value(json_object_get(json, "why"));
    json_int_t rank = json_integer_value(json_object_get(json, "rank"));

    if (why == NULL || rank <= 0 || rank >= s->size)
        return;
    if (s->phase != DHOLE__EPOCH_OVER)
        s->apart = json_is_true(json_object_get(json, "unreached"));
    dhole__session_over(s, "%s (rank %d): %s", s->member[rank].who.name, (int)rank, why);
}

static void take_again(dhole_cluster *s)
{
    dhole__session_over(s, "the coordinator makes another epoch");
    dhole__session_detach(s, 0);
    s->not_before = dhole__now();
}

static void take_from_coordinator(dhole_cluster *s, struct dhole__wire *wire, enum dhole__note note,
                                  const json_t *json, const struct dhole__event *event)
{
    if (note == DHOLE__NOTE_ROSTER)
        take_roster(s, wire, event);
    else if (note == DHOLE__NOTE_AGAIN)
        take_again(s);
    else if (is_of_epoch(s, json))
        switch (note) {
        case DHOLE__NOTE_STEP: take_step(s, json); break;
        case DHOLE__NOTE_LOST: take_lost(s, json); break;
        case DHOLE__NOTE_PIECES: dhole__gather_take_all(s, json); break;
        default: break; /* of a later version */
        }
}

/* ---- Pairs ---- */

/* Whether the other side of that link is that rank, and means this epoch. */
static bool is_pair(const dhole_cluster *s, const struct dhole__wire *wire, const json_t *json,
                    int rank)
{
    const char *session = json_string_value(json_object_get(json, "session"));
    dhole_pin pin;

    if (session == NULL || strcmp(session, s->roster.session) != 0 || !is_of_epoch(s, json) ||
        s->phase != DHOLE__EPOCH_FORMS || rank <= 0 || rank >= s->size || rank == s->rank)
        return false;
    dhole_link_pin(wire->link, &pin);
    return memcmp(&pin, &s->roster.who[rank].pin, sizeof pin) == 0;
}

static void take_pair(dhole_cluster *s, struct dhole__wire *wire, const json_t *json)
{
    json_int_t rank = json_integer_value(json_object_get(json, "rank"));

    if (rank < 0 || rank >= dhole__rank_max || !is_pair(s, wire, json, (int)rank) ||
        (wire->called ? rank != wire->rank : rank < s->rank)) {
        dhole__session_refuse(s, wire, "a link of rank %d for an epoch that is not this one, %llu",
                              (int)(rank % 1000), (unsigned long long)s->roster.epoch);
        return;
    }
    if (!wire->called)
        dhole__session_say(s, wire, DHOLE__NOTE_PAIR, pack_pair(s));
    dhole__session_place(s, wire, (int)rank);
    check_paired(s);
}

void dhole__joined_take(dhole_cluster *s, struct dhole__wire *wire, enum dhole__note note,
                        const json_t *json, const struct dhole__event *event)
{
    if (wire == s->member[0].wire)
        take_from_coordinator(s, wire, note, json, event);
    else if (note == DHOLE__NOTE_PAIR)
        take_pair(s, wire, json);
    else if (wire->rank < 0)
        dhole__session_refuse(s, wire, "who calls here must be a rank of the session");
}

void dhole__joined_look(dhole_cluster *s, int64_t now)
{
    if (s->calling != NULL || s->member[0].wire != NULL)
        return;
    if (now < s->not_before)
        dhole__session_due(s, s->not_before);
    else
        call_coordinator(s);
}
