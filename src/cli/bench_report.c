#include "cli/bench_report.h"

#include <stdio.h>
#include <sys/utsname.h>

#include "base/os.h"
#include "cli/cli.h"
#include "dhole/version.h"
#include "group/backend.h"

static bool is_sealed(const dhole_group *group)
{
    dhole_stats stats;

    dhole_group_stats(group, &stats);
    return stats.sealed_bytes > 0;
}

bool dhole__bench_print_head(const struct dhole__bench_plan *plan, const dhole_group *group)
{
    struct utsname system = {.sysname = "?"};

    uname(&system);
    printf("dhole %s: %s", dhole_version(), plan->operation->name);
    if (!plan->operation->empty)
        printf(" of %s", dhole_dtype_name(plan->dtype));
    printf(", %d ranks, backend %s, %s\n"
           "%s %s %s, %d processors; time of a call on its slowest rank\n\n"
           "%12s %9s %12s %12s %10s %10s%s\n",
           dhole_size(group), group->backend->name, is_sealed(group) ? "sealed" : "in the clear",
           system.sysname, system.release, system.machine, dhole__cpu_count(), "bytes", "calls",
           "p50 us", "p99 us", "alg GB/s", "bus GB/s", plan->check ? "    wrong" : "");
    return dhole__flush_stdout();
}

bool dhole__bench_print_size(const struct dhole__bench_plan *plan,
                             const struct dhole__bench_result *r)
{
    printf("%12zu %9lld %12.3f %12.3f %10.3f %10.3f", r->bytes, r->calls, r->p50 * 1e6,
           r->p99 * 1e6, r->alg * 1e-9, r->bus * 1e-9);
    if (plan->check)
        printf(" %8lld", r->wrong);
    putchar('\n');
    return dhole__flush_stdout();
}

json_t *dhole__bench_json_size(const struct dhole__bench_plan *plan,
                               const struct dhole__bench_result *r)
{
    json_t *wrong = plan->check ? json_integer((json_int_t)r->wrong) : json_null();

    return json_pack("{s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:o}", "bytes", (json_int_t)r->bytes,
                     "count", (json_int_t)r->count, "calls", (json_int_t)r->calls, "p50_us",
                     r->p50 * 1e6, "p99_us", r->p99 * 1e6, "alg_gb_per_s", r->alg * 1e-9,
                     "bus_gb_per_s", r->bus * 1e-9, "wrong", wrong);
}

bool dhole__bench_print_json(const struct dhole__bench_plan *plan, const dhole_group *group,
                             json_t *sizes)
{
    struct utsname system = {.sysname = "?"};
    json_t *root;
    bool ok;

    uname(&system);
    root = json_pack("{s:s, s:{s:s, s:s, s:s, s:i}, s:s, s:s, s:s, s:i, s:b, s:b, s:O}", "version",
                     dhole_version(), "machine", "system", system.sysname, "release",
                     system.release, "processor", system.machine, "processors", dhole__cpu_count(),
                     "operation", plan->operation->name, "dtype", dhole_dtype_name(plan->dtype),
                     "backend", group->backend->name, "ranks", dhole_size(group), "sealed",
                     is_sealed(group), "checked", plan->check, "sizes", sizes);
    ok = root != NULL && json_dumpf(root, stdout, 0) == 0 && putchar('\n') != EOF;
    json_decref(root);
    return dhole__flush_stdout() && ok;
}
