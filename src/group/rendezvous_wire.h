/* What callers and the coordinator say to each other, and what both sides need. */
#ifndef DHOLE_GROUP_RENDEZVOUS_WIRE_H
#define DHOLE_GROUP_RENDEZVOUS_WIRE_H

#include "coll/comm.h"
#include "group/hello.h"
#include "group/rendezvous.h"

enum {
    dhole__registration_size = 24,
    dhole__answer_head_size = 16,
    dhole__rendezvous_address_max = 128,
    dhole__answer_max = dhole__rank_max * (dhole__rendezvous_address_max + 1),
};

/* "I am rank r of n, of this session, and listen there." The lengths are of the two texts, which
 * follow the head. */
struct dhole__registration {
    int rank, size;
    size_t session_length, address_length;
    int64_t left_ms; /* until the caller gives up */
};

void dhole__registration_encode(const struct dhole__registration *registration,
                                uint8_t out[static dhole__registration_size]);

/* False: these bytes are not from one of us, or of another version. The lengths are in bounds, the
 * rest is not checked. */
bool dhole__registration_decode(const uint8_t in[static dhole__registration_size],
                                struct dhole__registration *out);

/* The list of addresses, each ended by a line feed, or a sentence with the error. */
struct dhole__answer {
    dhole_err err;
    size_t length;
};

void dhole__answer_encode(const struct dhole__answer *answer,
                          uint8_t out[static dhole__answer_head_size]);
bool dhole__answer_decode(const uint8_t in[static dhole__answer_head_size],
                          struct dhole__answer *out);

/* Listens on any port of that address, and says on which. */
DHOLE__MUST_CHECK dhole_err dhole__rendezvous_listen(
    const struct dhole__address *address, int *fd, char out[static dhole__rendezvous_address_max]);

/* Whether these bytes can be an address, and break no list of them. */
bool dhole__rendezvous_is_address(const char *text, size_t length);

/* DHOLE_ERR_CANCELLED when cancel_fd is readable. */
DHOLE__MUST_CHECK dhole_err dhole__rendezvous_check_cancelled(const dhole_options *options);

/* Rank 0's part: gathers the callers and answers them. `list` is what they all get. */
DHOLE__MUST_CHECK dhole_err dhole__rendezvous_host(const char *coordinator,
                                                   const struct dhole__address *address,
                                                   const dhole_options *options,
                                                   dhole__deadline deadline, int *listen_fd,
                                                   char list[static dhole__answer_max + 1]);

#endif
