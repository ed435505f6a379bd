/* A session: what its files share.
 *
 * One thread, the keeper, decides everything. What comes from outside reaches it through the
 * mailbox: each link has a thread that reads it (wire.h), and one accepts (gate.h). The program's
 * calls look at the state, wait for it to change, and send the program's words; all under `lock`,
 * but never while they wait for a link.
 *
 * A joined rank has a link to the coordinator, which it calls, and one to each other rank, the
 * higher one calling the lower. An epoch goes so:
 *  - all have joined, by links of which none was in an epoch before: the coordinator sends the
 *    roster (a rank whose link was, is told to call again);
 *  - step 1: all have the roster, so all know whose calls to expect; they pair;
 *  - step 2: all are paired; the epoch is live.
 * It is over when a link of it ends, on whichever rank; the coordinator tells all. Links that are
 * left stay, and show who is well, until the next epoch. */
#ifndef DHOLE_CLUSTER_SESSION_H
#define DHOLE_CLUSTER_SESSION_H

#include "cluster/gate.h"
#include "cluster/health.h"
#include "cluster/roster.h"
#include "cluster/tie.h"
#include "cluster/wire.h"
#include "group/devices.h"

enum {
    dhole__session_name_max = 32,
    dhole__first_pause_ms = 100, /* before calling again, or making another epoch; doubles */
    dhole__form_ms = 20000,      /* from the roster until all are paired */
    dhole__first_note_ms = 5000, /* for a caller to say who it is */
    dhole__unread_max = 4 << 20  /* bytes of words of one rank that wait to be received */
};

/* What is to be done about ranks that do not reach each other. */
#define DHOLE__EVERY_TWO "every two machines of a session need a network in common, or a route"

struct dhole__pong {
    int model_loaded, in_flight, memory_pressure;
};

/* A part of an all_gather, or of one that is complete. */
struct dhole__piece {
    bool here, told;
    uint32_t number; /* as its rank counts */
    size_t size;
    uint8_t bytes[dhole__piece_max];
};

struct dhole__member {
    dhole_trusted who;               /* at the coordinator: name "" is a free place */
    char others[dhole__places_size]; /* its other addresses; at the coordinator */
    struct dhole__wire *wire;        /* NULL: none, or it is being called */
    bool fresh, told_again; /* at the coordinator: its link was in no epoch yet; is to end */
    int step;               /* that it has reached */
    struct dhole__health health;
    int64_t heard_in_group; /* it was */
    int64_t doubted;        /* since then it is to be heard, or lost; 0 */
    int64_t round_trip_us;
    struct dhole__pong pong;
    char why[dhole__why_size];             /* there is no wire */
    struct dhole__event *word, *last_word; /* received, for the program */
    size_t word_bytes;
    struct dhole__piece piece;
};

enum dhole__epoch_phase { DHOLE__EPOCH_OVER, DHOLE__EPOCH_FORMS, DHOLE__EPOCH_LIVE };

struct dhole_cluster {
    /* Fixed when it starts. */
    const dhole_identity *identity;
    dhole_pin pin;
    dhole_trusted *trusted;
    size_t trusted_count;
    bool is_coordinator, has_members;
    char name[DHOLE_NAME_SIZE], address[DHOLE_ADDRESS_SIZE], own_address[DHOLE_ADDRESS_SIZE];
    char session[dhole__session_name_max + sizeof "session "];      /* of the links */
    const dhole_trusted *coordinator;                               /* among `trusted`; or NULL */
    dhole_err (*find)(void *arg, char address[DHOLE_ADDRESS_SIZE]); /* the coordinator; or NULL */
    void *find_arg;
    int64_t ping_ns, reconnect_ms;
    int cancel_fd;
    char devices[dhole__devices_list_max]; /* for RDMA; "": all that can be used */

    struct dhole__knot *knot;
    struct dhole__mailbox box;
    struct dhole__gate gate;
    int stop_pipe[2]; /* readable from the end on, for whoever is calling somebody */
    pthread_t keeper;
    bool has_keeper;

    /* Of the keeper alone. */
    struct dhole__wire *wires;
    struct dhole__wire *calling; /* a joined rank's, to the coordinator */
    dhole__deadline due;         /* it has something to do then */
    dhole__deadline not_before;  /* the next call, or epoch */
    int64_t pause_ms;            /* that the next failure costs */
    dhole__deadline form_until;
    int step;      /* of the epoch that forms */
    bool may_pair; /* a joined rank's: all have the roster */
    bool ordered;  /* ranks are final */

