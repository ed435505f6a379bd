/* Connections that the tests of the seal put under it. */
#ifndef DHOLE_TEST_SEAL_FIXTURE_H
#define DHOLE_TEST_SEAL_FIXTURE_H

#include <pthread.h>

#include "dhole/error.h"
#include "seal/seal.h"
#include "test.h"
#include "transport/io.h"
#include "transport/mem/mem.h"

/* A connection that keeps what is sent, and gives back what it holds; its end is the end of the
 * stream. */
struct tape {
    struct dhole__conn conn;
    uint8_t *data;
    size_t length, at, capacity;
    size_t quota; /* bytes that it still takes; SIZE_MAX at first */
    int sends, recvs;
};

struct tape *tape_new(void);
void tape_put(struct tape *tape, const void *data, size_t length);

/* Moves at most `most` bytes a call over `lower`, or fewer, or none, at random. What is sent goes
 * to `log` too unless that is NULL. */
struct dhole__conn *choppy_new(struct dhole__conn *lower, size_t most, unsigned long long seed,
                               struct tape *log);

/* A deadline that no passing test meets. */
dhole__deadline soon(void);

/* Repeatable bytes. */
void fill(uint8_t *data, size_t length, unsigned long long seed);

/* One side of a handshake, in a thread of its own. */
struct opener {
    pthread_t thread;
    struct dhole__conn *lower;
    const dhole_identity *identity;
    dhole_pin pin;
    enum dhole__seal_side side;
    dhole__deadline deadline;
    struct dhole__conn *tls; /* NULL when it failed; `lower` is closed then */
    dhole_err err;
    char message[512];
};

/* An opener over `lower` that trusts `peer`; starts nothing. */
struct opener opener_of(struct dhole__conn *lower, enum dhole__seal_side side,
                        const dhole_identity *identity, const dhole_identity *peer);
void opener_start(struct opener *opener);
void opener_join(struct opener *opener);

/* Two ends of a TLS connection over the mem transport; [0] is the client. */
void open_tls(struct dhole__conn *tls[static 2]);

void close_both(struct dhole__conn *conn[static 2]);

#endif
