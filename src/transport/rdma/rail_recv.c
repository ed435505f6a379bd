/* A rail's completions, and the messages that they bring. */
#include <string.h>

#include "base/bytes.h"
#include "transport/rdma/rail_parts.h"

enum { probes_max = 4, batch = 16 /* completions looked at in one go */ };

void dhole__rail_post_receive(struct dhole__rail *rail, uint32_t slot)
{
    struct ibv_sge sge = {.addr = (uintptr_t)dhole__rail_slot(rail, slot),
                          .length = rail->qp.shape.message,
                          .lkey = dhole__rail_key(rail)};
    struct ibv_recv_wr wr = {.wr_id = DHOLE__RAIL_RECEIVE | slot, .sg_list = &sge, .num_sge = 1},
                       *bad;
    int result = ibv_post_recv(rail->qp.ibv, &wr, &bad);

    if (result != 0)
        dhole__rail_fail(
            rail, dhole__device_fail(rail->qp.device, DHOLE_ERR_SYSTEM, dhole__verbs_error(result),
                                     NULL, "posting a receive for rank %d failed", rail->qp.peer));
}

static dhole_err strange(const struct dhole__rail *rail, const char *what, uint32_t got,
                         uint32_t expected)
{
    return dhole__fail(
        DHOLE_ERR_PROTOCOL, "RDMA device %s port %u: a message from rank %d has %s %u, expected %u",
        rail->qp.device->name, rail->qp.device->port, rail->qp.peer, what, got, expected);
}

dhole_err dhole__rail_lost(const struct dhole__rail *rail, uint32_t messages)
{
    return dhole__fail(DHOLE_ERR_PEER_LOST,
                       "RDMA device %s port %u: %u message%s from rank %d %s lost on the way (%s); "
                       "check the cable and the network's flow control",
                       rail->qp.device->name, rail->qp.device->port, messages,
                       messages == 1 ? "" : "s", rail->qp.peer, messages == 1 ? "was" : "were",
                       rail->qp.shape.reliable ? "RC" : "UC, which does not send them again");
}

/* Number `got` came in place of the one that is expected. */
static dhole_err out_of_order(const struct dhole__rail *rail, uint32_t got)
{
    uint32_t ahead = got - rail->expected;

    if (ahead <= INT32_MAX)
        return dhole__rail_lost(rail, ahead);
    return dhole__fail(
        DHOLE_ERR_PEER_LOST,
        "RDMA device %s port %u: a message from rank %d came twice or too late (%s); "
        "check the network for loops and for paths of different length",
        rail->qp.device->name, rail->qp.device->port, rail->qp.peer,
        rail->qp.shape.reliable ? "RC" : "UC");
}

/* How many of our messages the peer has taken out. */
static dhole_err take_credit(struct dhole__rail *rail, const uint8_t *header)
{
    uint32_t freed = dhole__get32(header + 8);

    if (freed - rail->data_freed > rail->data_sent - rail->data_freed)
        return strange(rail, "a count of messages taken out of", freed, rail->data_sent);
    rail->data_freed = freed;
    return DHOLE_OK;
}

static dhole_err take_data(struct dhole__rail *rail, uint32_t slot, uint32_t length)
{
    if (length == 0 || rail->arrived - rail->freed >= rail->qp.shape.window)
        return strange(rail, "data beyond the window, or none: a length of", length, 1);
    rail->message[rail->arrived++ % dhole__window_most] = (struct dhole__arrived){slot, length};
    return DHOLE_OK;
}

/* Whether a message's length, and on UC its end, are what its header says. */
static bool is_whole(const struct dhole__rail *rail, const uint8_t *header, uint32_t bytes)
{
    uint32_t trailer = dhole__rail_trailer(rail), around = dhole__rail_header + trailer;
    uint32_t length = bytes - around;

    return bytes >= around && dhole__get32(header + 4) == length &&
           memcmp(header, header + dhole__rail_header + length, trailer) == 0;
}

