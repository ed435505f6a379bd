/* What a group's backend must do; group.c checks arguments and keeps the sticky error,
 * so these see valid calls on an unbroken group only. */
#ifndef DHOLE_GROUP_BACKEND_H
#define DHOLE_GROUP_BACKEND_H

#include "base/clock.h"
#include "dhole/group.h"
#include "reduce/reduce.h"

/* First member of every backend's group. */
struct dhole_group {
    const struct dhole__backend *backend;
    int rank, size;
    int64_t timeout_ms;
    dhole_err broken; /* what every later call returns */
    char why[1024];
};

struct dhole__backend {
    const char *name;

    /* Joins; `options` are complete: rank, size and deadlines set, strings not NULL. */
    dhole_err (*open)(const dhole_options *options, dhole_group **out);
    void (*close)(dhole_group *group);

    /* DHOLE_OK, or why the group is broken already. */
    dhole_err (*check)(dhole_group *group);
    void (*abort)(dhole_group *group, const char *why);
    void (*set_idle)(dhole_group *group, int (*run)(void *arg), void *arg);
    void (*stats)(const dhole_group *group, dhole_stats *stats);

    dhole_err (*barrier)(dhole_group *group);
    dhole_err (*all_reduce)(dhole_group *group, enum dhole__op op, const void *in, void *out,
                            size_t count, dhole_dtype dtype);
    dhole_err (*all_gather)(dhole_group *group, const void *in, void *out, size_t count,
                            dhole_dtype dtype);
    dhole_err (*broadcast)(dhole_group *group, void *data, size_t count, dhole_dtype dtype,
                           int root);
    dhole_err (*send)(dhole_group *group, const void *data, size_t count, dhole_dtype dtype,
                      int to);
    dhole_err (*recv)(dhole_group *group, void *data, size_t count, dhole_dtype dtype, int from);
};

/* Our own collectives over a mesh of connections. */
extern const struct dhole__backend dhole__backend_tcp, dhole__backend_mem;

#endif
