/* The native backend: the collectives of src/coll over a mesh of one transport's
 * connections, watched by the liveness thread. */
#include <stdlib.h>

#include "base/sys.h"
#include "coll/coll.h"
#include "group/backend.h"
#include "group/liveness.h"
#include "group/mesh.h"

struct native {
    struct dhole_group base;
    bool sealed;
    struct dhole__mesh mesh;
    struct dhole__comm comm;
    struct dhole__liveness *live;
};

static struct native *native_of(dhole_group *group)
{
    return (struct native *)group;
}

static dhole__deadline call_deadline(const struct native *native)
{
    return dhole__deadline_in(native->base.timeout_ms);
}

/* Turns what a collective met into the group's verdict, which is the same on all ranks. */
static dhole_err settle(struct native *native, dhole_err err)
{
    int culprit = native->comm.culprit;

    if (err == DHOLE_OK)
        return DHOLE_OK;
    if (err == DHOLE_ERR_PEER_LOST && culprit >= 0)
        return dhole__liveness_report_broken(native->live, culprit);
    return dhole__liveness_report(native->live, err, culprit >= 0 ? culprit : native->base.rank);
}

static void native_close(dhole_group *group)
{
    struct native *native = native_of(group);

    dhole__liveness_stop(native->live);
    dhole__comm_free(&native->comm);
    dhole__mesh_close(&native->mesh);
    free(native);
}

/* The transport is only needed to connect. It is closed before the barrier, so that whoever
 * is through can make its next group at once without meeting this one's listener. */
static dhole_err connect_all(const struct dhole__transport_ops *ops, const dhole_options *options,
                             struct dhole__mesh *mesh)
{
    struct dhole__transport_config config = {
        .rank = options->rank,
        .size = options->size,
        .hosts = options->hosts,
        .listen_fd = options->listen_fd,
        .session = options->session,
    };
    dhole__deadline deadline = dhole__deadline_in(options->connect_timeout_ms);
    struct dhole__transport *transport;
    dhole_err err;

    if (options->size == 1) {
        *mesh = (struct dhole__mesh){.size = 1};
        return DHOLE_OK;
    }
    err = dhole__transport_open(ops, &config, &transport);
    if (err)
        return err;
    err = dhole__mesh_open(transport, options, deadline, mesh);
    dhole__transport_close(transport);
    return err;
}

static dhole_err open_over(const struct dhole__backend *backend,
                           const struct dhole__transport_ops *ops, const dhole_options *options,
                           dhole_group **out)
{
    struct native *native = dhole__sys.calloc(1, sizeof *native);
    dhole_err err;

    if (native == NULL)
        return dhole__fail_nomem(sizeof *native, "a group");
    native->base = (struct dhole_group){.backend = backend,
                                        .rank = options->rank,
                                        .size = options->size,
                                        .timeout_ms = options->connect_timeout_ms};
    native->sealed = options->identity != NULL;
    native->comm.rank = options->rank;
    native->comm.size = options->size;
    err = connect_all(ops, options, &native->mesh);
    if (err == DHOLE_OK)
        err = dhole__comm_init(&native->comm);
    if (err == DHOLE_OK)
        err = dhole__liveness_start(&native->mesh, options->silence_ms, options->connect_timeout_ms,
                                    &native->live);
    if (err == DHOLE_OK) {
        for (int peer = 0; peer < options->size; peer++)
            native->comm.lane[peer] = native->mesh.lane[peer];
        err = settle(native, dhole__barrier(&native->comm, call_deadline(native)));
    }
    if (err) {
        native_close(&native->base);
        return err;
    }
    native->base.timeout_ms = options->timeout_ms;
    *out = &native->base;
    return DHOLE_OK;
}

static dhole_err native_check(dhole_group *group)
{
    return dhole__liveness_check(native_of(group)->live);
}

static void native_abort(dhole_group *group, const char *why)
{
    dhole_err err =
        dhole__fail(DHOLE_ERR_ABORTED, "rank %d aborted the group: %s", group->rank, why);

    /* What stands is what the next call returns. */
    err = dhole__liveness_report(native_of(group)->live, err, group->rank);
    (void)err;
}

static void native_set_idle(dhole_group *group, int (*run)(void *arg), void *arg)
{
    native_of(group)->comm.idle = (struct dhole__idle){run, arg};
}

static void native_stats(const dhole_group *group, dhole_stats *stats)
{
    const struct native *native = (const struct native *)group;
    uint64_t bytes = 0;

    for (int peer = 0; peer < group->size; peer++)
        if (native->mesh.lane[peer] != NULL)
            bytes += native->mesh.lane[peer]->sent + native->mesh.lane[peer]->received;
    *stats =
        native->sealed ? (dhole_stats){.sealed_bytes = bytes} : (dhole_stats){.plain_bytes = bytes};
}

static dhole_err native_barrier(dhole_group *group)
{
    struct native *n = native_of(group);

    return settle(n, dhole__barrier(&n->comm, call_deadline(n)));
}

static dhole_err native_all_reduce(dhole_group *group, enum dhole__op op, const void *in, void *out,
                                   size_t count, dhole_dtype dtype)
{
    struct native *n = native_of(group);

    return settle(n, dhole__all_reduce(&n->comm, op, in, out, count, dtype, call_deadline(n)));
}

static dhole_err native_all_gather(dhole_group *group, const void *in, void *out, size_t count,
                                   dhole_dtype dtype)
{
    struct native *n = native_of(group);

    return settle(n, dhole__all_gather(&n->comm, in, out, count, dtype, call_deadline(n)));
}

static dhole_err native_broadcast(dhole_group *group, void *data, size_t count, dhole_dtype dtype,
                                  int root)
{
    struct native *n = native_of(group);

    return settle(n, dhole__broadcast(&n->comm, data, count, dtype, root, call_deadline(n)));
}

static dhole_err native_send(dhole_group *group, const void *data, size_t count, dhole_dtype dtype,
                             int to)
{
    struct native *n = native_of(group);

    return settle(n, dhole__send(&n->comm, data, count, dtype, to, call_deadline(n)));
}

static dhole_err native_recv(dhole_group *group, void *data, size_t count, dhole_dtype dtype,
                             int from)
{
    struct native *n = native_of(group);

    return settle(n, dhole__recv(&n->comm, data, count, dtype, from, call_deadline(n)));
}

static dhole_err open_tcp(const dhole_options *options, dhole_group **out)
{
    return open_over(&dhole__backend_tcp, &dhole__transport_tcp, options, out);
}

static dhole_err open_mem(const dhole_options *options, dhole_group **out)
{
    return open_over(&dhole__backend_mem, &dhole__transport_mem, options, out);
}

/* The backends differ in their transport only. */
#define NATIVE(transport)                                                                    \
    {                                                                                        \
        .name = #transport, .open = open_##transport, .close = native_close,                 \
        .check = native_check, .abort = native_abort, .set_idle = native_set_idle,           \
        .stats = native_stats, .barrier = native_barrier, .all_reduce = native_all_reduce,   \
        .all_gather = native_all_gather, .broadcast = native_broadcast, .send = native_send, \
        .recv = native_recv                                                                  \
    }

const struct dhole__backend dhole__backend_tcp = NATIVE(tcp);
const struct dhole__backend dhole__backend_mem = NATIVE(mem);
