/* The loop of `dhole bench`.
 *
 * Calls follow each other without a barrier, on the same buffers, and the clock is read once a
 * call: a call's time is what lies between the ends of two of them. A call is done when the last
 * rank is done with it, so its time is that of the rank that it takes longest, of which p50 and
 * p99 are taken. That is what bench/compare does with the drivers of other libraries. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/sys.h"
#include "cli/bench.h"
#include "cli/signals.h"

enum {
    page = 4096,
    calls_min = 5,
    calls_max = 100000,
    warm_max = 1000,
    warm_part = 10,              /* of the time goes into warming up */
    gather_ms = 24 * 3600 * 1000 /* ranks that take no part wait here for the others */
};

struct measurement {
    const struct dhole__bench_plan *plan;
    struct dhole__bench_case c;
    double *seconds; /* of each call */
    long long room;  /* for that many */
};

size_t dhole__bench_in_bytes(const struct dhole__bench_case *c)
{
    size_t parts = c->plan->operation->in_parts ? (size_t)c->ranks : 1;

    return parts * c->count * dhole_dtype_size(c->plan->dtype);
}

size_t dhole__bench_out_bytes(const struct dhole__bench_case *c)
{
    size_t parts = c->plan->operation->out_parts ? (size_t)c->ranks : 1;

    return parts * c->count * dhole_dtype_size(c->plan->dtype);
}

size_t dhole__bench_bytes(const struct dhole__bench_case *c)
{
    size_t in = dhole__bench_in_bytes(c), out = dhole__bench_out_bytes(c);

    return in > out ? in : out;
}

static dhole_err get_buffer(size_t size, void **out)
{
    size_t rounded = (size + page - 1) / page * page;

    *out = dhole__sys.aligned_alloc(page, rounded);
    if (*out == NULL)
        return dhole__fail_nomem(rounded, "a buffer of the benchmark");
    memset(*out, 0, rounded);
    return DHOLE_OK;
}

/* The largest of all ranks' values. */
static dhole_err agree(const struct measurement *m, double *values, long long n)
{
    dhole_err err = dhole_set_next_timeout(m->c.group, gather_ms);

    return err ? err : dhole_all_max(m->c.group, values, values, (size_t)n, DHOLE_F64);
}

/* n calls, of which the time is kept, from the slowest rank. */
static dhole_err run(struct measurement *m, long long n)
{
    double share = m->plan->operation->ping_pong ? 0.5 : 1;
    dhole_err err = dhole_barrier(m->c.group);
    int64_t start = dhole__now();

    for (long long i = 0; i < n && err == DHOLE_OK; i++) {
        int64_t end;
        m->c.root = (int)(i % m->c.ranks);
        err = m->plan->operation->call(&m->c);
        end = dhole__now();
        m->seconds[i] = (double)(end - start) * 1e-9 * share;
        start = end;
        if (dhole__signals_caught())
            err = dhole__fail(DHOLE_ERR_CANCELLED, "interrupted");
    }
    return err ? err : agree(m, m->seconds, n);
}

static double sum(const double *values, long long n)
{
    double all = 0;

    for (long long i = 0; i < n; i++)
        all += values[i];
    return all;
}

static long long calls_in(double seconds, double each, long long least, long long most)
{
    double n = each > 0 ? seconds / each : (double)most;

    return n < (double)least ? least : n > (double)most ? most : (long long)n;
}

/* All ranks come to the same numbers of calls, as they see the same times. */
static dhole_err warm_up(struct measurement *m, long long *calls)
{
    long long n = 1;
    dhole_err err = run(m, n);

    if (err == DHOLE_OK) {
        n = calls_in(m->plan->seconds / warm_part, m->seconds[0], 1, warm_max);
        err = run(m, n);
    }
    if (err == DHOLE_OK)
        *calls = calls_in(m->plan->seconds, sum(m->seconds, n) / (double)n, calls_min, calls_max);
    if (m->plan->iterations > 0)
        *calls = m->plan->iterations;
    return err;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

void dhole__bench_sort(double *values, size_t n)
{
    qsort(values, n, sizeof *values, by_value);
}

static void summarise(const struct measurement *m, long long calls,
                      struct dhole__bench_result *result)
{
    double rate;

    dhole__bench_sort(m->seconds, (size_t)calls);
    result->bytes = dhole__bench_bytes(&m->c);
    result->count = m->c.count;
    result->calls = calls;
    result->p50 = m->seconds[calls / 2];
    result->p99 = m->seconds[calls * 99 / 100];
    rate = result->p50 > 0 ? (double)result->bytes / result->p50 : 0;
    result->alg = rate;
    result->bus = rate * m->plan->operation->bus(m->c.ranks);
}

static dhole_err check(const struct measurement *m, long long *wrong)
{
    double most;
    dhole_err err = dhole__bench_check(&m->c, wrong);

    most = (double)*wrong;
    if (err == DHOLE_OK)
        err = agree(m, &most, 1);
    *wrong = (long long)most;
    return err;
}

static dhole_err measure_size(struct measurement *m, struct dhole__bench_result *result)
{
    long long calls = 0;
    dhole_err err = warm_up(m, &calls);

    *result = (struct dhole__bench_result){0};
    if (err == DHOLE_OK)
        err = run(m, calls);
    if (err)
        return err;
    summarise(m, calls, result);
    return m->plan->check ? check(m, &result->wrong) : DHOLE_OK;
}

/* The count that makes `bytes`, and one element at least. */
static size_t count_of(const struct dhole__bench_case *c, size_t bytes)
{
    const struct dhole__bench_operation *operation = c->plan->operation;
    size_t parts = operation->in_parts || operation->out_parts ? (size_t)c->ranks : 1;
    size_t count = bytes / dhole_dtype_size(c->plan->dtype) / parts;

    return count > 0 ? count : 1;
}

static dhole_err allocate(struct measurement *m)
{
    dhole_err err;

    m->c.count = count_of(&m->c, m->plan->max);
    m->room = m->plan->iterations > calls_max ? m->plan->iterations : calls_max;
    err = get_buffer((size_t)m->room * sizeof *m->seconds, (void **)&m->seconds);
    if (err == DHOLE_OK)
        err = get_buffer(dhole__bench_in_bytes(&m->c), &m->c.in);
    if (err == DHOLE_OK)
        err = get_buffer(dhole__bench_out_bytes(&m->c), &m->c.out);
    if (err) { /* so that the others need not wait for this rank */
        char why[dhole__message_max];
        dhole__message_save(why);
        dhole_abort(m->c.group, why);
        dhole__message_restore(why);
    }
    return err;
}

dhole_err dhole__bench_measure(const struct dhole__bench_plan *plan, dhole_group *group,
                               void (*each)(void *arg, const struct dhole__bench_result *result),
                               void *arg)
{
    struct measurement m = {.plan = plan, .c = {.plan = plan, .group = group}};
    size_t last = 0;
    dhole_err err;

    m.c.rank = dhole_rank(group);
    m.c.ranks = dhole_size(group);
    err = allocate(&m);
    for (size_t bytes = plan->min; bytes <= plan->max && err == DHOLE_OK; bytes *= 2) {
        struct dhole__bench_result result;
        m.c.count = plan->operation->empty ? 0 : count_of(&m.c, bytes);
        if (m.c.count == last && last > 0)
            continue;
        last = m.c.count;
        err = measure_size(&m, &result);
        if (err == DHOLE_OK)
            each(arg, &result);
        if (plan->operation->empty)
            break;
    }
    free(m.seconds);
    free(m.c.in);
    free(m.c.out);
    return err;
}
