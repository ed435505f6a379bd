/* What two ranks say to each other before anything else. */
#ifndef DHOLE_GROUP_HELLO_H
#define DHOLE_GROUP_HELLO_H

#include "base/os.h"
#include "dhole/group.h"
#include "transport/io.h"
#include "transport/rails.h"

enum {
    dhole__protocol_version = 1,
    dhole__preamble_size = 16,
    dhole__session_max = 64,
    dhole__agreement_max = 1024,
};

/* The first bytes of every connection, in the clear: who calls whom, and what for. On control the
 * side that was called answers with its own, so that both know if only one wants a seal. */
enum dhole__channel {
    DHOLE__CHANNEL_CONTROL,
    DHOLE__CHANNEL_LANE, /* and the lane's other rails */
    dhole__channel_count = DHOLE__CHANNEL_LANE + dhole__rails_max
};

struct dhole__preamble {
    int from, to;
    int channel;
    bool sealed; /* whether TLS is to follow on control */
};

void dhole__preamble_encode(const struct dhole__preamble *preamble,
                            uint8_t out[static dhole__preamble_size]);

/* False: these bytes are not from one of us. Ranks are not checked. */
bool dhole__preamble_decode(const uint8_t in[static dhole__preamble_size],
                            struct dhole__preamble *out);

/* What lanes a rank wants: TCP, shared memory, shared memory with those of its host and TCP with
 * others, or RDMA where devices lead and TCP elsewhere. */
enum dhole__lanes { DHOLE__LANES_RING, DHOLE__LANES_SHM, DHOLE__LANES_ANY, DHOLE__LANES_RDMA };

/* Head: version, rank, size, lengths of session, agreement and host, wanted lanes (with bit 8 set:
 * memory not sealed; 9: RDMA to this peer; 10: RDMA sealed), and rails of each, 16 bits each; the
 * three texts follow. */
struct dhole__hello_text {
    uint8_t head[16];
    char text[dhole__session_max + dhole__agreement_max + dhole__host_text_max];
};

/* An exchange of hellos on a control connection. It must stay where it is. */
struct dhole__hello {
    struct dhole__hello_text ours, theirs;
    struct dhole__io io[2]; /* what is under way */
    int peer;
    bool has_head;
};

/* rank, size, session, agreement, host, plain_memory, devices, ring and seal_rdma of the options
 * are used. */
void dhole__hello_start(struct dhole__hello *hello, struct dhole__conn *control,
                        const dhole_options *options, enum dhole__lanes lanes, int rails, int peer);

/* Goes on without waiting, until *done. Then both sides have said the same of version, size,
 * session, agreement, lanes and rails, and are on one host or have devices to each other if these
 * need it; else DHOLE_ERR_CONFIG quotes both sides. */
DHOLE__MUST_CHECK dhole_err dhole__hello_step(struct dhole__hello *hello, bool *done);

/* Of a hello that is done: whether the two can share memory, and want to. */
bool dhole__hello_shares_memory(const struct dhole__hello *hello);

/* Likewise: whether RDMA is to join the two. */
bool dhole__hello_uses_rdma(const struct dhole__hello *hello);

/* Likewise: the name of the peer's host. */
void dhole__hello_host(const struct dhole__hello *hello, char out[static dhole__host_text_max + 1]);

#endif
