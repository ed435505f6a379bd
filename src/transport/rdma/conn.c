/* The connection: a filter over the lower one, whose bytes go through the rails that the two sides
 * have agreed on. */
#include <stdio.h>
#include <stdlib.h>

#include "base/sys.h"
#include "transport/rails.h"
#include "transport/rdma/agree.h"
#include "transport/rdma/devices.h"

_Static_assert((int)dhole__rdma_devices_max <= (int)dhole__rails_max, "each may be a rail");

struct rdma_conn {
    struct dhole__conn base;
    struct dhole__link link;
    struct dhole__agreement *agreement; /* NULL: it is reached */
    struct dhole__rail *rail[dhole__rdma_devices_max];
    struct dhole__conn *stream; /* the only rail, or all of them joined */
};

static struct rdma_conn *conn_of(struct dhole__conn *conn)
{
    return (struct rdma_conn *)conn;
}

static dhole_err rdma_send(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    struct dhole__conn *stream = conn_of(conn)->stream;

    return stream->ops->send(stream, iov, n, moved);
}

static dhole_err rdma_recv(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    struct dhole__conn *stream = conn_of(conn)->stream;

    return stream->ops->recv(stream, iov, n, moved);
}

static bool rdma_arm(struct dhole__conn *conn, bool want_send, bool want_recv, struct pollfd *pfd)
{
    struct rdma_conn *rdma = conn_of(conn);

    if (rdma->agreement != NULL)
        return dhole__agree_arm(rdma->agreement, pfd);
    return rdma->stream->ops->arm(rdma->stream, want_send, want_recv, pfd);
}

static void rdma_shutdown(struct dhole__conn *conn)
{
    struct dhole__link *link = &conn_of(conn)->link;

    atomic_store(&link->broken, true);
    link->lower->ops->shutdown(link->lower);
}

/* All but the lower connection. */
static void rdma_free(struct rdma_conn *rdma)
{
    dhole__agree_free(rdma->agreement);
    if (rdma->link.rails > 1)
        dhole__conn_close(rdma->stream);
    for (int i = 0; i < rdma->link.rails; i++) {
        dhole__rail_free(rdma->rail[i]);
        free(rdma->rail[i]);
    }
    free(rdma);
}

/* Lets what was sent arrive, and tells how much that was. */
static void leave(struct rdma_conn *rdma)
{
    uint32_t sent[dhole__rdma_devices_max];

    for (int i = 0; i < rdma->link.rails; i++) {
        dhole__rail_linger(rdma->rail[i]);
        sent[i] = rdma->rail[i]->sequence;
    }
    if (!atomic_load(&rdma->link.broken) && !rdma->link.ended)
        dhole__link_say_last(&rdma->link, sent);
}

static void rdma_close(struct dhole__conn *conn)
{
    struct rdma_conn *rdma = conn_of(conn);

    if (rdma->link.open)
        leave(rdma);
    dhole__conn_close(rdma->link.lower);
    rdma_free(rdma);
}

static const struct dhole__conn_ops rdma_ops = {
    .name = "rdma",
    .send = rdma_send,
    .recv = rdma_recv,
    .arm = rdma_arm,
    .shutdown = rdma_shutdown,
    .close = rdma_close,
};

static dhole_err find_devices(const struct dhole__rdma *rdma, const char *const *names, int n,
                              struct dhole__agree_with *with)
{
    if (n < 1 || n > dhole__rdma_devices_max)
        return dhole__fail(DHOLE_ERR_CONFIG, "%d RDMA devices lead to rank %d, expected 1 to %d", n,
                           with->link->peer, dhole__rdma_devices_max);
    for (int i = 0; i < n; i++) {
        int number = dhole__rdma_find(rdma, names[i]);
        if (number < 0)
            return dhole__fail(DHOLE_ERR_INVALID, "RDMA device %s was not opened", names[i]);
        with->device[i] = rdma->device[number];
        with->device_number[i] = number;
    }
    with->n = n;
    return DHOLE_OK;
}

dhole_err dhole__rdma_start(struct dhole__rdma *rdma, struct dhole__conn *lower, int side, int peer,
                            const char *const *devices, int n, struct dhole__conn **out)
{
    struct rdma_conn *conn = dhole__sys.calloc(1, sizeof *conn);
    struct dhole__agree_with with = {.blocks = &rdma->blocks, .side = side};
    dhole_err err;

    if (conn == NULL)
        return dhole__fail_nomem(sizeof *conn, "an RDMA connection");
    conn->base.ops = &rdma_ops;
    conn->link.lower = lower;
    conn->link.peer = peer;
    with.link = &conn->link;
    err = find_devices(rdma, devices, n, &with);
    if (!err)
        err = dhole__agree_start(&with, &conn->agreement);
    if (err)
        free(conn);
    else
        *out = &conn->base;
    return err;
}

static dhole_err join_rails(struct rdma_conn *rdma)
{
    struct dhole__conn *rail[dhole__rdma_devices_max] = {NULL};
    char name[dhole__rdma_devices_max][dhole__device_name_max];
    const char *names[dhole__rdma_devices_max];
    dhole_err err;

    for (int i = 0; i < rdma->link.rails; i++) {
        const struct dhole__device *device = rdma->rail[i]->qp.device;
        rail[i] = &rdma->rail[i]->base;
        snprintf(name[i], sizeof name[i], "%s", device->name);
        names[i] = name[i];
    }
    rdma->stream = rail[0];
    if (rdma->link.rails == 1)
        return DHOLE_OK;
    err = dhole__rails_open(rail, names, rdma->link.rails, dhole__rails_chunk, &rdma->stream);
    if (!err)
        dhole__rails_receive_in_turn(rdma->stream); /* a seal above moves what it has read ahead */
    return err;
}

dhole_err dhole__rdma_step(struct dhole__conn *conn, bool *done)
{
    struct rdma_conn *rdma = conn_of(conn);
    dhole_err err;

    *done = false;
    err = dhole__agree_step(rdma->agreement, done);
    if (err || !*done)
        return err;
    rdma->link.rails = dhole__agree_take(rdma->agreement, rdma->rail);
    dhole__agree_free(rdma->agreement);
    rdma->agreement = NULL;
    err = join_rails(rdma);
    rdma->link.open = !err;
    *done = !err;
    return err;
}

dhole__deadline dhole__rdma_wake(const struct dhole__conn *conn)
{
    const struct rdma_conn *rdma = (const struct rdma_conn *)conn;

    return rdma->agreement != NULL ? dhole__agree_wake(rdma->agreement) : INT64_MAX;
}

struct dhole__conn *dhole__rdma_give_up(struct dhole__conn *conn)
{
    struct dhole__conn *lower = conn_of(conn)->link.lower;

    rdma_free(conn_of(conn));
    return lower;
}
