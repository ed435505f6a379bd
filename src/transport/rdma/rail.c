#include "transport/rdma/rail.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/os.h"
#include "base/sys.h"
#include "transport/rdma/events.h"
#include "transport/rdma/rail_parts.h"

enum { linger_ms = 3000, grace_ns = 200000000 /* for messages that the end overtook */ };

/* Whether there may be messages that were sent before the other side ended. */
static bool may_still_come(const struct dhole__rail *rail, uint32_t *missing)
{
    uint32_t last;

    *missing = 0;
    if (!dhole__link_last(rail->link, rail->number, &last))
        return false;
    *missing = last - rail->expected <= INT32_MAX ? last - rail->expected : 0;
    return *missing > 0 && dhole__now() - rail->link->ended_at < grace_ns;
}

/* Why nothing moves, if there is a reason. */
static dhole_err check(const struct dhole__rail *rail)
{
    uint32_t missing;

    if (rail->err)
        return dhole__fail(rail->err, "%s", rail->why);
    if (atomic_load_explicit(&rail->link->broken, memory_order_relaxed))
        return dhole__fail(DHOLE_ERR_PEER_LOST, "the connection was closed");
    if (!rail->link->ended || may_still_come(rail, &missing))
        return DHOLE_OK;
    return missing > 0 ? dhole__rail_lost(rail, missing)
                       : dhole__fail(DHOLE_ERR_PEER_LOST, "the connection was closed");
}

/* After a sleep. */
static void wake(struct dhole__rail *rail)
{
    dhole_err err = dhole__events_look(rail->qp.device);

    rail->slept = false;
    if (err)
        dhole__rail_fail(rail, err);
    if (rail->link->open)
        dhole__link_look(rail->link);
}

static dhole_err rail_send(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    struct dhole__rail *rail = (struct dhole__rail *)conn;
    struct dhole__walk walk = {iov, n, 0};
    size_t left = dhole__walk_left(walk);
    dhole_err err;

    *moved = 0;
    if (rail->slept)
        wake(rail);
    err = check(rail);
    if (err)
        return err;
    if (rail->ahead > 0)
        dhole__rail_progress(rail);
    if (left < rail->ahead + rail->ready)
        return dhole__fail(DHOLE_ERR_INVALID, "%zu bytes are fewer than were offered before", left);
    dhole__walk_skip(&walk, rail->ahead + rail->ready);
    dhole__rail_send_all(rail, walk, left - rail->ahead - rail->ready);
    *moved = rail->ready;
    rail->ready = 0;
    return *moved > 0 ? DHOLE_OK : check(rail);
}

static dhole_err rail_recv(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    struct dhole__rail *rail = (struct dhole__rail *)conn;
    struct dhole__walk walk = {iov, n, 0};
    size_t left = dhole__walk_left(walk);

    *moved = 0;
    if (rail->slept)
        wake(rail);
    while (left > 0) {
        size_t got;
        if (rail->arrived == rail->taken) {
            dhole__rail_progress(rail);
            dhole__rail_give_credit(rail); /* if there was no room to when it was due */
            if (rail->arrived == rail->taken)
                break;
        }
        got = dhole__rail_take_out(rail, &walk);
        left -= got;
        *moved += got;
        dhole__rail_give_credit(rail);
    }
    return *moved > 0 ? DHOLE_OK : check(rail);
}

/* Sleeping. */

/* What to poll for: a completion, news of the device, or news on the lower connection. */
static bool poll_for(struct dhole__rail *rail, struct pollfd *pfd)
{
    struct dhole__conn *lower = rail->link->lower;
    int events = rail->qp.device->events;
    struct pollfd low;

    if (!lower->ops->arm(lower, false, true, &low))
        return false;
    if (rail->qp.channel == NULL) {
        dhole__sys.poll(&low, 1, 1); /* nobody would wake us: a nap */
        return false;
    }
    if (rail->watch < 0 || rail->watched != low.fd) {
        if (rail->watch >= 0)
            close(rail->watch);
        rail->watch =
            dhole__watch_make((int[]){rail->qp.channel->fd, low.fd, events}, events >= 0 ? 3 : 2);
        rail->watched = low.fd;
    }
    if (rail->watch < 0)
        dhole__rail_fail(rail,
                         dhole__fail_errno(DHOLE_ERR_SYSTEM, "making a descriptor to sleep on"));
    *pfd = (struct pollfd){.fd = rail->watch, .events = POLLIN};
    return rail->watch >= 0;
}

