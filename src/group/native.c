/* The native backends: the collectives of src/coll over a mesh of connections, watched by the
 * liveness thread. */
#include <stdlib.h>

#include "base/os.h"
#include "base/sys.h"
#include "coll/coll.h"
#include "group/backend.h"
#include "group/groups.h"
#include "group/liveness.h"
#include "group/mesh.h"
#include "group/request.h"
#include "transport/shm/shm.h"

/* Shared memory of a lane, each way, and of all lanes of a host, where ranks are crowded. */
enum { crowded_bulk = 512 << 10, crowded_total = 3 << 20 };

struct native {
    struct dhole_group base;
    bool sealed, sealed_rdma;
    struct dhole__mesh mesh;
    struct dhole__comm comm;
    struct dhole__liveness *live;
    struct dhole__entry entry;
};

static struct native *native_of(dhole_group *group)
{
    return (struct native *)group;
}

/* Nobody came in time. One who waits as well, for this rank and elsewhere, disagrees with it. */
static dhole_err settle_late(struct native *native, int culprit)
{
    dhole_err err = dhole__liveness_deadlock(native->live, &culprit);
    pthread_t thread = pthread_self();

    if (err != DHOLE_OK)
        return dhole__liveness_report(native->live, err, culprit);
    if (!dhole__busy(&native->base) || dhole__queue_waits_for(&native->base, culprit, &thread))
        err = dhole__groups_mismatch(&native->entry, culprit, thread);
    return err ? err : dhole__liveness_report_late(native->live, culprit, native->comm.hearsay);
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
        return settle_late(native, culprit);
    return dhole__liveness_report(native->live, err, culprit >= 0 ? culprit : native->base.rank);
}

static void note_wait(void *arg, const struct dhole__waits *waits)
{
    struct native *native = arg;

    if (!dhole__busy(&native->base))
        atomic_store(&native->base.thread, pthread_self());
    dhole__liveness_wait(native->live, waits);
}

static void native_close(dhole_group *group)
{
    struct native *native = native_of(group);

    dhole__groups_remove(&native->entry);
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
    dhole__deadline deadline = dhole__deadline_in(options.connect_timeout_ms);
    struct dhole__transport_config config = {
        .rank = options.rank,
        .size = options.size,
        .hosts = options.hosts,
        .listen_fd = options.listen_fd,
        .other_fds = other_fds,
        .session = options.session,
        .on_host = options.identity == NULL && !options.allow_plain,
        .deadline = deadline,
    };
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

/* Whether this rank's RDMA leads to its neighbours, and to nobody else. */
static bool is_in_ring(const struct dhole__mesh *mesh)
{
    int next = (mesh->rank + 1) % mesh->size, before = (mesh->rank + mesh->size - 1) % mesh->size;
    bool others = false;

    for (int peer = 0; peer < mesh->size; peer++)
        others |= mesh->devices[peer] && peer != next && peer != before;
    return mesh->size > 3 && mesh->devices[next] && mesh->devices[before] && !others;
}

/* The first calls, which return when all ranks are there: whether any host is crowded, and whether
 * all are in a ring, as that decides between algorithms. */
static dhole_err agree(struct native *native, dhole__deadline deadline)
{
    struct dhole__comm *comm = &native->comm;
    uint8_t sets[dhole__rank_max][dhole__cpu_set_bytes];
    uint8_t own[dhole__cpu_set_bytes];
    struct {
        bool crowded, no_ring;
    } here, anywhere;
    dhole_err err;

    dhole__cpu_set(own);
    err = dhole__all_gather(comm, own, sets, sizeof own, DHOLE_U8, deadline);
    if (err || comm->size == 1)
        return err;
    here.crowded = is_crowded(&native->mesh, sets);
    here.no_ring = !is_in_ring(&native->mesh);
    err = dhole__all_reduce(comm, DHOLE__MAX, &here, &anywhere, sizeof here, DHOLE_BOOL, deadline);
    if (err)
        return err;
    comm->crowded = anywhere.crowded;
    comm->ring = !anywhere.no_ring;
    if (comm->crowded)
        narrow_lanes(&native->mesh);
    return DHOLE_OK;
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
    native->sealed_rdma = native->sealed && options->seal_rdma;
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
        native->comm.on_wait = note_wait;
        native->comm.on_wait_arg = native;
        err = settle(native, agree(native, dhole__deadline_in(options->connect_timeout_ms)));
    }
    if (err) {
        native_close(&native->base);
        return err;
    }
    dhole__liveness_all_here(native->live);
    dhole__groups_add(&native->entry, &native->base, &native->comm, native->live);
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

static struct dhole__rdma *native_rdma(dhole_group *group)
{
    return native_of(group)->mesh.rdma;
}

static void native_set_idle(dhole_group *group, int (*run)(void *arg), void *arg)
{
    struct dhole__idle *idle = &native_of(group)->comm.idle;

    idle->run = run;
    idle->arg = arg;
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
        uint64_t *over_lane = over_connections;
        if (native->mesh.memory[peer])
            over_lane = &stats->memory_bytes;
        else if (native->mesh.devices[peer] && !native->sealed_rdma)
            over_lane = &stats->plain_bytes;
        *over_lane += traffic(native->mesh.lane[peer]);
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

static void native_messages_wait(dhole_group *group, const struct dhole__message *const *messages,
                                 int count)
{
    dhole__comm_wait(&native_of(group)->comm, messages, count);
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

static dhole_err open_jaccl(const dhole_options *options, const int *other_fds, dhole_group **out)
{
    return open_over(&dhole__backend_jaccl, &dhole__transport_tcp, DHOLE__LANES_RDMA, options,
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
        .rdma = native_rdma, .fail = native_fail, .set_idle = native_set_idle,               \
        .stats = native_stats, .barrier = native_barrier, .all_reduce = native_all_reduce,   \
        .all_gather = native_all_gather, .broadcast = native_broadcast, .send = native_send, \
        .recv = native_recv, .sendrecv = native_sendrecv, .sum_scatter = native_sum_scatter, \
        .all_to_all = native_all_to_all, .send_start = native_send_start,                    \
        .recv_start = native_recv_start, .message_step = native_message_step,                \
        .messages_wait = native_messages_wait                                                \
    }

const struct dhole__backend dhole__backend_tcp = NATIVE(tcp, true);
const struct dhole__backend dhole__backend_shm = NATIVE(shm, true);
const struct dhole__backend dhole__backend_jaccl = NATIVE(jaccl, true);
const struct dhole__backend dhole__backend_any = NATIVE(any, true);
const struct dhole__backend dhole__backend_mem = NATIVE(mem, false);