    pthread_mutex_t trust_lock;          /* for what the thread that accepts looks at */
    dhole_pin expected[dhole__rank_max]; /* of the last roster */
    int expected_count;
    char stranger[dhole__why_size]; /* who was refused last; "" */

    pthread_mutex_t lock; /* for what follows */
    pthread_cond_t changed;
    bool stop;
    int size, rank;
    struct dhole__roster roster; /* of the last epoch; epoch 0: there was none yet */
    struct dhole__member member[dhole__rank_max];
    enum dhole__epoch_phase phase;
    uint64_t lives, seen; /* epochs that were live; which of them the program knows of */
    uint64_t seen_epoch;
    char over[dhole__why_size];    /* why the last one is over */
    char parting[dhole__why_size]; /* what the others are told beside that this rank leaves; "" */
    int apart;        /* the last epochs did not begin, as a rank did not reach another: so many */
    dhole_err failed; /* for good: ended, refused, cancelled */
    char failure[dhole__message_max];
    struct dhole__pong status;
    /* An all_gather over the session. */
    uint32_t gathers; /* the coordinator has completed */
    bool gathered;    /* what follows is for this rank's last piece */
    uint32_t round;
    uint8_t all[dhole__rank_max][dhole__piece_max];
    int group_pipe; /* to be written to when the epoch is over; -1 */
};

/* ---- session_options.c ---- */

/* Checks the options, and fills in all of a zeroed session that comes from them; `trusted` is to be
 * freed even on failure. */
DHOLE__MUST_CHECK dhole_err dhole__session_prepare(dhole_cluster *s,
                                                   const dhole_cluster_options *options,
                                                   bool listens);

/* ---- session_trust.c: whom its links trust ---- */

dhole_link_options dhole__session_link_options(dhole_cluster *s);
void dhole__session_expect(dhole_cluster *s, const struct dhole__roster *roster);
const dhole_trusted *dhole__session_find_trusted(const dhole_cluster *s, const dhole_pin *pin);

/* Whom a joined rank takes for the coordinator: who is in its own trust list. A rank for which a
 * coordinator vouched is none. */
int dhole__session_lists(void *session, const dhole_pin *pin);

/* ---- keeper.c ---- */

void *dhole__keeper(void *session);

/* Closes the gate and all wires; the keeper's last act, or in its place. */
void dhole__session_end(dhole_cluster *s);

/* The keeper is to look again then. */
void dhole__session_due(dhole_cluster *s, dhole__deadline when);

/* Queues a note; takes over `json`. */
void dhole__session_say(dhole_cluster *s, struct dhole__wire *wire, enum dhole__note note,
                        json_t *json);

/* A last word, and the end of the wire. */
void dhole__session_refuse(dhole_cluster *s, struct dhole__wire *wire, const char *format, ...)
    DHOLE__PRINTF(3, 4);

/* Gives a member that wire; one that it had is hung up. */
void dhole__session_place(dhole_cluster *s, struct dhole__wire *wire, int rank);

/* Whether it is a member's. */
bool dhole__session_is_placed(const dhole_cluster *s, const struct dhole__wire *wire);

/* The wire is not the member's any more, and hung up. */
void dhole__session_detach(dhole_cluster *s, int rank);

/* A member that is not there any more. */
void dhole__session_lose(dhole_cluster *s, int rank, const char *why);

/* The epoch, if there is one, is over: all calls of the program fail. */
void dhole__session_over(dhole_cluster *s, const char *format, ...) DHOLE__PRINTF(2, 3);

/* Nothing works any more, for good. */
void dhole__session_fail(dhole_cluster *s, dhole_err err, const char *format, ...)
    DHOLE__PRINTF(3, 4);

/* The epoch is live. */
void dhole__session_live(dhole_cluster *s);

/* The pause before the next attempt, which grows. */
void dhole__session_pause(dhole_cluster *s);

/* ---- coordinator.c: what the coordinator does ---- */

void dhole__coordinator_take(dhole_cluster *s, struct dhole__wire *wire, enum dhole__note note,
                             const json_t *json);
