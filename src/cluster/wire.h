/* A link of a session with the thread that reads it. What comes is put into the session's mailbox,
 * so that one thread alone decides; and as that thread never waits for a link, a peer that stalls
 * in the middle of a message, or takes long to connect, holds up nobody else. */
#ifndef DHOLE_CLUSTER_WIRE_H
#define DHOLE_CLUSTER_WIRE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/json.h"
#include "cluster/notes.h"
#include "cluster/places.h"
#include "dhole/cluster.h"

struct dhole__wire;

enum dhole__event_kind { DHOLE__WIRE_UP, DHOLE__WIRE_NOTE, DHOLE__WIRE_DOWN };

struct dhole__event {
    struct dhole__event *next;
    struct dhole__wire *wire;
    enum dhole__event_kind kind;
    dhole_err err; /* of DOWN, the last event of a wire; its sentence is in `bytes` */
    uint32_t note;
    size_t size;
    char *bytes; /* with a NUL after them */
    bool lent;   /* part of the wire */
};

struct dhole__mailbox {
    pthread_mutex_t lock;
    struct dhole__event *first, **last;
    atomic_int wires; /* that there are */
    int pipe[2];      /* readable while there may be events, or after dhole__mailbox_wake */
};

DHOLE__MUST_CHECK dhole_err dhole__mailbox_open(struct dhole__mailbox *box);
void dhole__mailbox_close(struct dhole__mailbox *box);
void dhole__mailbox_wake(struct dhole__mailbox *box);

/* The memory that a note takes, so that there is a limit to empty ones too. */
size_t dhole__event_cost(const struct dhole__event *event);

/* All that has come, in order; the pipe is drained. Each is to be given to dhole__event_free. */
struct dhole__event *dhole__mailbox_take(struct dhole__mailbox *box);
void dhole__event_free(struct dhole__event *event);

/* Where to call: at one address after the other, which commas separate, until somebody answers or
 * the time to connect is over. The options' identity, session, trusts and cancel_fd must outlive
 * the wire; pin is copied. `locate` is asked where to, when it is set. */
struct dhole__dial {
    dhole_link_options options;
    char address[dhole__dial_size];
    dhole_err (*locate)(void *arg, char address[DHOLE_ADDRESS_SIZE]);
    void *arg;
};

struct dhole__wire {
    struct dhole__mailbox *box;
    dhole_link *link; /* NULL until UP */
    pthread_t thread;
    struct dhole__dial call;
    dhole_pin pin; /* that call.options.pin points to */
    _Atomic int64_t heard;
    atomic_size_t waiting; /* what is in the mailbox costs */

    struct dhole__event up_event, down_event;

    /* One thread sends at a time. */
    pthread_mutex_t sending;
    char failure[dhole__message_max]; /* of a send; "" */

    /* Of the session's thread alone: */
    struct dhole__wire *next;
    struct dhole__letter *first, **last; /* to be sent */
    int rank;                            /* whose it is; -1: not known yet */
    bool called;                         /* by this side */
    bool up, down, dropped;
    bool last_words; /* is to be dropped once all is sent */
    int users;       /* threads that send on it; under the session's lock */
    int64_t since;   /* it is up */
    int64_t said;    /* the ping that is out was sent */
    uint32_t pings;
};

/* Calls, and then reads. */
DHOLE__MUST_CHECK dhole_err dhole__wire_call(struct dhole__mailbox *box,
                                             const struct dhole__dial *call,
                                             struct dhole__wire **out);

/* Reads a link that was accepted, which the wire owns on success. */
DHOLE__MUST_CHECK dhole_err dhole__wire_adopt(struct dhole__mailbox *box, dhole_link *link);

/* Queues a note; takes over `json`. False for want of memory. */
bool dhole__wire_say(struct dhole__wire *wire, enum dhole__note note, json_t *json);

/* Sends what is queued, unless another thread is sending: then it is tried again later. False:
 * something is left. A failure shows as the wire's end. */
bool dhole__wire_flush(struct dhole__wire *wire, int64_t timeout_ms);

/* Any thread that is counted in `users`. */
DHOLE__MUST_CHECK dhole_err dhole__wire_send(struct dhole__wire *wire, enum dhole__note note,
                                             const void *data, size_t size, int64_t timeout_ms);

/* The end: its thread stops, and DOWN comes. To be freed after that. */
void dhole__wire_hang_up(struct dhole__wire *wire);
void dhole__wire_free(struct dhole__wire *wire);

#endif
