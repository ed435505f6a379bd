/* The options of `dhole bench`. */
#ifndef DHOLE_CLI_BENCH_OPTIONS_H
#define DHOLE_CLI_BENCH_OPTIONS_H

#include "cli/bench.h"

struct dhole__bench_options {
    struct dhole__bench_plan plan;
    const char *backend; /* NULL: not given */
    const char *devices; /* likewise: the file with the device matrix */
    long long ranks;     /* to start; 0: not given */
    bool seal, json, help;
};

/* DHOLE__EXIT_DONE, or DHOLE__EXIT_USAGE after the fault has been printed. argv[1] is the
 * operation, and is overwritten. */
int dhole__bench_options_parse(int argc, char **argv, struct dhole__bench_options *out);

/* Reads the present option's argument, such as 64K; false after the fault has been printed. */
bool dhole__bench_option_size(char **argv, const char *name, size_t *out);

#endif
