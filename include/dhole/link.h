/* Sealed links between two processes. */
#ifndef DHOLE_LINK_H
#define DHOLE_LINK_H

#include <stddef.h>
#include <stdint.h>

#include "dhole/dtype.h"
#include "dhole/error.h"
#include "dhole/identity.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A link: one sealed conversation between two processes, over TCP.
 *
 * It has three channels, each an ordered stream of messages in both directions, and nothing waits
 * behind what another channel carries:
 * - CONTROL, over the TLS 1.3 connection: messages of up to 64 KiB;
 * - MESSAGES, over a lane of its own: small tensors, anything that must not wait;
 * - BULK, over one or more lanes that share each message: large tensors.
 * A link with 0 lanes has CONTROL alone.
 *
 * One thread may send and another one receive on each channel at the same time, all channels side
 * by side. A call that fails breaks its channel, and with DHOLE_ERR_AUTH, _PROTOCOL, _PEER_LOST or
 * a receive's _LIMIT the link: every later call repeats the error. Nothing breaks by
 * DHOLE_ERR_INVALID, by DHOLE_ERR_LIMIT of a send that this side refuses, nor by DHOLE_ERR_TIMEOUT
 * or _CANCELLED of a dhole_link_recv to which nothing of a message has come. Nothing of a message
 * is released unless it is authentic. */
typedef struct dhole_link dhole_link;
typedef struct dhole_link_listener dhole_link_listener;

typedef enum dhole_channel {
    DHOLE_CHANNEL_CONTROL,
    DHOLE_CHANNEL_MESSAGES,
    DHOLE_CHANNEL_BULK
} dhole_channel;

enum { DHOLE_SHAPE_MAX = 8, DHOLE_LANES_MAX = 8 };

typedef struct dhole_link_options {
    /* This side's identity; required, and to outlive the link or listener. */
    const dhole_identity *identity;
    /* The one key that the other side must hold; NULL asks `trusts`. One of the two is required. */
    const dhole_pin *pin;
    /* Whether a key is to be trusted: nonzero is yes. May be called from the thread that connects
     * or accepts, and must not block. */
    int (*trusts)(void *arg, const dhole_pin *pin);
    void *trusts_arg;
    /* What both sides must say alike: the session's name, at most 64 bytes, and all else that must
     * agree, in words, at most 1024. NULL is "". A difference is refused with both quoted. */
    const char *session;
    const char *agreement;
    /* Of a group: this side's rank and the number of ranks; 0 and 0 where there is none. The sizes
     * must be alike, the ranks must not. */
    int rank, size;
    /* Lanes of BULK, 0..DHOLE_LANES_MAX, asked for by the side that connects; 0: CONTROL alone. */
    int lanes;
    /* A larger message is refused by the sender, which knows this, or else before it is taken or
     * allocated: DHOLE_ERR_LIMIT on both sides, which quotes size and limit. 0 is 256 MiB. */
    size_t message_max;
    /* Deadlines in milliseconds; 0 is the default: 30 s to connect, 60 s a call. */
    int64_t connect_timeout_ms, timeout_ms;
    /* A call gives up with DHOLE_ERR_CANCELLED when this descriptor becomes readable; -1 is none.
     */
    int cancel_fd;
    /* Whoever refuses the connection, or cannot be reached, is not called again until the deadline:
     * the call fails at once with DHOLE_ERR_PEER_LOST. */
    int no_retry;
} dhole_link_options;

/* clang-format off */
#define DHOLE_LINK_OPTIONS_INIT {NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, -1, 0}
/* clang-format on */

/* What a message is. The shape is the row-major tensor's; a message of bytes is DHOLE_U8 with
 * dims 1. size is derived from dtype and shape. */
typedef struct dhole_message {
    uint32_t tag; /* the caller's */
    dhole_dtype dtype;
    int dims; /* 0..DHOLE_SHAPE_MAX; 0 is one element */
    uint64_t shape[DHOLE_SHAPE_MAX];
} dhole_message;

/* Connects to "host:port" or "[v6]:port" and says hello; blocks until the link is up or the
 * connect deadline. DHOLE_ERR_AUTH: the key is another one. DHOLE_ERR_MISMATCH quotes both
 * sides. The caller frees *out with dhole_link_free.
 *
 * Several addresses of the same peer, at most DHOLE_LANES_MAX, are separated by commas, and share
 * the load: lane i of BULK goes to address i modulo their number, CONTROL and MESSAGES to the first
 * that answers. An address that no lane is for stands in for others at the beginning only. One that
 * a lane is for and that does not answer is named: DHOLE_ERR_PEER_LOST, or DHOLE_ERR_TIMEOUT after
 * 5 s. A lane that is lost later ends the link with DHOLE_ERR_PEER_LOST on both sides, which names
 * it and its address on the side that finds it lost. Nothing goes on over the others. */
dhole_err dhole_link_connect(const dhole_link_options *options, const char *address,
                             dhole_link **out);

/* Listens at "host:port", port 0 for a free one, or at several such, separated by commas; `options`
 * are those of each link that is accepted, and stay the caller's. Strangers who stall or talk
 * rubbish cost a slot for a few seconds, and never keep a trusted peer waiting. */
dhole_err dhole_link_listen(const dhole_link_options *options, const char *address,
                            dhole_link_listener **out);

/* The addresses with the ports that were taken, as dhole_link_connect takes them; valid until the
 * listener is freed. */
const char *dhole_link_listener_address(const dhole_link_listener *listener);

/* The next link that is up. Handshakes make progress in this call alone. Who is refused is logged,
 * and does not end the call. timeout_ms 0 only looks. DHOLE_ERR_TIMEOUT; DHOLE_ERR_CANCELLED. */
dhole_err dhole_link_accept(dhole_link_listener *listener, int64_t timeout_ms, dhole_link **out);

void dhole_link_listener_free(dhole_link_listener *listener);

/* Blocks until all is on its way. timeout_ms 0 is the link's. */
dhole_err dhole_link_send(dhole_link *link, dhole_channel channel, const dhole_message *message,
                          const void *data, int64_t timeout_ms);

/* What comes next on the channel. To be followed by dhole_link_recv_data, which takes the elements,
 * dhole_message_size(message) bytes, unless there are none. */
dhole_err dhole_link_recv(dhole_link *link, dhole_channel channel, dhole_message *message,
                          int64_t timeout_ms);
dhole_err dhole_link_recv_data(dhole_link *link, dhole_channel channel, void *data,
                               int64_t timeout_ms);

/* Bytes of the elements; SIZE_MAX where that would be too large to address, or dims or dtype
 * invalid. */
size_t dhole_message_size(const dhole_message *message);

/* The other side's key, rank, and address as "host:port"; this side's address towards it. */
void dhole_link_pin(const dhole_link *link, dhole_pin *out);
int dhole_link_rank(const dhole_link *link);
const char *dhole_link_address(const dhole_link *link);
const char *dhole_link_own_address(const dhole_link *link);

typedef struct dhole_link_stats {
    uint64_t sent_bytes, received_bytes;       /* of elements */
    uint64_t sent_messages, received_messages; /* all channels */
    uint64_t wire_bytes;                       /* sealed, both directions */
} dhole_link_stats;

void dhole_link_get_stats(const dhole_link *link, dhole_link_stats *stats);

/* Any thread: pending and later calls end with DHOLE_ERR_CANCELLED, the other side's with
 * DHOLE_ERR_PEER_LOST. */
void dhole_link_close(dhole_link *link);

/* Closes and frees; no call may be under way. NULL is allowed. */
void dhole_link_free(dhole_link *link);

#ifdef __cplusplus
}
#endif
#endif
