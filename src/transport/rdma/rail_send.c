/* A rail's messages on their way out. */
#include <string.h>

#include "base/bytes.h"
#include "transport/rdma/rail_parts.h"

enum {
    zero_copy_least = 32 << 10, /* below, a copy costs less than waiting for the completion */
    lead_most = 4 << 10,        /* what is copied in front of such a piece */
    turn_max = 256 << 10,       /* bytes that one call moves, so that who sends also receives */
    signal_every = 8            /* of the sends that need no completion of their own */
};

static void put_header(struct dhole__rail *rail, uint8_t *header, enum dhole__rail_kind kind,
                       uint32_t length)
{
    dhole__put32(header, kind == DHOLE__RAIL_PROBE ? 0 : rail->sequence++);
    dhole__put32(header + 4, length);
    dhole__put32(header + 8, rail->freed);
    dhole__put16(header + 12, rail->peer_tag);
    header[14] = (uint8_t)kind;
    header[15] = 0;
    rail->freed_told = rail->freed;
    rail->data_sent += kind == DHOLE__RAIL_DATA;
}

static void put_trailer(const struct dhole__rail *rail, uint8_t *at, const uint8_t *header)
{
    memcpy(at, header, dhole__rail_trailer(rail));
}

static dhole_err post_send(struct dhole__rail *rail, struct ibv_sge *sge, int n, unsigned flags,
                           struct dhole__sent sent)
{
    uint32_t number = rail->posted, bytes = 0;
    struct ibv_send_wr wr = {
        .wr_id = number, .sg_list = sge, .num_sge = n, .opcode = IBV_WR_SEND, .send_flags = flags};
    struct ibv_send_wr *bad;
    int result;

    if (sent.slot || sent.bytes > 0 || number % signal_every == signal_every - 1)
        wr.send_flags |= IBV_SEND_SIGNALED;
    result = ibv_post_send(rail->qp.ibv, &wr, &bad);
    if (result == 0) {
        rail->sent[rail->posted++ % dhole__sent_max] = sent;
        rail->slots_used += sent.slot;
        return DHOLE_OK;
    }
    for (int i = 0; i < n; i++)
        bytes += sge[i].length;
    return dhole__device_fail(rail->qp.device, DHOLE_ERR_SYSTEM, dhole__verbs_error(result), NULL,
                              "posting a send of %u bytes to rank %d failed", bytes, rail->qp.peer);
}

static uint8_t *free_slot(const struct dhole__rail *rail)
{
    const struct dhole__rdma_shape *shape = &rail->qp.shape;

    return dhole__rail_slot(rail, dhole__shape_receives(shape) +
                                      rail->slots_used % dhole__shape_send_slots(shape));
}

static bool fits_inline(const struct dhole__rail *rail, size_t length)
{
    return dhole__rail_header + length + dhole__rail_trailer(rail) <= rail->qp.inline_max;
}

/* Header, bytes of the stream and trailer. */
static uint32_t whole(const struct dhole__rail *rail, uint32_t length)
{
    return dhole__rail_header + length + dhole__rail_trailer(rail);
}

static void put_message(struct dhole__rail *rail, uint8_t *to, enum dhole__rail_kind kind,
                        struct dhole__walk *walk, uint32_t length)
{
    put_header(rail, to, kind, length);
    dhole__walk_copy_out(walk, to + dhole__rail_header, length);
    put_trailer(rail, to + dhole__rail_header + length, to);
}

static dhole_err send_inline(struct dhole__rail *rail, enum dhole__rail_kind kind,
                             struct dhole__walk *walk, uint32_t length, unsigned flags,
                             struct dhole__sent sent)
{
    uint8_t bytes[dhole__inline_most];
    struct ibv_sge sge = {.addr = (uintptr_t)bytes, .length = whole(rail, length)};

    put_message(rail, bytes, kind, walk, length);
    return post_send(rail, &sge, 1, flags | IBV_SEND_INLINE, sent);
}

static dhole_err send_slot(struct dhole__rail *rail, enum dhole__rail_kind kind,
                           struct dhole__walk *walk, uint32_t length, struct dhole__sent sent)
{
    uint8_t *slot = free_slot(rail);
    struct ibv_sge sge = {
        .addr = (uintptr_t)slot, .length = whole(rail, length), .lkey = dhole__rail_key(rail)};

    sent.slot = true;
    put_message(rail, slot, kind, walk, length);
    return post_send(rail, &sge, 1, 0, sent);
}

/* A long piece in a registered block, behind a short one that is copied: a message's header. */
struct in_place {
    const uint8_t *at;
    uint32_t lead, length, key;
};

static bool find_in_place(const struct dhole__rail *rail, struct dhole__walk walk, uint32_t most,
                          struct in_place *out)
{
    size_t length;
    const uint8_t *piece = dhole__walk_piece(&walk, SIZE_MAX, &length);

