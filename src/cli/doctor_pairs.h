/* Latency and bandwidth between the ranks of a group, by the public API. */
#ifndef DHOLE_CLI_DOCTOR_PAIRS_H
#define DHOLE_CLI_DOCTOR_PAIRS_H

#include "dhole/group.h"

struct dhole__doctor_pair {
    int from, to;
    double latency;   /* seconds, one way, of 8 bytes; the median */
    double bandwidth; /* bytes a second, one way, in messages of 1 MiB */
};

/* Pairs that are measured: all, or neighbours only in a group of more than eight. */
int dhole__doctor_pair_count(int ranks);

/* Called by all ranks, which all get the results, one a pair. */
dhole_err dhole__doctor_measure(dhole_group *group, struct dhole__doctor_pair *pairs);

#endif
