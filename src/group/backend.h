/* What a group's backend must do; group.c checks arguments and keeps the sticky error,
 * so these see valid calls on an unbroken group only. */
#ifndef DHOLE_GROUP_BACKEND_H
#define DHOLE_GROUP_BACKEND_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "coll/comm.h"
#include "dhole/group.h"
#include "reduce/reduce.h"

struct dhole__liveness;
struct dhole__queue;
struct dhole__rdma;
struct dhole__settings;

/* First member of every backend's group. */
struct dhole_group {
    const struct dhole__backend *backend;
    int rank, size;
    int64_t timeout_ms;
    int64_t next_timeout_ms; /* of the next call alone; 0: timeout_ms */
    dhole_err broken;        /* what every later call returns */
    char why[1024];
    struct dhole__settings *settings;
    /* Each rank's number in the group that this one was split or shrunk from, and so on. */
    uint8_t origin[dhole__rank_max];
    int splits;                 /* so far */
    struct dhole__queue *queue; /* NULL until the first non-blocking call */
    atomic_int outstanding;   /* non-blocking calls that are not done: the lanes are the queue's */
    _Atomic pthread_t thread; /* that has made it, or waited in it since */
    struct dhole__idle idle;  /* for the caller's own calls */
};

struct dhole__backend {
    const char *name;
    bool has_addresses; /* ranks are reached at options.hosts */

    /* Joins; `options` are complete: rank, size and deadlines set, strings not NULL. Beside
     * listen_fd there may be other sockets, as in transport.h; else other_fds is NULL. */
    dhole_err (*open)(const dhole_options *options, const int *other_fds, dhole_group **out);
    void (*close)(dhole_group *group);

    /* DHOLE_OK, or why the group is broken already. */
    dhole_err (*check)(dhole_group *group);

    /* Who watches the ranks. */
    struct dhole__liveness *(*liveness)(dhole_group *group);

    /* The devices that memory is registered with, or NULL. */
    struct dhole__rdma *(*rdma)(dhole_group *group);

    /* Breaks the group on all ranks, with this thread's message; returns what stands. Any thread.
     */
    dhole_err (*fail)(dhole_group *group, dhole_err err);
    void (*set_idle)(dhole_group *group, int (*run)(void *arg), void *arg);
    void (*stats)(const dhole_group *group, dhole_stats *stats);

    dhole_err (*barrier)(dhole_group *group, dhole__deadline deadline);
    dhole_err (*all_reduce)(dhole_group *group, enum dhole__op op, const void *in, void *out,
                            size_t count, dhole_dtype dtype, dhole__deadline deadline);
    dhole_err (*all_gather)(dhole_group *group, const void *in, void *out, size_t count,
                            dhole_dtype dtype, dhole__deadline deadline);
    dhole_err (*broadcast)(dhole_group *group, void *data, size_t count, dhole_dtype dtype,
                           int root, dhole__deadline deadline);
    dhole_err (*send)(dhole_group *group, const void *data, size_t count, dhole_dtype dtype, int to,
                      dhole__deadline deadline);
    dhole_err (*recv)(dhole_group *group, void *data, size_t count, dhole_dtype dtype, int from,
                      dhole__deadline deadline);

    /* The same two for one who steps several side by side; as in coll/comm.h. */
    void (*send_start)(dhole_group *group, struct dhole__message *message, const void *data,
                       size_t count, dhole_dtype dtype, int to, dhole__deadline deadline);
    void (*recv_start)(dhole_group *group, struct dhole__message *message, void *data, size_t count,
                       dhole_dtype dtype, int from, dhole__deadline deadline);
    dhole_err (*message_step)(dhole_group *group, struct dhole__message *message, bool *moved);
    void (*messages_wait)(dhole_group *group, const struct dhole__message *const *messages,
                          int count);
    dhole_err (*sendrecv)(dhole_group *group, const void *in, size_t in_count, int to, void *out,
                          size_t out_count, int from, dhole_dtype dtype, dhole__deadline deadline);
    dhole_err (*sum_scatter)(dhole_group *group, const void *in, void *out, size_t count,
                             dhole_dtype dtype, dhole__deadline deadline);
    dhole_err (*all_to_all)(dhole_group *group, const void *in, void *out, size_t count,
                            dhole_dtype dtype, dhole__deadline deadline);
};

/* Makes a group, whose options are complete and have been checked; other_fds as above. */
DHOLE__MUST_CHECK dhole_err dhole__group_open(const struct dhole__backend *backend,
                                              const dhole_options *options, const int *other_fds,
                                              dhole_group **out);

/* The rank that a broken group is broken for; -1 while it is not. */
int dhole__group_culprit(dhole_group *group);

/* Once, before its first call: whom the group's watching is reported to (liveness.h). */
struct dhole__observer;
void dhole__group_observe(dhole_group *group, const struct dhole__observer *observer);

/* Our own collectives over a mesh of connections. */
extern const struct dhole__backend dhole__backend_tcp, dhole__backend_shm, dhole__backend_jaccl,
    dhole__backend_any, dhole__backend_mem;

#endif
