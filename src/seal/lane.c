/* Lanes: a filter that carries its bytes in the records of record.h.
 *
 * Sending gathers what the caller offers into one record and owns up to those bytes only when the
 * whole record has gone, so that the caller's memory is read once and a message with its header is
 * one record, one system call. The header of a long message is a record of its own, though in the
 * same system call: the receiver takes it first, and the rest is then opened straight into its
 * place. Records are as long as they may be, as each costs both sides a few microseconds; one is
 * sealed while the one before it is sent and opened.
 *
 * Receiving reads ahead into one buffer:
 *
 *     0 ...... start ............. end ........ in_size
 *              | records, the last perhaps cut |
 *
 * Where a record begins, up to read_ahead bytes are read, which takes many small records at once;
 * once its header is known, exactly what it lacks. So a record's header always lies below
 * read_ahead, the record always fits, and no more than a cut header is ever moved. A record that
 * the caller has room for is opened straight into the caller's memory; otherwise it is opened in
 * place, and handed out from there. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "base/sys.h"
#include "seal/fault.h"
#include "seal/record.h"
#include "seal/tls.h"

enum {
    read_ahead = 128 << 10,
    long_message = 64 << 10,
    head_max = 256,
    whole_record = dhole__lane_record_max + dhole__record_extra,
    out_size = head_max + dhole__record_extra + whole_record,
    in_size = read_ahead + whole_record
};

struct lane {
    struct dhole__conn conn;
    struct dhole__conn *lower;

    /* A server seals nothing until it has opened a record, so that it can try again after a
     * stranger came instead of the client, without sealing two first records under one key. */
    atomic_bool hears_first;

    /* What came was not authentic, so nothing is sent any more. This and hears_first are all that
     * the two directions share, which may be in two threads. */
    atomic_bool refused;

    struct dhole__fault send_fault;
    struct dhole__record_key seal;
    uint8_t *out; /* what is on its way; out_size bytes */
    size_t out_at, out_end;
    size_t out_plain; /* the caller's bytes in it */

    struct dhole__fault recv_fault;
    struct dhole__record_key open;
    uint8_t *in; /* in_size bytes */
    size_t start, end;
    size_t plain, plain_end; /* opened in place, not handed out yet */
};

/* Ends receiving; what the lane holds of plaintext goes. */
static dhole_err broken(struct lane *lane, dhole_err err)
{
    dhole__wipe(lane->in, in_size);
    lane->start = lane->end = lane->plain = lane->plain_end = 0;
    dhole__fault_keep(&lane->recv_fault, err);
    atomic_store(&lane->refused, true);
    return err;
}

static dhole_err seal_record(struct lane *lane, struct dhole__walk *walk, size_t length)
{
    dhole_err err = dhole__record_seal(&lane->seal, *walk, length, lane->out + lane->out_end);

    if (err)
        return dhole__fault_keep(&lane->send_fault, err);
    dhole__walk_skip(walk, length);
    lane->out_end += length + dhole__record_extra;
    lane->out_plain += length;
    return DHOLE_OK;
}

/* Seals what is to go next of the `left` bytes at `walk`. */
static dhole_err seal_next(struct lane *lane, struct dhole__walk walk, size_t left)
{
    size_t head;

    dhole__walk_piece(&walk, left, &head);
    if (left > long_message && head <= head_max) {
        dhole_err err = seal_record(lane, &walk, head);
        if (err)
            return err;
        left -= head;
    }
    return seal_record(lane, &walk, left < dhole__lane_record_max ? left : dhole__lane_record_max);
}

/* Moves what is on its way; it is gone when out_at reaches out_end. */
static dhole_err flush(struct lane *lane)
{
    struct iovec rest = {lane->out + lane->out_at, lane->out_end - lane->out_at};
    size_t moved;
    dhole_err err = dhole__conn_send(lane->lower, &rest, 1, &moved);

    if (!err)
        lane->out_at += moved;
    return err;
}

static dhole_err lane_send(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    struct lane *lane = (struct lane *)conn;
    struct dhole__walk walk = {iov, n, 0};
    size_t left = dhole__walk_left(walk);
    dhole_err err;

    *moved = 0;
    if (lane->send_fault.err)
        return dhole__fault_repeat(&lane->send_fault);
    if (atomic_load_explicit(&lane->refused, memory_order_acquire))
        return dhole__fault_repeat(&lane->recv_fault);
    if (lane->hears_first)
        return dhole__fail(DHOLE_ERR_INVALID, "a lane's client must be heard before its server");
    while (left > 0) {
        if (lane->out_end == 0)
            err = seal_next(lane, walk, left);
        else if (lane->out_plain > left)
            return dhole__fail_offer(left, lane->out_plain);
        else
            err = DHOLE_OK;
        if (!err)
            err = flush(lane);
        if (err || lane->out_at < lane->out_end)
            return err;
        dhole__walk_skip(&walk, lane->out_plain);
        left -= lane->out_plain;
        *moved += lane->out_plain;
        lane->out_at = lane->out_end = lane->out_plain = 0;
    }
    return DHOLE_OK;
}

