/* A connection through a segment.
 *
 * Side 0 offers the segment over the lower connection, side 1 answers with a byte whether it
 * could open it, and from then on the lower connection is a doorbell. Who wants to sleep says
 * so in the segment, looks once more whether there is something to do, and polls the lower
 * connection; who changes something looks afterwards whether the other side sleeps, and sends it a
 * byte. As all four are sequentially consistent, one of the two sees the other.
 *
 * The lower connection is read after a sleep only: whoever waits for long sleeps, so that is soon
 * enough to learn that the other side is gone. What it had put into the segment before is still
 * handed out. */
#include <stdlib.h>

#include "base/sys.h"
#include "transport/io.h"
#include "transport/shm/segment.h"
#include "transport/shm/shm.h"

/* Bytes that one call of send moves at most, so that who sends and receives does so in turn, and in
 * the cache. */
enum { turn_max = 128 << 10 };

enum answer { NO, YES };

enum stage { OFFER, ANSWER, OPEN };

struct shm {
    struct dhole__conn base;
    struct dhole__conn *lower;
    bool slept;         /* the lower connection is to be looked at */
    bool ended;         /* the other side is gone */
    bool hostile;       /* the other side wrote what cannot be */
    atomic_bool broken; /* shut down on this side */
    _Atomic uint32_t *asleep, *peer_asleep;
    struct dhole__ring_in in;
    struct dhole__ring_out out;
    struct dhole__segment segment;

    /* For as long as the two agree about it. */
    enum stage stage;
    int side;
    size_t bulk_size;
    int fd;              /* of the segment that is offered, or -1 */
    struct dhole__io io; /* of the offer or the answer */
    uint8_t offer[dhole__offer_size], answer;
    char why[dhole__message_max]; /* it could not be made, or opened */
};

static struct shm *shm_of(struct dhole__conn *conn)
{
    return (struct shm *)conn;
}

/* Why nothing moves, if there is a reason. */
static dhole_err check(const struct shm *shm)
{
    if (shm->hostile)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "the peer wrote what cannot be into shared memory");
    if (shm->ended || atomic_load_explicit(&shm->broken, memory_order_relaxed))
        return dhole__fail(DHOLE_ERR_PEER_LOST, "the connection was closed");
    return DHOLE_OK;
}

/* After a sleep: takes the wake-up calls, or learns that the other side is gone. */
static void wake(struct shm *shm)
{
    char calls[64];
    struct iovec iov = {calls, sizeof calls};
    size_t moved;

    shm->slept = false;
    atomic_store_explicit(shm->asleep, 0, memory_order_relaxed);
    if (dhole__conn_recv(shm->lower, &iov, 1, &moved) != DHOLE_OK)
        shm->ended = true;
}

static void ring_doorbell(struct shm *shm)
{
    struct iovec iov = {"", 1};
    size_t moved;

    if (atomic_exchange(shm->peer_asleep, 0) != 0 &&
        dhole__conn_send(shm->lower, &iov, 1, &moved) != DHOLE_OK)
        shm->ended = true;
}

/* After a change that the other side may wait for. */
static inline void call_sleeper(struct shm *shm)
{
    if (atomic_load(shm->peer_asleep) != 0)
        ring_doorbell(shm);
}

static dhole_err send_pieces(struct shm *shm, const struct iovec *iov, int n, size_t *moved)
{
    struct dhole__walk walk = {iov, n, 0};
    size_t left = dhole__walk_left(walk);

    while (left > 0 && *moved < turn_max) {
        size_t put;
        if (!dhole__ring_has_room(&shm->out) || shm->out.bulk_free < left)
            shm->hostile |= !dhole__ring_reclaim(&shm->out);
        if (shm->hostile || !dhole__ring_has_room(&shm->out))
            break;
        put = dhole__ring_put(&shm->out, &walk, left);
        call_sleeper(shm);
        left -= put;
        *moved += put;
    }
    return *moved > 0 ? DHOLE_OK : check(shm);
}

static dhole_err shm_send(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    struct shm *shm = shm_of(conn);
    size_t size = dhole__line_size(iov, n);
    dhole_err err;

    *moved = 0;
    if (shm->slept)
        wake(shm);
    err = check(shm);
    if (err)
        return err;
    if (size == 0 || !dhole__ring_has_room(&shm->out))
        return send_pieces(shm, iov, n, moved);
    dhole__ring_put_line(&shm->out, iov, size);
    call_sleeper(shm);
    *moved = size;
    return DHOLE_OK;
}

static dhole_err recv_pieces(struct shm *shm, const struct iovec *iov, int n, size_t *moved)
{
    struct dhole__walk walk = {iov, n, 0};
    size_t left = dhole__walk_left(walk);

    while (left > 0 && !shm->hostile) {
        size_t got;
        if (!dhole__ring_has_piece(&shm->in))
            shm->hostile |= !dhole__ring_begin(&shm->in);
        if (!dhole__ring_has_piece(&shm->in))
            break;
        got = dhole__ring_take(&shm->in, &walk);
        left -= got;
        *moved += got;
        if (!dhole__ring_has_piece(&shm->in) && dhole__ring_report(&shm->in))
            call_sleeper(shm);
    }
    return *moved > 0 ? DHOLE_OK : check(shm);
}

static dhole_err shm_recv(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    struct shm *shm = shm_of(conn);

    *moved = 0;
    if (shm->slept)
        wake(shm);
    if (shm->hostile)
        return check(shm);
    if (!dhole__ring_has_piece(&shm->in)) {
        if (!dhole__ring_has_line(&shm->in))
            return check(shm);
        *moved = dhole__ring_take_line(&shm->in, iov, n);
    }
    if (*moved == 0)
        return recv_pieces(shm, iov, n, moved);
    if (dhole__ring_report(&shm->in))
        call_sleeper(shm);
    return DHOLE_OK;
}

