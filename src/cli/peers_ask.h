/* What `dhole peers` finds out about other machines. */
#ifndef DHOLE_CLI_PEERS_ASK_H
#define DHOLE_CLI_PEERS_ASK_H

#include <jansson.h>
#include <stdbool.h>

#include "base/clock.h"
#include "dhole/cluster.h"

enum { dhole__addresses_max = 4 };

struct dhole__asked {
    char name[DHOLE_NAME_SIZE];
    dhole_pin pin;
    bool trusted;
    char addresses[dhole__addresses_max][DHOLE_ADDRESS_SIZE];
    int address_count;

    /* Of those that are trusted; nobody else is asked anything. */
    int answered; /* the address that answered; -1: none */
    enum {
        DHOLE__ASKED_NOT,
        DHOLE__ASKED_READY,
        DHOLE__ASKED_BUSY,
        DHOLE__ASKED_DEGRADED,
        DHOLE__ASKED_UNAVAILABLE
    } state;
    dhole_err err;           /* of the call */
    char why[512];           /* it is not ready; "" */
    int64_t round_trip_us;   /* the shortest; 0: not measured */
    double bytes_per_second; /* 0: not measured */
    json_t *status;          /* what the worker says of itself; or NULL */
};

/* Adds one of a machine's addresses, unless it is known. */
void dhole__asked_add_address(struct dhole__asked *machine, const char *address);

/* Asks all that are trusted, side by side, until the deadline. */
dhole_err dhole__peers_ask(const dhole_identity *identity, struct dhole__asked *machines,
                           size_t count, dhole__deadline deadline);

/* "ready", "busy", "degraded", "unavailable", "not asked". */
const char *dhole__asked_state(const struct dhole__asked *machine);

#endif
