/* Two ends of a connection over the fake's devices, in one thread. */
#ifndef TEST_RDMA_ENDS_H
#define TEST_RDMA_ENDS_H

#include <stdbool.h>

#include "fake.h"
#include "test.h"
#include "transport/rdma/rdma.h"

struct ends {
    struct dhole__rdma *rdma[2];
    struct dhole__conn *conn[2];
    int socket[2]; /* of the connection below, which owns it */
    dhole_err err[2];
    char why[2][dhole__message_max]; /* the message of err */
};

/* Opens the devices of both sides, names between blanks, for one peer each, and connects the two:
 * false when a side failed, with what it said in err and why. To be closed in any case. */
bool ends_try(struct ends *e, const char *left, const char *right);

/* The same, and fails the test when a side does. */
void ends_open(struct ends *e, const char *left, const char *right);

/* Fails the test if anything is left of it on the devices, or if they were misused. */
void ends_close(struct ends *e);

/* Moves `bytes` bytes from each side to the other at once, in pieces of random size up to `piece`,
 * and checks each that arrives. What went wrong on one of the sides, or DHOLE_ERR_TIMEOUT. */
dhole_err ends_talk(struct ends *e, size_t bytes, size_t piece, unsigned long long seed,
                    int64_t timeout_ms);

/* A message that is due on both sides within 20 s. */
void ends_check(struct ends *e);

#endif
