/* Two sides that link: the one that connects, and the one that listens. */
#ifndef DHOLE_TEST_LINK_PAIR_H
#define DHOLE_TEST_LINK_PAIR_H

#include <pthread.h>
#include <stdint.h>

#include "dhole/link.h"
#include "test.h"

enum { client, server };

struct pair {
    dhole_identity *identity[2];
    dhole_pin pin[2];
    dhole_link_options options[2]; /* each pins the other; deadlines of 20 s */
    dhole_link_listener *listener;
    dhole_link *link[2];
    dhole_err err[2]; /* of connect and accept */
    char message[2][1024];
    int64_t accept_ms;

    pthread_t thread;
};

/* Identities and options; a test may change these before it opens. */
void pair_init(struct pair *pair);

/* Listens on loopback. */
void pair_listen(struct pair *pair);

/* Connects and accepts side by side. What went wrong is in err and message. */
void pair_try(struct pair *pair);

/* The same by another address, such as that of a proxy. */
void pair_try_at(struct pair *pair, const char *address);

/* All of this, with that many lanes; it must go well. */
void pair_open(struct pair *pair, int lanes);

void pair_close(struct pair *pair);

/* ms, or more of them where DHOLE_TEST_SLOW says that everything takes longer. */
int64_t patient(int64_t ms);

int64_t now_ms(void);

/* A connection to "127.0.0.1:port". */
int dial_port(const char *address);

/* Repeatable bytes. */
void fill(void *data, size_t size, unsigned long long seed);

/* Bytes as a message. */
dhole_message bytes_of(size_t size, uint32_t tag);

/* Receives a message of bytes and checks them against `fill`. */
void expect_bytes(dhole_link *link, dhole_channel channel, size_t size, uint32_t tag,
                  unsigned long long seed);

/* Sends `size` bytes of `fill`. */
void send_bytes(dhole_link *link, dhole_channel channel, size_t size, uint32_t tag,
                unsigned long long seed);

#endif
