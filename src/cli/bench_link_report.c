#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/os.h"
#include "cli/bench.h"
#include "cli/bench_link.h"
#include "cli/cli.h"
#include "dhole/version.h"

struct summary {
    double median, least, most;
};

/* Of the values, or of their ratios to `other`, round by round. */
static struct summary summarise(const double *values, const double *other, long long rounds)
{
    dhole__bench_link_series sorted;

    for (long long i = 0; i < rounds; i++)
        sorted[i] = other != NULL ? values[i] / other[i] : values[i];
    dhole__bench_sort(sorted, (size_t)rounds);
    return (struct summary){sorted[rounds / 2], sorted[0], sorted[rounds - 1]};
}

static struct summary scale(struct summary s, double by)
{
    return (struct summary){s.median * by, s.least * by, s.most * by};
}

/* What was measured, in the unit that is printed. */
struct row {
    const char *key, *name;
    const double *values;
    double unit;
};

/* What is wanted of it. */
struct figure {
    const char *key, *name;
    const double *values, *other; /* NULL: the values themselves */
    double unit, wanted;
    bool at_least; /* else at most */
};

enum { row_count = 2 * dhole__side_count, figure_count = 5 };

static void list_rows(const struct dhole__bench_link_result *r, struct row out[static row_count])
{
    const struct row rows[row_count] = {
        {"link", "link, 1 lane, GB/s", r->stream[DHOLE__SIDE_LINK], 1e-9},
        {"link_lanes", "link, several lanes, GB/s", r->stream[DHOLE__SIDE_LANES], 1e-9},
        {"tls", "TLS 1.3, GB/s", r->stream[DHOLE__SIDE_TLS], 1e-9},
        {"records", "bare records, GB/s", r->stream[DHOLE__SIDE_RECORDS], 1e-9},
        {"tcp", "TCP in the clear, GB/s", r->stream[DHOLE__SIDE_TCP], 1e-9},
        {"link_trip", "round trip, link, us", r->trip[DHOLE__SIDE_LINK], 1e6},
        {"tls_trip", "round trip, TLS 1.3, us", r->trip[DHOLE__SIDE_TLS], 1e6},
        {"records_trip", "round trip, bare records, us", r->trip[DHOLE__SIDE_RECORDS], 1e6},
        {"tcp_trip", "round trip, TCP, us", r->trip[DHOLE__SIDE_TCP], 1e6},
        {"handshake", "handshake, ms", r->handshake, 1e3},
    };

    memcpy(out, rows, sizeof rows);
}

static void list_figures(const struct dhole__bench_link_result *r,
                         struct figure out[static figure_count])
{
    const double *link = r->stream[DHOLE__SIDE_LINK];
    const struct figure figures[figure_count] = {
        {"stream_to_tls", "stream, link / TLS 1.3", link, r->stream[DHOLE__SIDE_TLS], 1, 1.5, true},
        {"stream_to_records", "stream, link / bare records", link, r->stream[DHOLE__SIDE_RECORDS],
         1, 0.9, true},
        {"lanes_to_lane", "stream, several lanes / 1 lane", r->stream[DHOLE__SIDE_LANES], link, 1,
         1, true},
        {"trip_to_tcp", "round trip, link / TCP", r->trip[DHOLE__SIDE_LINK],
         r->trip[DHOLE__SIDE_TCP], 1, 1.4, false},
        {"handshake_ms", "handshake, ms", r->handshake, NULL, 1e3, 5, false},
    };

    memcpy(out, figures, sizeof figures);
}

static bool is_reached(const struct figure *figure, double value)
{
    return figure->at_least ? value >= figure->wanted : value <= figure->wanted;
}

bool dhole__bench_link_print_head(const struct dhole__bench_link_plan *plan)
{
    struct utsname system = {.sysname = "?"};

    uname(&system);
    printf("dhole %s: a link beside what it is made of, between two processes over loopback\n"
           "%s %s %s, %d processors; %s\n"
           "median (lowest - highest) of %lld rounds, turns of %g s; messages of %zu bytes, lanes "
           "%lld,\nround trips of %zu bytes\n\n",
           dhole_version(), system.sysname, system.release, system.machine, dhole__cpu_count(),
           OpenSSL_version(OPENSSL_VERSION), plan->rounds, plan->seconds, plan->size, plan->lanes,
           plan->trip);
    return dhole__flush_stdout();
}