static bool rail_arm(struct dhole__conn *conn, bool want_send, bool want_recv, struct pollfd *pfd)
{
    struct dhole__rail *rail = (struct dhole__rail *)conn;
    dhole_err err;

    rail->slept = true;
    err = rail->qp.channel != NULL ? dhole__qp_request(&rail->qp) : DHOLE_OK;
    if (err)
        dhole__rail_fail(rail, err);
    /* Anything that has completed may be what an earlier arm is waiting for. */
    if (dhole__rail_progress(rail) || rail->err || rail->link->ended)
        return false;
    if (want_recv && rail->arrived != rail->taken)
        return false;
    if (want_send && (rail->ready > 0 || (rail->ahead == 0 && dhole__rail_may_send(rail) &&
                                          dhole__rail_has_slot(rail))))
        return false;
    return poll_for(rail, pfd);
}

static void rail_shutdown(struct dhole__conn *conn)
{
    struct dhole__link *link = ((struct dhole__rail *)conn)->link;

    atomic_store(&link->broken, true);
    link->lower->ops->shutdown(link->lower);
}

/* Rails belong to the connection that is made of them. */
static void rail_close(struct dhole__conn *conn)
{
    (void)conn;
}

static const struct dhole__conn_ops rail_ops = {
    .name = "rdma rail",
    .send = rail_send,
    .recv = rail_recv,
    .arm = rail_arm,
    .shutdown = rail_shutdown,
    .close = rail_close,
};

dhole_err dhole__rail_open(struct dhole__rail *rail, struct dhole__link *link,
                           struct dhole__blocks *blocks, struct dhole__device *device,
                           int device_number, const struct dhole__rdma_shape *shape, uint16_t tag)
{
    dhole_err err;

    *rail = (struct dhole__rail){.base.ops = &rail_ops,
                                 .link = link,
                                 .blocks = blocks,
                                 .device_number = device_number,
                                 .tag = tag,
                                 .watch = -1};
    err = dhole__qp_open(&rail->qp, device, shape, link->peer);
    if (!err && (rail->lease = dhole__device_lease(device)) == NULL)
        err = dhole__fail(DHOLE_ERR_LIMIT, "more than %d peers are reached through RDMA device %s",
                          device->leases, device->name);
    for (uint32_t i = 0; !err && i < dhole__shape_receives(shape); i++) {
        dhole__rail_post_receive(rail, i);
        err = rail->err;
    }
    if (err)
        dhole__rail_free(rail);
    return err;
}

/* Whether all that was sent has arrived, or never will. */
static bool is_over(struct dhole__rail *rail)
{
    dhole__rail_progress(rail);
    dhole__link_look(rail->link);
    return rail->err || rail->link->ended || dhole__rail_idle(rail);
}

void dhole__rail_linger(struct dhole__rail *rail)
{
    dhole__deadline deadline = dhole__deadline_in(linger_ms);

    if (atomic_load(&rail->link->broken) || is_over(rail))
        return;
    dhole__rail_send_last(rail);
    while (!is_over(rail) && dhole__now() < deadline) {
        struct pollfd pfd;
        struct dhole__conn *lower = rail->link->lower;
        if (lower->ops->arm(lower, false, true, &pfd))
            dhole__sys.poll(&pfd, 1, 1);
    }
}

void dhole__rail_free(struct dhole__rail *rail)
{
    dhole__qp_close(&rail->qp);
    if (rail->lease != NULL)
        dhole__device_return(rail->qp.device, rail->lease);
    if (rail->watch >= 0)
        close(rail->watch);
}