void dhole__coordinator_lost(dhole_cluster *s, int rank, const char *why);
void dhole__coordinator_look(dhole_cluster *s, int64_t now);

/* ---- joined.c: what the others do ---- */

void dhole__joined_up(dhole_cluster *s, struct dhole__wire *wire);
void dhole__joined_take(dhole_cluster *s, struct dhole__wire *wire, enum dhole__note note,
                        const json_t *json, const struct dhole__event *event);
void dhole__joined_lost(dhole_cluster *s, int rank, const char *why);
/* The coordinator ends the link. */
void dhole__joined_sent_away(dhole_cluster *s, struct dhole__wire *wire, const char *why, bool end);
/* A call of this rank's came to nothing. */
void dhole__joined_unreached(dhole_cluster *s, struct dhole__wire *wire, dhole_err err,
                             const char *why);
void dhole__joined_look(dhole_cluster *s, int64_t now);

/* ---- pulse.c ---- */

void dhole__pulse_look(dhole_cluster *s, int64_t now);

/* When this process was stopped itself, the others' silence is its own. */
void dhole__pulse_forgive(dhole_cluster *s, int64_t now);
void dhole__pulse_answer(dhole_cluster *s, struct dhole__wire *wire, const json_t *ping);
void dhole__pulse_take(dhole_cluster *s, struct dhole__wire *wire, const json_t *pong);

/* What a group tells (tie.h); any thread. */
void dhole__session_heard(dhole_cluster *s, uint64_t life, int rank);
void dhole__session_doubt(dhole_cluster *s, uint64_t life, int rank);

/* ---- gather.c ---- */

/* Makes `all` every rank's `own`, and *round the number of this gather, the same on all ranks. */
DHOLE__MUST_CHECK dhole_err dhole__session_gather(dhole_cluster *s, const void *own, void *all,
                                                  size_t size, dhole__deadline deadline,
                                                  uint32_t *round);
void dhole__gather_take_piece(dhole_cluster *s, int rank, const json_t *json);
void dhole__gather_take_all(dhole_cluster *s, const json_t *json);
void dhole__gather_look(dhole_cluster *s);

/* ---- session_agree.c ---- */

/* Tells all whether this rank can go on, `own` being its error. When one can't, that is everybody's
 * error, in which the first such rank is named. *round is the same on all ranks. */
DHOLE__MUST_CHECK dhole_err dhole__session_agree(dhole_cluster *s, dhole_err own,
                                                 dhole__deadline deadline, uint32_t *round);

/* ---- session_devices.c ---- */

/* The list of this machine's RDMA devices that lead to each of so many peers: those that are named,
 * or, of "", all that can be used. They have been opened, and closed again. */
DHOLE__MUST_CHECK dhole_err dhole__session_devices(const char *named, int peers,
                                                   char out[static dhole__devices_list_max]);

/* ---- session_hosts.c ---- */

/* Where this rank is to listen for the group of an epoch, at any port, as a text of places; with
 * the lock held. */
void dhole__session_own_host(const dhole_cluster *s, char *out, size_t size);

/* Of what the ranks tell of where they listen, size bytes each, the port is right; the host is the
 * one at which this rank has a link to that one. */
void dhole__session_name_hosts(dhole_cluster *s, void *all, size_t size);

/* ---- session_words.c ---- */

/* Keeps a word for the program; takes over the event. */
void dhole__words_take(dhole_cluster *s, int rank, struct dhole__event *event);
void dhole__words_drop(dhole_cluster *s);

/* ---- meeting_file.c: the coordinator's address in a file that all can read ---- */

/* The path in "file:PATH"; NULL: it is an address. */
const char *dhole__meeting_path(const char *address);
DHOLE__MUST_CHECK dhole_err dhole__meeting_write(const char *path, const char *address);
DHOLE__MUST_CHECK dhole_err dhole__meeting_read(void *path, char address[DHOLE_ADDRESS_SIZE]);

/* ---- session.c, with the lock held ---- */

/* DHOLE_OK while the epoch that the program knows of is live. */
DHOLE__MUST_CHECK dhole_err dhole__session_check(const dhole_cluster *s);

/* Sleeps until something has changed, or for a moment. False: the deadline has passed. */
bool dhole__session_await(dhole_cluster *s, dhole__deadline deadline);

#endif