static bool arm_open(struct shm *shm, bool want_send, bool want_recv)
{
    shm->slept = true;
    atomic_store(shm->asleep, 1);
    if (want_recv && (dhole__ring_has_piece(&shm->in) || dhole__ring_has_line(&shm->in)))
        return false;
    if (want_send)
        shm->hostile |= !dhole__ring_reclaim(&shm->out);
    return !(want_send && dhole__ring_has_room(&shm->out)) && check(shm) == DHOLE_OK;
}

static bool shm_arm(struct dhole__conn *conn, bool want_send, bool want_recv, struct pollfd *pfd)
{
    struct shm *shm = shm_of(conn);

    if (shm->stage != OPEN)
        return dhole__io_arm(&shm->io, pfd);
    return arm_open(shm, want_send, want_recv) &&
           shm->lower->ops->arm(shm->lower, false, true, pfd);
}

static void shm_shutdown(struct dhole__conn *conn)
{
    struct shm *shm = shm_of(conn);

    atomic_store(&shm->broken, true);
    shm->lower->ops->shutdown(shm->lower);
}

static void hide(struct shm *shm)
{
    if (shm->fd >= 0)
        dhole__segment_hide(shm->offer, shm->fd);
    shm->fd = -1;
}

/* Everything but the lower connection. */
static void shm_free(struct shm *shm)
{
    hide(shm);
    dhole__segment_close(&shm->segment);
    free(shm);
}

static void shm_close(struct dhole__conn *conn)
{
    dhole__conn_close(shm_of(conn)->lower);
    shm_free(shm_of(conn));
}

static const struct dhole__conn_ops shm_ops = {
    .name = "shm",
    .send = shm_send,
    .recv = shm_recv,
    .arm = shm_arm,
    .shutdown = shm_shutdown,
    .close = shm_close,
};

/* An offer of zeroes says that there is none. */
static void make_offer(struct shm *shm)
{
    if (dhole__segment_make(shm->bulk_size, shm->offer, &shm->fd, &shm->segment) != DHOLE_OK) {
        shm->fd = -1;
        memset(shm->offer, 0, sizeof shm->offer);
        dhole__message_save(shm->why);
    }
    shm->io = dhole__io_send(shm->lower, shm->offer, sizeof shm->offer, NULL, 0);
}

static void make_answer(struct shm *shm)
{
    if (dhole__segment_open(shm->offer, shm->bulk_size, &shm->segment) == DHOLE_OK)
        shm->answer = YES;
    else
        dhole__message_save(shm->why);
    shm->io = dhole__io_send(shm->lower, &shm->answer, 1, NULL, 0);
}

dhole_err dhole__shm_start(struct dhole__conn *lower, int side, size_t bulk_size,
                           struct dhole__conn **out)
{
    struct shm *shm = dhole__sys.calloc(1, sizeof *shm);

    if (shm == NULL)
        return dhole__fail_nomem(sizeof *shm, "a shared memory connection");
    shm->base.ops = &shm_ops;
    shm->lower = lower;
    shm->side = side;
    shm->bulk_size = bulk_size;
    shm->fd = -1;
    shm->answer = NO;
    if (side == 0)
        make_offer(shm);
    else
        shm->io = dhole__io_recv(lower, shm->offer, sizeof shm->offer, NULL, 0);
    *out = &shm->base;
    return DHOLE_OK;
}

/* Both sides know the answer. */
static dhole_err settle(struct shm *shm)
{
    hide(shm);
    if (shm->answer != YES)
        return dhole__fail(DHOLE_ERR_UNSUPPORTED, "no shared memory: %s",
                           shm->why[0] ? shm->why : "the peer could not make or open it");
    dhole__segment_rings(&shm->segment, shm->side, &shm->out, &shm->in);
    shm->asleep = dhole__segment_asleep(&shm->segment, shm->side);
    shm->peer_asleep = dhole__segment_asleep(&shm->segment, !shm->side);
    shm->stage = OPEN;
    return DHOLE_OK;
}

dhole_err dhole__shm_step(struct dhole__conn *conn, bool *done)
{
    struct shm *shm = shm_of(conn);
    dhole_err err = DHOLE_OK;

    while (!err && shm->stage != OPEN) {
        bool moved;
        err = dhole__io_step(&shm->io, 1, &moved);
        if (err || dhole__io_left(&shm->io) > 0)
            break;
        if (shm->stage == ANSWER) {
            err = settle(shm);
            continue;
        }
        shm->stage = ANSWER;
        if (shm->side == 0)
            shm->io = dhole__io_recv(shm->lower, &shm->answer, 1, NULL, 0);
        else
            make_answer(shm);
    }
    *done = shm->stage == OPEN;
    return err;
}

struct dhole__conn *dhole__shm_give_up(struct dhole__conn *conn)
{
    struct dhole__conn *lower = shm_of(conn)->lower;

    shm_free(shm_of(conn));
    return lower;
}

void dhole__shm_narrow(struct dhole__conn *conn, size_t bulk_size)
{
    struct shm *shm = shm_of(conn);

    if (conn->ops != &shm_ops)
        return;
    dhole__ring_narrow(&shm->out, bulk_size);
    if (shm->in.bulk_batch > bulk_size / dhole__ring_batch)
        shm->in.bulk_batch = bulk_size / dhole__ring_batch;
}