    out->lead = 0;
    if (length <= lead_most && length < most) {
        out->lead = (uint32_t)length;
        walk.at += length;
        piece = dhole__walk_piece(&walk, SIZE_MAX, &length);
    }
    if (length < zero_copy_least || most - out->lead < zero_copy_least / 2 ||
        !dhole__qp_gathers(&rail->qp))
        return false;
    out->at = piece;
    out->length = length < most - out->lead ? (uint32_t)length : most - out->lead;
    return dhole__blocks_find(rail->blocks, rail->device_number, piece, out->length, &out->key);
}

static dhole_err send_in_place(struct dhole__rail *rail, struct dhole__walk *walk,
                               const struct in_place *piece)
{
    uint8_t *slot = free_slot(rail);
    uint8_t *trailer = slot + dhole__rail_header + piece->lead;
    struct ibv_sge sge[] = {
        {(uintptr_t)slot, dhole__rail_header + piece->lead, dhole__rail_key(rail)},
        {(uintptr_t)piece->at, piece->length, piece->key},
        {(uintptr_t)trailer, dhole__rail_trailer(rail), dhole__rail_key(rail)},
    };
    uint32_t length = piece->lead + piece->length;

    put_header(rail, slot, DHOLE__RAIL_DATA, length);
    dhole__walk_copy_out(walk, slot + dhole__rail_header, piece->lead);
    put_trailer(rail, trailer, slot);
    dhole__walk_skip(walk, piece->length);
    rail->ahead += length;
    return post_send(rail, sge, dhole__qp_pieces(&rail->qp), 0,
                     (struct dhole__sent){.bytes = length, .slot = true});
}

/* Sends the next message of what is left; *put is 0 when that is not possible now. */
static dhole_err send_next(struct dhole__rail *rail, struct dhole__walk *walk, size_t left,
                           size_t *put)
{
    uint32_t most = rail->qp.shape.message - whole(rail, 0);
    uint32_t length = left < most ? (uint32_t)left : most;
    struct dhole__sent sent = {.bytes = 0};
    struct in_place piece;

    *put = 0;
    if (!dhole__rail_may_send(rail) || (!fits_inline(rail, length) && !dhole__rail_has_slot(rail)))
        return DHOLE_OK;
    if (length >= zero_copy_least / 2 && find_in_place(rail, *walk, most, &piece)) {
        *put = piece.lead + piece.length;
        return send_in_place(rail, walk, &piece);
    }
    *put = length;
    if (rail->ahead > 0) {
        rail->ahead += length; /* counts in its turn */
        sent.bytes = length;
    } else {
        rail->ready += length;
    }
    return fits_inline(rail, length) ? send_inline(rail, DHOLE__RAIL_DATA, walk, length, 0, sent)
                                     : send_slot(rail, DHOLE__RAIL_DATA, walk, length, sent);
}

/* Whether one was sent. */
static bool send_control(struct dhole__rail *rail, enum dhole__rail_kind kind, unsigned flags)
{
    struct dhole__walk nothing = {NULL, 0, 0};
    struct dhole__sent sent = {.bytes = 0};
    dhole_err err;

    if (rail->err || !dhole__rail_has_room(rail, 0) ||
        (!fits_inline(rail, 0) && !dhole__rail_has_slot(rail)))
        return false;
    err = fits_inline(rail, 0) ? send_inline(rail, kind, &nothing, 0, flags, sent)
                               : send_slot(rail, kind, &nothing, 0, sent);
    if (err)
        dhole__rail_fail(rail, err);
    return !err;
}

/* If there is no room, there will be at a later call. */
void dhole__rail_give_credit(struct dhole__rail *rail)
{
    if (rail->freed - rail->freed_told >= rail->qp.shape.window / 4 &&
        !send_control(rail, DHOLE__RAIL_CREDIT, 0) && dhole__rail_progress(rail))
        send_control(rail, DHOLE__RAIL_CREDIT, 0);
}

void dhole__rail_probe(struct dhole__rail *rail)
{
    uint32_t size = rail->qp.shape.message;
    uint8_t *slot = free_slot(rail);
    struct ibv_sge sge = {.addr = (uintptr_t)slot, .length = size, .lkey = dhole__rail_key(rail)};
    dhole_err err;

    memset(slot, 0, size); /* its trailer, too: it has no sequence number */
    put_header(rail, slot, DHOLE__RAIL_PROBE, size - whole(rail, 0));
    err = post_send(rail, &sge, 1, 0, (struct dhole__sent){.slot = true});
    rail->too_long |= err != DHOLE_OK;
    if (err)
        dhole__rail_fail(rail, err);
}

void dhole__rail_send_all(struct dhole__rail *rail, struct dhole__walk walk, size_t left)
{
    size_t turn = 0;

    while (left > 0 && turn < turn_max && !rail->err) {
        size_t put;
        dhole_err err = send_next(rail, &walk, left, &put);
        if (err)
            dhole__rail_fail(rail, err);
        left -= put;
        turn += put;
        if (put == 0 && !dhole__rail_progress(rail))
            break;
    }
}

void dhole__rail_send_last(struct dhole__rail *rail)
{
    send_control(rail, DHOLE__RAIL_CREDIT, IBV_SEND_SIGNALED);
}
