/* Somebody between the two sides, who forwards what they say, and can change it. */
#ifndef DHOLE_TEST_LINK_PROXY_H
#define DHOLE_TEST_LINK_PROXY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum edit_kind {
    EDIT_NONE,
    EDIT_FLIP,   /* byte `at` of the stream */
    EDIT_REPLAY, /* record `at`, by sending it twice */
    EDIT_SWAP,   /* record `at` with the next */
    EDIT_DROP,   /* record `at` */
    EDIT_CUT,    /* the last byte of record `at` */
    EDIT_GROW,   /* record `at` by a byte, which its length counts */
    EDIT_STRAY   /* record `at` goes to the other connection `stray` in its place */
};

/* What is done to one direction of one connection: that whose preamble has this kind; way 0 is from
 * the client. Records are TLS's on kind 0, those of lanes on others. */
struct edit {
    enum edit_kind what;
    unsigned kind;
    int way;
    size_t at;
    unsigned stray;
};

enum { proxy_wires_max = 64 };

struct proxy_wire;

struct proxy {
    char address[32]; /* where it listens */
    struct edit edit;
    atomic_bool edited;
    bool keeps; /* the connections after that, too */

    /* When set: called with each connection's preamble before it is forwarded. */
    void (*on_preamble)(struct proxy *proxy, const uint8_t *preamble);
    void *arg;

    int listen_fd, stop[2];
    const char *target;
    struct proxy_wire *wire[proxy_wires_max];
    int wires;
    pthread_t thread;
};

/* Forwards to `target`, "127.0.0.1:port", until it is stopped. Once it has changed something it
 * breaks all connections when they fall silent, unless it `keeps` them. */
void proxy_start(struct proxy *proxy, const char *target);
void proxy_stop(struct proxy *proxy);

#endif
