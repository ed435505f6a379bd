/* What two ranks say to each other before anything else. */
#ifndef DHOLE_GROUP_HELLO_H
#define DHOLE_GROUP_HELLO_H

#include "base/clock.h"
#include "dhole/group.h"
#include "transport/conn.h"

enum { dhole__protocol_version = 1 };

/* The first bytes of every connection, in the clear: who calls whom, and what for. */
enum { dhole__preamble_size = 16 };

enum dhole__channel { DHOLE__CHANNEL_CONTROL, DHOLE__CHANNEL_LANE };

struct dhole__preamble {
    int from, to;
    enum dhole__channel channel;
};

void dhole__preamble_encode(const struct dhole__preamble *preamble,
                            uint8_t out[static dhole__preamble_size]);

/* False: these bytes are not from one of us. Ranks are not checked. */
bool dhole__preamble_decode(const uint8_t in[static dhole__preamble_size],
                            struct dhole__preamble *out);

/* Sends this rank's hello on a control connection, receives that of `peer`, and checks that both
 * say the same of version, size, session and agreement: else DHOLE_ERR_CONFIG quotes both sides. */
DHOLE__MUST_CHECK dhole_err dhole__hello(struct dhole__conn *control, const dhole_options *options,
                                         int peer, dhole__deadline deadline);

#endif
