/* A link from the inside, and what makes one. */
#ifndef DHOLE_LINK_INTERNAL_H
#define DHOLE_LINK_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "dhole/link.h"
#include "link/frame.h"
#include "link/hello.h"
#include "link/turn.h"
#include "seal/fault.h"
#include "transport/conn.h"
#include "transport/tcp/tcp.h"

enum {
    dhole__channel_count = 3,
    dhole__link_lanes_max = 1 + DHOLE_LANES_MAX, /* that of MESSAGES and those of BULK */
    dhole__control_max = 64 << 10
};

/* What comes next on a channel. A receive that gave up offers the same memory again. */
struct dhole__inbox {
    uint64_t number;
    bool has_message; /* whose elements have not been taken */
    size_t size;      /* of these */
    uint8_t head[dhole__frame_head];
    uint8_t shape[8 * DHOLE_SHAPE_MAX];
};

struct dhole_link {
    struct dhole__conn *channel[dhole__channel_count];   /* NULL: there is none */
    struct dhole__conn *lane[dhole__link_lanes_max];     /* until they are joined */
    struct dhole__conn *wire[1 + dhole__link_lanes_max]; /* the TCP connections below all that */
    int bulk_lanes;

    dhole_pin pin;
    int rank;
    char address[dhole__address_text_max], own_address[dhole__address_text_max];
    char lane_address[dhole__link_lanes_max][dhole__address_text_max]; /* the other side's */

    size_t message_max, peer_message_max;
    int64_t timeout_ms;
    int cancel_fd;

    uint64_t sent_number[dhole__channel_count];
    struct dhole__inbox inbox[dhole__channel_count];

    /* Of CONTROL alone, where the library says something of its own too. */
    struct dhole__turn send_turn, recv_turn;

    pthread_mutex_t lock; /* over the faults */
    struct dhole__fault fault, channel_fault[dhole__channel_count];
    atomic_bool faulty[dhole__channel_count]; /* there is one to look for */

    _Atomic uint64_t sent_bytes, received_bytes, sent_messages, received_messages;
};

/* A link that has no channel yet; NULL for want of memory. */
dhole_link *dhole__link_alloc(void);

/* A link whose sides have said hello, over `control`, which it owns on success. Its lanes are yet
 * to be put into `lane`, and then joined. */
DHOLE__MUST_CHECK dhole_err dhole__link_new(const struct dhole__link_terms *terms,
                                            const struct dhole__link_hello *hello,
                                            struct dhole__conn *control, struct dhole__conn *wire,
                                            dhole_link **out);

/* How many lanes it is to have, and whether they are all there. */
int dhole__link_lanes(const dhole_link *link);
bool dhole__link_is_complete(const dhole_link *link);

/* Makes channels of the lanes. */
DHOLE__MUST_CHECK dhole_err dhole__link_join(dhole_link *link);

/* The channel's or link's failure so far, if any, again. */
DHOLE__MUST_CHECK dhole_err dhole__link_check(dhole_link *link, dhole_channel channel);

/* From now on this, with this thread's message, is what the link is broken by, though it goes on
 * until it is broken. */
void dhole__link_blame(dhole_link *link, dhole_err err);

/* Breaks the channel, or the link, with this thread's message, and returns what it is broken by. */
DHOLE__MUST_CHECK dhole_err dhole__link_break(dhole_link *link, dhole_channel channel,
                                              dhole_err err);

/* What ends later calls in place of the options' cancel_fd, -1 for nothing; no call may be under
 * way.
 */
void dhole__link_set_cancel(dhole_link *link, int cancel_fd);

/* As dhole__tls_export, of the link's control connection. */
DHOLE__MUST_CHECK dhole_err dhole__link_export(dhole_link *link, const char *label,
                                               const void *context, size_t context_length,
                                               uint8_t *out, size_t length);

#endif