static dhole_err take_message(struct dhole__rail *rail, uint32_t slot, uint32_t bytes)
{
    const uint8_t *header = dhole__rail_slot(rail, slot);
    uint32_t length = dhole__get32(header + 4);
    enum dhole__rail_kind kind = header[14];
    dhole_err err;

    if (!is_whole(rail, header, bytes))
        return rail->qp.shape.reliable
                   ? strange(rail, "a length of", bytes, dhole__rail_header + length)
                   : dhole__rail_lost(rail, 1);
    if (dhole__get16(header + 12) != rail->tag)
        return strange(rail, "the tag", dhole__get16(header + 12), rail->tag);
    if (kind == DHOLE__RAIL_PROBE && rail->probes < probes_max) {
        rail->probes++;
        dhole__rail_post_receive(rail, slot);
        return DHOLE_OK;
    }
    if (kind != DHOLE__RAIL_DATA && kind != DHOLE__RAIL_CREDIT)
        return strange(rail, "the type", kind, DHOLE__RAIL_DATA);
    if (dhole__get32(header) != rail->expected)
        return out_of_order(rail, dhole__get32(header));
    rail->expected++;
    err = take_credit(rail, header);
    if (!err && kind == DHOLE__RAIL_DATA)
        return take_data(rail, slot, length);
    dhole__rail_post_receive(rail, slot);
    return err;
}

static void take_sent(struct dhole__rail *rail, uint32_t number)
{
    while (rail->completed != number + 1) {
        const struct dhole__sent *sent = &rail->sent[rail->completed++ % dhole__sent_max];
        rail->slots_freed += sent->slot;
        rail->ahead -= sent->bytes;
        rail->ready += sent->bytes;
    }
}

static dhole_err take_completion(struct dhole__rail *rail, const struct ibv_wc *wc)
{
    uint32_t number = (uint32_t)wc->wr_id;
    bool is_receive = (wc->wr_id & DHOLE__RAIL_RECEIVE) != 0;

    rail->too_long |= wc->status == IBV_WC_LOC_LEN_ERR || wc->status == IBV_WC_REM_INV_REQ_ERR;
    if (wc->status != IBV_WC_SUCCESS)
        return dhole__qp_fail_completion(&rail->qp, wc, is_receive ? "receive from" : "send to");
    if (is_receive)
        return take_message(rail, number, wc->byte_len);
    take_sent(rail, number);
    return DHOLE_OK;
}

bool dhole__rail_progress(struct dhole__rail *rail)
{
    struct ibv_wc wc[batch];
    bool any = false;
    int n = batch;

    while (!rail->err && n == batch) {
        n = ibv_poll_cq(rail->qp.cq, batch, wc);
        if (n < 0)
            dhole__rail_fail(rail, dhole__device_fail(rail->qp.device, DHOLE_ERR_SYSTEM,
                                                      dhole__verbs_error(n), NULL,
                                                      "looking for completions of rank %d failed",
                                                      rail->qp.peer));
        for (int i = 0; i < n && !rail->err; i++) {
            dhole_err err = take_completion(rail, &wc[i]);
            if (err)
                dhole__rail_fail(rail, err);
        }
        any |= n > 0;
    }
    return any;
}

size_t dhole__rail_take_out(struct dhole__rail *rail, struct dhole__walk *walk)
{
    const struct dhole__arrived *message = &rail->message[rail->taken % dhole__window_most];
    const uint8_t *bytes = dhole__rail_slot(rail, message->slot) + dhole__rail_header;
    uint32_t begin = rail->at;

    while (rail->at < message->length) {
        size_t length;
        uint8_t *dst = dhole__walk_take(walk, message->length - rail->at, &length);
        if (length == 0)
            return rail->at - begin;
        memcpy(dst, bytes + rail->at, length);
        rail->at += (uint32_t)length;
    }
    dhole__rail_post_receive(rail, message->slot);
    rail->taken++;
    rail->freed++;
    rail->at = 0;
    return message->length - begin;
}
