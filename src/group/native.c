/* The native backends: the collectives of src/coll over a mesh of connections, watched by the
 * liveness thread. */
#include <stdlib.h>

#include "base/os.h"
#include "base/sys.h"
#include "coll/coll.h"
#include "group/backend.h"
#include "group/liveness.h"
#include "group/mesh.h"
#include "transport/shm/shm.h"

/* Shared memory of a lane, each way, and of all lanes of a host, where ranks are crowded. */
enum { crowded_bulk = 512 << 10, crowded_total = 3 << 20 };

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

/* Turns what a collective met into the group's verdict, which is the same on all ranks. */
static dhole_err settle(struct native *native, dhole_err err)
{
    int culprit = native->comm.culprit;

    if (err == DHOLE_OK)
        return DHOLE_OK;
    if (err == DHOLE_ERR_PEER_LOST && culprit >= 0)
        return dhole__liveness_report_broken(native->live, culprit);
    if (err == DHOLE_ERR_TIMEOUT && culprit >= 0)
        return dhole__liveness_report_late(native->live, culprit, native->comm.hearsay);
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
static dhole_err connect_all(const struct dhole__transport_ops *ops, enum dhole__lanes lanes,
                             const dhole_options *given, const int *other_fds,
                             struct dhole__mesh *mesh)
{
    char host[dhole__host_text_max];
    dhole_options options = *given;
    struct dhole__transport_config config = {
        .rank = options.rank,
        .size = options.size,
        .hosts = options.hosts,
        .listen_fd = options.listen_fd,
        .other_fds = other_fds,
        .session = options.session,
    };
    dhole__deadline deadline = dhole__deadline_in(options.connect_timeout_ms);
    struct dhole__transport *transport;
    dhole_err err;

    if (options.size == 1) {
        *mesh = (struct dhole__mesh){.size = 1};
        return DHOLE_OK;
    }
    if (options.host == NULL) {
        dhole__host_text(host);
        options.host = host;
    }
    err = dhole__transport_open(ops, &config, &transport);
    if (err)
        return err;
    err = dhole__mesh_open(transport, &options, lanes, deadline, mesh);
    dhole__transport_close(transport);
    return err;
}

/* Whether there are more ranks on this host than processors that they may run on, taken together:
 * ranks that are bound to one each do not crowd. */
static bool is_crowded(const struct dhole__mesh *mesh, uint8_t sets[][dhole__cpu_set_bytes])
{
    int ranks = 0, processors = 0;

    for (int rank = 0; rank < mesh->size; rank++)
        ranks += mesh->local[rank];
    for (int i = 0; i < dhole__cpu_set_bytes; i++) {
        unsigned any = 0;
        for (int rank = 0; rank < mesh->size; rank++)
            any |= mesh->local[rank] ? sets[rank][i] : 0;
        processors += __builtin_popcount(any);
    }
    return ranks > processors;
}

/* Ranks that take turns on a processor find in its cache what all of them left there, if that is
 * not much. */
static void narrow_lanes(const struct dhole__mesh *mesh)
{
    size_t ranks = 0, bulk = crowded_bulk;

    for (int rank = 0; rank < mesh->size; rank++)
        ranks += mesh->local[rank];
    while (bulk > dhole__bulk_min && bulk * ranks * (ranks - 1) > crowded_total)
        bulk /= 2;
    for (int rank = 0; rank < mesh->size; rank++)
        if (mesh->lane[rank] != NULL)
            dhole__shm_narrow(mesh->lane[rank], bulk);
}

/* The first calls, which return when all ranks are there: whether any host is crowded, as that
 * decides between algorithms. */
static dhole_err agree(struct native *native, dhole__deadline deadline)
{
    struct dhole__comm *comm = &native->comm;
    uint8_t sets[dhole__rank_max][dhole__cpu_set_bytes];
    uint8_t own[dhole__cpu_set_bytes];
    bool crowded;
    dhole_err err;

    dhole__cpu_set(own);
    err = dhole__all_gather(comm, own, sets, sizeof own, DHOLE_U8, deadline);
    if (err || comm->size == 1)
        return err;
    crowded = is_crowded(&native->mesh, sets);
    err = dhole__all_reduce(comm, DHOLE__MAX, &crowded, &comm->crowded, 1, DHOLE_BOOL, deadline);
    if (err == DHOLE_OK && comm->crowded)
        narrow_lanes(&native->mesh);
    return err;
}

static dhole_err open_over(const struct dhole__backend *backend,
                           const struct dhole__transport_ops *ops, enum dhole__lanes lanes,
                           const dhole_options *options, const int *other_fds, dhole_group **out)
{
    struct native *native = dhole__sys.calloc(1, sizeof *native);
    dhole_err err;

    if (native == NULL)
        return dhole__fail_nomem(sizeof *native, "a group");
    native->base = (struct dhole_group){.backend = backend,
                                        .rank = options->rank,
                                        .size = options->size,
                                        .timeout_ms = options->timeout_ms};
    native->sealed = options->identity != NULL;
    native->comm.rank = options->rank;
    native->comm.size = options->size;
    err = connect_all(ops, lanes, options, other_fds, &native->mesh);
    if (err == DHOLE_OK)
        err = dhole__comm_init(&native->comm);
    if (err == DHOLE_OK)
        err = dhole__liveness_start(&native->mesh, options->silence_ms, options->connect_timeout_ms,
                                    &native->live);
    if (err == DHOLE_OK) {
        for (int peer = 0; peer < options->size; peer++)
            native->comm.lane[peer] = native->mesh.lane[peer];
        dhole__topology_init(&native->comm.topology, native->mesh.host, options->size);
        err = settle(native, agree(native, dhole__deadline_in(options->connect_timeout_ms)));
    }
    if (err) {
        native_close(&native->base);
        return err;
    }
    dhole__liveness_all_here(native->live);
    *out = &native->base;
    return DHOLE_OK;
}

static dhole_err native_check(dhole_group *group)
{
    return dhole__liveness_check(native_of(group)->live);
}

static dhole_err native_fail(dhole_group *group, dhole_err err)
{
    return dhole__liveness_report(native_of(group)->live, err, group->rank);
}

static struct dhole__liveness *native_liveness(dhole_group *group)
{
    return native_of(group)->live;
}

static void native_set_idle(dhole_group *group, int (*run)(void *arg), void *arg)
{
    native_of(group)->comm.idle = (struct dhole__idle){run, arg};
}

static uint64_t traffic(const struct dhole__conn *conn)
{
    return conn != NULL ? conn->sent + conn->received : 0;
}

static void native_stats(const dhole_group *group, dhole_stats *stats)
{
    const struct native *native = (const struct native *)group;
    uint64_t *over_connections = native->sealed ? &stats->sealed_bytes : &stats->plain_bytes;

    *stats = (dhole_stats){0};
    for (int peer = 0; peer < group->size; peer++) {
        bool memory = native->mesh.memory[peer];
        *(memory ? &stats->memory_bytes : over_connections) += traffic(native->mesh.lane[peer]);
        *over_connections += traffic(native->mesh.control[peer]);
    }
}

static dhole_err native_barrier(dhole_group *group, dhole__deadline deadline)
{
    struct native *n = native_of(group);

    return settle(n, dhole__barrier(&n->comm, deadline));
}

static dhole_err native_all_reduce(dhole_group *group, enum dhole__op op, const void *in, void *out,
                                   size_t count, dhole_dtype dtype, dhole__deadline deadline)
{
    struct native *n = native_of(group);

    return settle(n, dhole__all_reduce(&n->comm, op, in, out, count, dtype, deadline));
}

static dhole_err native_all_gather(dhole_group *group, const void *in, void *out, size_t count,
                                   dhole_dtype dtype, dhole__deadline deadline)
{
    struct native *n = native_of(group);

    return settle(n, dhole__all_gather(&n->comm, in, out, count, dtype, deadline));
}

static dhole_err native_broadcast(dhole_group *group, void *data, size_t count, dhole_dtype dtype,
                                  int root, dhole__deadline deadline)
{
    struct native *n = native_of(group);

    return settle(n, dhole__broadcast(&n->comm, data, count, dtype, root, deadline));
}

static dhole_err native_send(dhole_group *group, const void *data, size_t count, dhole_dtype dtype,
                             int to, dhole__deadline deadline)
{
    struct native *n = native_of(group);

    return settle(n, dhole__send(&n->comm, data, count, dtype, to, deadline));
}

static dhole_err native_recv(dhole_group *group, void *data, size_t count, dhole_dtype dtype,
                             int from, dhole__deadline deadline)
{
    struct native *n = native_of(group);

    return settle(n, dhole__recv(&n->comm, data, count, dtype, from, deadline));
}

static dhole_err native_sendrecv(dhole_group *group, const void *in, size_t in_count, int to,
                                 void *out, size_t out_count, int from, dhole_dtype dtype,
                                 dhole__deadline deadline)
{
    struct native *n = native_of(group);

    return settle(
        n, dhole__sendrecv(&n->comm, in, in_count, to, out, out_count, from, dtype, deadline));
}

static dhole_err native_sum_scatter(dhole_group *group, const void *in, void *out, size_t count,
                                    dhole_dtype dtype, dhole__deadline deadline)
{
    struct native *n = native_of(group);

    return settle(n, dhole__sum_scatter(&n->comm, in, out, count, dtype, deadline));
}

static dhole_err native_all_to_all(dhole_group *group, const void *in, void *out, size_t count,
                                   dhole_dtype dtype, dhole__deadline deadline)
{
    struct native *n = native_of(group);

    return settle(n, dhole__all_to_all(&n->comm, in, out, count, dtype, deadline));
}

static void native_send_start(dhole_group *group, struct dhole__message *message, const void *data,
                              size_t count, dhole_dtype dtype, int to, dhole__deadline deadline)
{
    dhole__send_start(message, &native_of(group)->comm, data, count, dtype, to, deadline);
}

static void native_recv_start(dhole_group *group, struct dhole__message *message, void *data,
                              size_t count, dhole_dtype dtype, int from, dhole__deadline deadline)
{
    dhole__recv_start(message, &native_of(group)->comm, data, count, dtype, from, deadline);
}

static dhole_err native_message_step(dhole_group *group, struct dhole__message *message,
                                     bool *moved)
{
    return settle(native_of(group), dhole__message_step(message, moved));
}

static dhole_err open_tcp(const dhole_options *options, const int *other_fds, dhole_group **out)
{
    return open_over(&dhole__backend_tcp, &dhole__transport_tcp, DHOLE__LANES_RING, options,
                     other_fds, out);
}

static dhole_err open_shm(const dhole_options *options, const int *other_fds, dhole_group **out)
{
    return open_over(&dhole__backend_shm, &dhole__transport_tcp, DHOLE__LANES_SHM, options,
                     other_fds, out);
}

static dhole_err open_any(const dhole_options *options, const int *other_fds, dhole_group **out)
{
    return open_over(&dhole__backend_any, &dhole__transport_tcp, DHOLE__LANES_ANY, options,
                     other_fds, out);
}

static dhole_err open_mem(const dhole_options *options, const int *other_fds, dhole_group **out)
{
    return open_over(&dhole__backend_mem, &dhole__transport_mem, DHOLE__LANES_RING, options,
                     other_fds, out);
}

/* The backends differ in what their connections are made of only. */
#define NATIVE(transport, addresses)                                                         \
    {                                                                                        \
        .name = #transport, .has_addresses = addresses, .open = open_##transport,            \
        .close = native_close, .check = native_check, .liveness = native_liveness,           \
        .fail = native_fail, .set_idle = native_set_idle, .stats = native_stats,             \
        .barrier = native_barrier, .all_reduce = native_all_reduce,                          \
        .all_gather = native_all_gather, .broadcast = native_broadcast, .send = native_send, \
        .recv = native_recv, .sendrecv = native_sendrecv, .sum_scatter = native_sum_scatter, \
        .all_to_all = native_all_to_all, .send_start = native_send_start,                    \
        .recv_start = native_recv_start, .message_step = native_message_step                 \
    }

const struct dhole__backend dhole__backend_tcp = NATIVE(tcp, true);
const struct dhole__backend dhole__backend_shm = NATIVE(shm, true);
const struct dhole__backend dhole__backend_any = NATIVE(any, true);
const struct dhole__backend dhole__backend_mem = NATIVE(mem, false);