/* What the record at `start` still lacks: 0 when it is whole or cannot be one. */
static size_t record_lacks(const struct lane *lane)
{
    size_t have = lane->end - lane->start, size;

    if (have < dhole__record_header)
        return dhole__record_header - have;
    size = dhole__record_size(lane->in + lane->start);
    return size > have ? size - have : 0;
}

/* Reads towards the record at `start`; *moved 0 when nothing is there. */
static dhole_err read_lower(struct lane *lane, size_t *moved)
{
    size_t have = lane->end - lane->start;
    struct iovec room;
    dhole_err err;

    if (have < dhole__record_header) {
        memmove(lane->in, lane->in + lane->start, have);
        lane->start = 0;
        lane->end = have;
        room = (struct iovec){lane->in + have, read_ahead - have};
    } else {
        room = (struct iovec){lane->in + lane->end, record_lacks(lane)};
    }
    err = dhole__conn_recv(lane->lower, &room, 1, moved);
    if (err == DHOLE_ERR_PEER_LOST && have > 0)
        return dhole__fail_in(err, "in the middle of a record");
    if (!err)
        lane->end += *moved;
    return err;
}

/* Opens the whole record at `start`: into the caller's memory if it fits there (*moved bytes), else
 * in place. */
static dhole_err open_record(struct lane *lane, struct dhole__walk walk, size_t *moved)
{
    uint8_t *record = lane->in + lane->start;
    size_t size = dhole__record_size(record), length = size - dhole__record_extra;
    struct iovec here = {record + dhole__record_header, length};
    bool fits = size > 0 && length <= dhole__walk_left(walk);
    dhole_err err;

    *moved = 0;
    if (size == 0)
        return dhole__fail(
            DHOLE_ERR_AUTH, "a record header %02x%02x%02x%02x %02x%02x%02x%02x that no peer sends",
            record[0], record[1], record[2], record[3], record[4], record[5], record[6], record[7]);
    err = dhole__record_open(&lane->open, record, size,
                             fits ? walk : (struct dhole__walk){&here, 1, 0});
    if (err)
        return err;
    if (lane->hears_first)
        lane->hears_first = false;
    if (fits) {
        *moved = length;
    } else {
        lane->plain = lane->start + dhole__record_header;
        lane->plain_end = lane->plain + length;
    }
    lane->start += size;
    return DHOLE_OK;
}

/* Hands out what was opened in place. */
static size_t copy_plain(struct lane *lane, struct dhole__walk walk)
{
    size_t before = lane->plain, step;
    uint8_t *piece;

    while (lane->plain < lane->plain_end &&
           (piece = dhole__walk_take(&walk, lane->plain_end - lane->plain, &step)) != NULL) {
        memcpy(piece, lane->in + lane->plain, step);
        lane->plain += step;
    }
    return lane->plain - before;
}

/* One step towards filling `walk`: hands out, opens or reads. *moved are bytes for the
 * caller; *idle says that the lower connection has nothing now. */
static dhole_err recv_step(struct lane *lane, struct dhole__walk walk, size_t *moved, bool *idle)
{
    dhole_err err;
    size_t got;

    *moved = 0;
    if (lane->plain < lane->plain_end) {
        *moved = copy_plain(lane, walk);
        return DHOLE_OK;
    }
    if (record_lacks(lane) > 0) {
        err = read_lower(lane, &got);
        *idle = got == 0;
        return err;
    }
    err = open_record(lane, walk, moved);
    return err ? broken(lane, err) : DHOLE_OK;
}

/* An error after some bytes have moved comes with the next call. */
static dhole_err lane_recv(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    struct lane *lane = (struct lane *)conn;
    struct dhole__walk walk = {iov, n, 0};
    size_t left = dhole__walk_left(walk);
    bool idle = false;

    *moved = 0;
    if (lane->recv_fault.err)
        return dhole__fault_repeat(&lane->recv_fault);
    while (left > 0 && !idle) {
        size_t got;
        dhole_err err = recv_step(lane, walk, &got, &idle);
        if (err)
            return *moved > 0 ? DHOLE_OK : err;
        dhole__walk_skip(&walk, got);
        left -= got;
        *moved += got;
    }
    return DHOLE_OK;
}

