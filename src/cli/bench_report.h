/* What rank 0 of `dhole bench` prints. */
#ifndef DHOLE_CLI_BENCH_REPORT_H
#define DHOLE_CLI_BENCH_REPORT_H

#include <jansson.h>

#include "cli/bench.h"

/* As a table, line by line; false when stdout cannot be written. */
bool dhole__bench_print_head(const struct dhole__bench_plan *plan, const dhole_group *group);
bool dhole__bench_print_size(const struct dhole__bench_plan *plan,
                             const struct dhole__bench_result *result);

/* As one JSON object, of which each size is a member of `sizes`, NULL when memory is out. */
json_t *dhole__bench_json_size(const struct dhole__bench_plan *plan,
                               const struct dhole__bench_result *result);
bool dhole__bench_print_json(const struct dhole__bench_plan *plan, const dhole_group *group,
                             json_t *sizes);

#endif