static bool print_table(const struct dhole__bench_link_plan *plan, const struct row *rows,
                        const struct figure *figures)
{
    for (int i = 0; i < row_count; i++) {
        struct summary s = scale(summarise(rows[i].values, NULL, plan->rounds), rows[i].unit);
        printf("%-32s %8.3f  (%.3f - %.3f)\n", rows[i].name, s.median, s.least, s.most);
    }
    printf("\n%-32s %8s  %-20s wanted of 1M and 64 bytes\n", "", "", "");
    for (int i = 0; i < figure_count; i++) {
        const struct figure *f = &figures[i];
        struct summary s = scale(summarise(f->values, f->other, plan->rounds), f->unit);
        char range[48];
        snprintf(range, sizeof range, "(%.2f - %.2f)", s.least, s.most);
        printf("%-32s %8.2f  %-20s %s %g, %s\n", f->name, s.median, range,
               f->at_least ? ">=" : "<=", f->wanted,
               is_reached(f, s.median) ? "reached" : "missed");
    }
    return dhole__flush_stdout();
}

static json_t *json_summary(struct summary s)
{
    return json_pack("{s:f, s:f, s:f}", "median", s.median, "min", s.least, "max", s.most);
}

static json_t *json_rows(const struct dhole__bench_link_plan *plan, const struct row *rows)
{
    json_t *out = json_object();

    for (int i = 0; i < row_count; i++)
        json_object_set_new(
            out, rows[i].key,
            json_summary(scale(summarise(rows[i].values, NULL, plan->rounds), rows[i].unit)));
    return out;
}

static json_t *json_figures(const struct dhole__bench_link_plan *plan, const struct figure *figures)
{
    json_t *out = json_object();

    for (int i = 0; i < figure_count; i++) {
        const struct figure *f = &figures[i];
        struct summary s = scale(summarise(f->values, f->other, plan->rounds), f->unit);
        json_t *one = json_summary(s);
        json_object_set_new(one, f->at_least ? "at_least" : "at_most", json_real(f->wanted));
        json_object_set_new(one, "reached", json_boolean(is_reached(f, s.median)));
        json_object_set_new(out, f->key, one);
    }
    return out;
}

static bool print_json(const struct dhole__bench_link_plan *plan, const struct row *rows,
                       const struct figure *figures)
{
    struct utsname system = {.sysname = "?"};
    json_t *root;
    bool ok;

    uname(&system);
    root = json_pack("{s:s, s:{s:s, s:s, s:s, s:i}, s:s, s:I, s:I, s:I, s:I, s:f, s:o, s:o}",
                     "version", dhole_version(), "machine", "system", system.sysname, "release",
                     system.release, "processor", system.machine, "processors", dhole__cpu_count(),
                     "openssl", OpenSSL_version(OPENSSL_VERSION), "bytes", (json_int_t)plan->size,
                     "lanes", (json_int_t)plan->lanes, "trip_bytes", (json_int_t)plan->trip,
                     "rounds", (json_int_t)plan->rounds, "seconds", plan->seconds, "measured",
                     json_rows(plan, rows), "figures", json_figures(plan, figures));
    ok = root != NULL && json_dumpf(root, stdout, 0) == 0 && putchar('\n') != EOF;

    json_decref(root);
    return dhole__flush_stdout() && ok;
}

bool dhole__bench_link_print(const struct dhole__bench_link_plan *plan,
                             const struct dhole__bench_link_result *result)
{
    struct row rows[row_count];
    struct figure figures[figure_count];

    list_rows(result, rows);
    list_figures(result, figures);
    return plan->json ? print_json(plan, rows, figures) : print_table(plan, rows, figures);
}
