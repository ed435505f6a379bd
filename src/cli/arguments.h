/* The options of `dhole generate`. */
#ifndef DHOLE_CLI_ARGUMENTS_H
#define DHOLE_CLI_ARGUMENTS_H

#include <stdbool.h>

#include "cli/local.h"
#include "dhole/infer.h"
#include "infer/shard.h"

/* Strings belong to argv; those not given are NULL. */
struct dhole__arguments {
    const char *model, *prompt, *system, *logits_out;
    const char *backend;                 /* of a group of several ranks */
    const char *devices;                 /* the file with its device matrix; with peers names */
    const char *peers[dhole__ranks_max]; /* names of other machines */
    int peer_count;
    enum dhole__sealing sealing;
    bool raw, stats, json, help;
    dhole_parallel parallel;
    long long max_tokens, ranks, threads; /* ranks with peers; threads 0: not given */
    dhole_sampling sampling;
};

/* DHOLE__EXIT_DONE, or DHOLE__EXIT_USAGE after the fault has been printed. */
int dhole__arguments_parse(int argc, char **argv, struct dhole__arguments *out);

#endif
