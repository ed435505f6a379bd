/* What the parts of a rail share: rail.c, rail_recv.c, rail_send.c.
 *
 * A message's header: its sequence number, the bytes that follow, messages taken out of the other
 * direction, 32 bits each; the receiver's tag, 16 bits; the kind, 8 bits; a zero. Probes have no
 * sequence number.
 *
 * On UC it ends with its sequence number once more: where packets in the middle are lost, some
 * devices go on with the next message in the same receive, which may come out at the right length.
 */
#ifndef DHOLE_TRANSPORT_RDMA_RAIL_PARTS_H
#define DHOLE_TRANSPORT_RDMA_RAIL_PARTS_H

#include "transport/rdma/rail.h"
#include "transport/walk.h"

enum dhole__rail_kind { DHOLE__RAIL_PROBE = 1, DHOLE__RAIL_DATA, DHOLE__RAIL_CREDIT };

/* Of a receive in the work id, where the rest is its slot; that of a send counts sends. */
#define DHOLE__RAIL_RECEIVE (UINT64_C(1) << 63)

enum { dhole__rail_spare_sends = 8 /* kept for messages without data */ };

/* Takes down what went wrong first. */
static inline void dhole__rail_fail(struct dhole__rail *rail, dhole_err err)
{
    if (rail->err)
        return;
    rail->err = err;
    dhole__message_save(rail->why);
}

static inline uint8_t *dhole__rail_slot(const struct dhole__rail *rail, uint32_t slot)
{
    return rail->lease + (size_t)slot * rail->qp.shape.message;
}

static inline uint32_t dhole__rail_key(const struct dhole__rail *rail)
{
    return rail->qp.device->region->lkey;
}

/* Bytes behind those of the stream. */
static inline uint32_t dhole__rail_trailer(const struct dhole__rail *rail)
{
    return rail->qp.shape.reliable ? 0 : 4;
}

static inline bool dhole__rail_has_slot(const struct dhole__rail *rail)
{
    return rail->slots_used - rail->slots_freed < dhole__shape_send_slots(&rail->qp.shape);
}

/* In the send queue, for one more and `spare` others. */
static inline bool dhole__rail_has_room(const struct dhole__rail *rail, uint32_t spare)
{
    return rail->posted - rail->completed + spare < dhole__shape_sends(&rail->qp.shape);
}

/* Whether the peer has a receive for a message with data, and the send queue a place. */
static inline bool dhole__rail_may_send(const struct dhole__rail *rail)
{
    return rail->data_sent - rail->data_freed < rail->qp.shape.window &&
           dhole__rail_has_room(rail, dhole__rail_spare_sends);
}

void dhole__rail_post_receive(struct dhole__rail *rail, uint32_t slot);

/* Copies from the first message that has arrived; returns how much. */
size_t dhole__rail_take_out(struct dhole__rail *rail, struct dhole__walk *walk);

/* That many messages never came. */
dhole_err dhole__rail_lost(const struct dhole__rail *rail, uint32_t messages);

/* Sends messages for as long as there are bytes and room. */
void dhole__rail_send_all(struct dhole__rail *rail, struct dhole__walk walk, size_t left);

/* Tells the peer how many of its messages were taken out, unless other messages will. */
void dhole__rail_give_credit(struct dhole__rail *rail);

/* Sends a message without data whose completion says that all before it have completed. */
void dhole__rail_send_last(struct dhole__rail *rail);

#endif
