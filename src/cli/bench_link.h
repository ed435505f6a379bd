/* What the parts of `dhole bench link` share. */
#ifndef DHOLE_CLI_BENCH_LINK_H
#define DHOLE_CLI_BENCH_LINK_H

#include <stdbool.h>
#include <stddef.h>

#include "cli/local.h"

enum { dhole__bench_link_rounds_max = 1000 };

struct dhole__bench_link_plan {
    size_t size, trip; /* bytes of a message of the stream, and of one of a round trip */
    long long lanes;   /* of the link that is compared with the one of a single lane */
    long long rounds;  /* the sides take turns in each */
    double seconds;    /* of a turn */
    bool json, help;
};

/* What is streamed over, and but for the link of several lanes played ping-pong over. */
enum dhole__bench_link_side {
    DHOLE__SIDE_LINK,
    DHOLE__SIDE_LANES,
    DHOLE__SIDE_TLS,
    DHOLE__SIDE_RECORDS,
    DHOLE__SIDE_TCP,
    dhole__side_count
};

/* A value a round. */
typedef double dhole__bench_link_series[dhole__bench_link_rounds_max];

struct dhole__bench_link_result {
    dhole__bench_link_series stream[dhole__side_count]; /* bytes a second */
    dhole__bench_link_series trip[dhole__side_count];   /* seconds there and back, a median */
    dhole__bench_link_series handshake;                 /* seconds, a median */
};

/* Measures as rank 0 or helps to as rank 1, both of them in `local`. DHOLE_ERR_CANCELLED when
 * cancel_fd becomes readable. */
dhole_err dhole__bench_link_measure(const struct dhole__bench_link_plan *plan,
                                    const struct dhole__local *local, int rank, int cancel_fd,
                                    struct dhole__bench_link_result *result);

/* A table, whose head comes before anything is measured, or one JSON object; false when stdout
 * cannot be written. */
bool dhole__bench_link_print_head(const struct dhole__bench_link_plan *plan);
bool dhole__bench_link_print(const struct dhole__bench_link_plan *plan,
                             const struct dhole__bench_link_result *result);

/* `dhole bench link`; argv[0] is "bench". */
int dhole__bench_link(int argc, char **argv);

#endif
