/* The machine that made the token, from the inside.
 *
 * Anybody may call while it waits, and is but a guest until it has said its one message. The
 * doorman, a thread, takes calls, and each guest has a thread of its own, so that none who is
 * silent keeps another one waiting; when there are too many the oldest has to go, as whoever has
 * the token speaks at once. What is decided is decided under one lock. */
#ifndef DHOLE_CLUSTER_PAIRING_MAKER_H
#define DHOLE_CLUSTER_PAIRING_MAKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "cluster/pairing.h"

enum { dhole__guests_max = 16, dhole__pairing_tries = 5 };

struct dhole__guest {
    struct dhole_pairing *pairing;
    dhole_link *link; /* NULL: nobody */
    pthread_t thread;
    uint64_t number;
    atomic_bool left;
};

struct dhole_pairing {
    const dhole_identity *identity;
    char name[DHOLE_NAME_SIZE];
    struct dhole__token token;
    char text[DHOLE_TOKEN_SIZE];
    dhole__deadline deadline;
    dhole_link_listener *listener; /* NULL once it has been waited for */

    int stop[2]; /* readable: the doorman and all guests are to leave */
    int done[2]; /* readable: it is decided */
    pthread_t doorman;
    struct dhole__guest guest[dhole__guests_max]; /* the doorman's */
    uint64_t guests;

    pthread_mutex_t lock; /* over the next two */
    int wrong;            /* secrets */
    bool decided;         /* by one guest, who then sets what follows and makes `done` readable */
    dhole_err err;
    dhole_trusted joiner;
};

/* Hears a guest's message and answers it; logs why it is refused. */
void dhole__guest_attend(struct dhole__guest *guest);

/* The doorman's thread: lets guests in until `stop` is readable, then sees all off. */
void *dhole__pairing_keep_door(void *arg);

#endif
