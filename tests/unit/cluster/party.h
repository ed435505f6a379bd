/* Machines that are threads of one process, each with an identity, all trusting each other. */
#ifndef TEST_CLUSTER_PARTY_H
#define TEST_CLUSTER_PARTY_H

#include <pthread.h>

#include "dhole/cluster.h"
#include "harness.h"

enum { party_max = 8 };

struct party {
    int size;
    dhole_identity *identity[party_max]; /* 0 is the coordinator, "m0"; the others m1, m2... */
    dhole_trust *trust;                  /* of all */
    char address[64];                    /* where the coordinator listens */
    dhole_cluster_options base;          /* of all: times, session, members */
    bool by_address;                     /* else the members are m1, m2... unless base says so */
    dhole_cluster *cluster[party_max];
};

void party_make(struct party *p, int size);
void party_free(struct party *p);

/* Each machine's options, which a test may change before it begins. */
dhole_cluster_options party_options(const struct party *p, int machine);

/* A fresh key for a machine. */
void party_change_key(struct party *p, int machine);

/* A trust list of these machines' keys, to be freed. */
dhole_trust *party_trust(const struct party *p, const int *machines, int count);

/* All begin, each with its options and in a thread of its own, and are there when it returns. */
void party_begin(struct party *p);

/* One begins alone, in its own thread. */
struct starter {
    struct party *party;
    int machine;
    dhole_cluster_options options;
    pthread_t thread;
    dhole_err err;
    char message[1024];
};

void party_start(struct starter *starter, struct party *p, int machine);
void party_await(struct starter *starter); /* its end, with whatever error */

/* Frees the sessions, the coordinator's last unless `first`. */
void party_end(struct party *p);

/* Runs `body` on a thread for each machine with a session. */
typedef void party_body(struct party *p, int machine, dhole_cluster *cluster);
void party_run(struct party *p, party_body *body);

/* Waits for the peer to be in that state; fails the test after a while. */
void party_await_state(dhole_cluster *cluster, int rank, dhole_peer_state state);

#endif