static bool lane_arm(struct dhole__conn *conn, bool want_send, bool want_recv, struct pollfd *pfd)
{
    struct lane *lane = (struct lane *)conn;

    if ((want_send && lane->send_fault.err) || (want_recv && lane->recv_fault.err))
        return false;
    if (want_recv && (lane->plain < lane->plain_end || record_lacks(lane) == 0))
        return false;
    return lane->lower->ops->arm(lane->lower, want_send, want_recv, pfd);
}

static void lane_shutdown(struct dhole__conn *conn)
{
    struct lane *lane = (struct lane *)conn;

    lane->lower->ops->shutdown(lane->lower);
}

/* Everything but the lower connection. */
static void lane_free(struct lane *lane)
{
    dhole__record_key_free(&lane->seal);
    dhole__record_key_free(&lane->open);
    if (lane->in != NULL)
        dhole__wipe(lane->in, in_size);
    free(lane->in);
    free(lane->out);
    free(lane);
}

static void lane_close(struct dhole__conn *conn)
{
    struct lane *lane = (struct lane *)conn;

    dhole__conn_close(lane->lower);
    lane_free(lane);
}

static const struct dhole__conn_ops lane_ops = {
    .name = "lane",
    .send = lane_send,
    .recv = lane_recv,
    .arm = lane_arm,
    .shutdown = lane_shutdown,
    .close = lane_close,
};

static dhole_err lane_new(struct dhole__conn *lower,
                          const uint8_t send_secret[static dhole__lane_key_size],
                          const uint8_t recv_secret[static dhole__lane_key_size], bool hears_first,
                          struct dhole__conn **out)
{
    struct lane *lane = dhole__sys.calloc(1, sizeof *lane);
    dhole_err err;

    if (lane == NULL)
        return dhole__fail_nomem(sizeof *lane, "a lane");
    lane->conn.ops = &lane_ops;
    lane->lower = lower;
    lane->hears_first = hears_first;
    lane->in = dhole__sys.malloc(in_size);
    lane->out = dhole__sys.malloc(out_size);
    if (lane->in == NULL || lane->out == NULL) {
        err = dhole__fail_nomem((size_t)in_size + out_size, "a lane's buffers");
        goto fail;
    }
    err = dhole__record_key_init(&lane->seal, true, send_secret);
    if (err)
        goto fail;
    err = dhole__record_key_init(&lane->open, false, recv_secret);
    if (err)
        goto fail;
    *out = &lane->conn;
    return DHOLE_OK;
fail:
    lane_free(lane);
    return err;
}

dhole_err dhole__lane_open_keyed(struct dhole__conn *lower,
                                 const uint8_t send_secret[static dhole__lane_key_size],
                                 const uint8_t recv_secret[static dhole__lane_key_size],
                                 struct dhole__conn **out)
{
    return lane_new(lower, send_secret, recv_secret, false, out);
}

void dhole__lane_rekey_every(struct dhole__conn *conn, uint64_t records)
{
    struct lane *lane = (struct lane *)conn;

    lane->seal.rekey_every = lane->open.rekey_every = records;
}

/* Both directions' secrets; direction 0 is from the client to the server. */
static dhole_err export_secrets(struct dhole__conn *tls, uint32_t lane,
                                uint8_t secrets[static 2][dhole__lane_key_size])
{
    dhole_err err = DHOLE_OK;

    for (uint8_t direction = 0; direction < 2 && !err; direction++) {
        const uint8_t context[] = {(uint8_t)lane, (uint8_t)(lane >> 8), (uint8_t)(lane >> 16),
                                   (uint8_t)(lane >> 24), direction};
        err = dhole__tls_export(tls, "EXPORTER-dhole-lane", context, sizeof context,
                                secrets[direction], dhole__lane_key_size);
    }
    return err;
}

dhole_err dhole__lane_open(struct dhole__conn *lower, struct dhole__conn *tls,
                           enum dhole__seal_side side, uint32_t lane, struct dhole__conn **out)
{
    bool serves = side == DHOLE__SEAL_SERVER; /* then it sends in direction 1 */
    uint8_t secrets[2][dhole__lane_key_size];
    dhole_err err = dhole__tls_claim_lane(tls, side, lane);

    if (err)
        return err;
    err = export_secrets(tls, lane, secrets);
    if (!err)
        err = lane_new(lower, secrets[serves], secrets[!serves], serves, out);
    dhole__wipe(secrets, sizeof secrets);
    return err;
}
