/* A rail: the stream of bytes through one queue pair.
 *
 * It is cut into messages, each with a header that is checked on arrival. The receiver has a
 * receive posted for every message that the sender may have under way, the window, and each header
 * says how many of the other direction's have been taken out, so that as many more may be sent;
 * where nothing is to be sent, a message without bytes says so. So no message ever finds no
 * receive, which on UC would lose it, and a lost one is noticed by the next one's sequence number,
 * one that lost its middle by its own, which on UC comes at its end again.
 *
 * A short message is sent inline, from no slot; a longer one from a slot of the arena; and
 * from a registered block without a copy, in which case its bytes count as sent when it has
 * completed only. */
#ifndef DHOLE_TRANSPORT_RDMA_RAIL_H
#define DHOLE_TRANSPORT_RDMA_RAIL_H

#include "transport/rdma/blocks.h"
#include "transport/rdma/link.h"
#include "transport/rdma/qp.h"

enum { dhole__sent_max = 512, dhole__rail_header = 16 };

_Static_assert((int)dhole__sent_max >= 2 * (int)dhole__window_most + 16, "all sends under way");

/* A message that was posted: bytes of the stream to be counted when it completes, and whether it
 * holds a slot. */
struct dhole__sent {
    uint32_t bytes;
    bool slot;
};

struct dhole__arrived {
    uint32_t slot, length;
};

struct dhole__rail {
    struct dhole__conn base;
    struct dhole__link *link;
    struct dhole__blocks *blocks;
    int number;        /* among the link's rails */
    int device_number; /* among this rank's devices */
    struct dhole__qp qp;
    uint8_t *lease;
    uint16_t tag, peer_tag; /* of each side's messages, to tell them from a stranger's */
    dhole_err err;          /* what went wrong first */
    char why[dhole__message_max];
    bool too_long; /* a message was refused for its length, as it seems */

    /* Sending. All counters wrap. */
    uint32_t posted, completed; /* sends */
    uint32_t slots_used, slots_freed;
    uint32_t sequence; /* of the next message */
    uint32_t data_sent, data_freed;
    size_t ahead; /* bytes of the stream that are posted and count later */
    size_t ready; /* and that count by now, but were not told to the caller yet */
    struct dhole__sent sent[dhole__sent_max];

    /* Receiving. */
    uint32_t expected;          /* sequence of the next message */
    uint32_t arrived, taken;    /* messages with data */
    uint32_t freed, freed_told; /* of those, posted again */
    uint32_t at;                /* in the first one */
    uint32_t probes;            /* that came */
    struct dhole__arrived message[dhole__window_most];

    /* Sleeping. */
    bool slept;
    int watch, watched; /* a descriptor for all, and the lower connection's; -1 */
};

/* Makes a queue pair in a place of the device's arena and posts its receives; it is to be connected
 * with dhole__qp_connect before it sends. It must stay where it is. On failure there is nothing
 * to close. */
DHOLE__MUST_CHECK dhole_err dhole__rail_open(struct dhole__rail *rail, struct dhole__link *link,
                                             struct dhole__blocks *blocks,
                                             struct dhole__device *device, int device_number,
                                             const struct dhole__rdma_shape *shape, uint16_t tag);

/* Waits a moment for what was sent to arrive, so that closing loses nothing. */
void dhole__rail_linger(struct dhole__rail *rail);

/* Frees what it is made of, but not the struct. */
void dhole__rail_free(struct dhole__rail *rail);

/* Sends a message of the greatest length that the other side counts in `probes`, and ignores
 * otherwise. What fails is in rail->err. */
void dhole__rail_probe(struct dhole__rail *rail);

/* Looks at what has completed; returns whether anything had. What fails is in rail->err. */
bool dhole__rail_progress(struct dhole__rail *rail);

/* Whether nothing that was sent is under way, as far as is known. */
static inline bool dhole__rail_idle(const struct dhole__rail *rail)
{
    return rail->completed == rail->posted;
}

#endif
