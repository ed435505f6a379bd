/* What the parts of `dhole bench` share: what is to be measured, and what came out. */
#ifndef DHOLE_CLI_BENCH_H
#define DHOLE_CLI_BENCH_H

#include <stdbool.h>
#include <stddef.h>

#include "dhole/group.h"

struct dhole__bench_case;

struct dhole__bench_operation {
    const char *name;
    /* Whether the input and the output have a part for every rank, so that a size is that of all
     * parts together. */
    bool in_parts, out_parts;
    bool ping_pong; /* half a call's time counts; takes two ranks */
    bool empty;     /* moves no data */
    dhole_err (*call)(const struct dhole__bench_case *c);
    /* How much more than the size crosses each rank's link, in an ideal algorithm. */
    double (*bus)(int ranks);
    /* The rank that part `part` of this rank's output comes from, -1 when none does. NULL: each
     * element is a sum over all ranks. */
    int (*source)(const struct dhole__bench_case *c, size_t part);
};

/* Up to one without a name. */
extern const struct dhole__bench_operation dhole__bench_operations[];

struct dhole__bench_plan {
    const struct dhole__bench_operation *operation;
    dhole_dtype dtype;
    size_t min, max;      /* bytes */
    long long iterations; /* 0: as many as take `seconds` */
    double seconds;       /* of each size */
    bool check;
};

/* One size, on one rank. */
struct dhole__bench_case {
    const struct dhole__bench_plan *plan;
    dhole_group *group;
    int rank, ranks;
    size_t count; /* elements that the call is given */
    int root;     /* of a broadcast: a fixed one would run ahead of the others */
    void *in, *out;
};

struct dhole__bench_result {
    size_t bytes, count;
    long long calls;
    double p50, p99; /* seconds */
    double alg, bus; /* bytes a second */
    long long wrong; /* elements, on the rank that has most of them */
};

/* Bytes of the case as nccl-tests counts them. */
size_t dhole__bench_bytes(const struct dhole__bench_case *c);

/* Bytes of its input and of its output. */
size_t dhole__bench_in_bytes(const struct dhole__bench_case *c);
size_t dhole__bench_out_bytes(const struct dhole__bench_case *c);

/* Measures all sizes, on every rank of the group; `each` gets a result when it is there.
 * DHOLE_ERR_CANCELLED when a signal of signals.h came. */
dhole_err dhole__bench_measure(const struct dhole__bench_plan *plan, dhole_group *group,
                               void (*each)(void *arg, const struct dhole__bench_result *result),
                               void *arg);

/* The least comes first. */
void dhole__bench_sort(double *values, size_t n);

/* Calls once, and counts the elements of the output that are not what they must be. The buffers
 * hold other values afterwards. */
dhole_err dhole__bench_check(const struct dhole__bench_case *c, long long *wrong);

#endif
