/* What two ranks say to each other before anything else. */
#ifndef DHOLE_GROUP_HELLO_H
#define DHOLE_GROUP_HELLO_H

#include "dhole/group.h"
#include "transport/io.h"

enum {
    dhole__protocol_version = 1,
    dhole__preamble_size = 16,
    dhole__session_max = 64,
    dhole__agreement_max = 1024,
};

/* The first bytes of every connection, in the clear: who calls whom, and what for. */
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

/* Head: version, rank, size, length of the session, length of the agreement, 16 bits each, and
 * zeroes; the two texts follow. */
struct dhole__hello_text {
    uint8_t head[16];
    char text[dhole__session_max + dhole__agreement_max];
};

/* An exchange of hellos on a control connection. It must stay where it is. */
struct dhole__hello {
    struct dhole__hello_text ours, theirs;
    struct dhole__io io[2]; /* what is under way */
    int peer;
    bool has_head;
};

void dhole__hello_start(struct dhole__hello *hello, struct dhole__conn *control,
                        const dhole_options *options, int peer);

/* Goes on without waiting, until *done. Then both sides have said the same of version, size,
 * session and agreement; else DHOLE_ERR_CONFIG quotes both sides. */
DHOLE__MUST_CHECK dhole_err dhole__hello_step(struct dhole__hello *hello, bool *done);

#endif
