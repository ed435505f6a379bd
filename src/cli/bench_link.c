#include "cli/bench_link.h"

#include <float.h>
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>

#include "base/sys.h"
#include "cli/bench_options.h"
#include "cli/bench_ranks.h"
#include "cli/cli.h"
#include "cli/signals.h"
#include "dhole/link.h"

enum { size_max = 1 << 30, death_ms = 200 };

static const struct option options[] = {
    {"size", required_argument, NULL, 's'},    {"trip", required_argument, NULL, 'p'},
    {"lanes", required_argument, NULL, 'l'},   {"rounds", required_argument, NULL, 'r'},
    {"seconds", required_argument, NULL, 't'}, {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},          {0},
};

static bool take_seconds(char **argv, double *out)
{
    float seconds;

    if (!dhole__option_float(argv, "seconds", FLT_MIN, 60, "above 0 and up to 60", &seconds))
        return false;
    *out = seconds;
    return true;
}

static bool take_size(char **argv, const char *name, size_t *out)
{
    if (!dhole__bench_option_size(argv, name, out))
        return false;
    if (*out <= size_max)
        return true;
    dhole__usage(argv[0], "--%s \"%s\": expected at most 1G", name, optarg);
    return false;
}

static bool take(char **argv, int c, struct dhole__bench_link_plan *plan)
{
    switch (c) {
    case 's': return take_size(argv, "size", &plan->size);
    case 'p': return take_size(argv, "trip", &plan->trip);
    case 'l': return dhole__option_int(argv, "lanes", 2, DHOLE_LANES_MAX, &plan->lanes);
    case 'r':
        return dhole__option_int(argv, "rounds", 1, dhole__bench_link_rounds_max, &plan->rounds);
    case 't': return take_seconds(argv, &plan->seconds);
    case 'j': plan->json = true; return true;
    case 'h': plan->help = true; return true;
    default: return false;
    }
}

/* Whatever went wrong at rank 0, that rank 1 has died is the reason. It may be about to. */
static dhole_err explain(struct dhole__bench_ranks *ranks, dhole_err err)
{
    struct pollfd fd = {.fd = dhole__signals_fd(), .events = POLLIN};
    char message[dhole__message_max];

    dhole__message_save(message);
    (void)dhole__sys.poll(&fd, 1, death_ms);
    if (dhole__bench_ranks_explain(ranks) == DHOLE_ERR_PEER_LOST)
        return DHOLE_ERR_PEER_LOST;
    dhole__message_restore(message);
    return err;
}

static int run(const struct dhole__bench_link_plan *plan, struct dhole__bench_link_result *result)
{
    struct dhole__bench_ranks ranks;
    int code = DHOLE__EXIT_DONE;
    dhole_err err = dhole__bench_ranks_start(2, &ranks);

    if (err == DHOLE_OK && ranks.rank == 0 && !plan->json)
        dhole__bench_link_print_head(plan);
    if (err == DHOLE_OK)
        err = dhole__bench_link_measure(plan, &ranks.local, ranks.rank,
                                        dhole__bench_ranks_cancel_fd(&ranks), result);
    if (err != DHOLE_OK && ranks.rank == 0)
        err = explain(&ranks, err);
    if (err)
        code = dhole__bench_ranks_fail(ranks.rank, err);
    else if (ranks.rank == 0 && !dhole__bench_link_print(plan, result))
        code = DHOLE__EXIT_FAILED;
    dhole__bench_ranks_end(&ranks, err == DHOLE_OK);
    return code;
}

int dhole__bench_link(int argc, char **argv)
{
    struct dhole__bench_link_plan plan = {
        .size = 1 << 20, .trip = 64, .lanes = 2, .rounds = 9, .seconds = 0.1};
    struct dhole__bench_link_result *result;
    int c, code;

    while ((c = dhole__next_option(argc, argv, options)) != -1)
        if (!take(argv, c, &plan))
            return DHOLE__EXIT_USAGE;
    if (plan.help)
        return dhole__help_on(&dhole__cmd_bench);
    result = dhole__sys.calloc(1, sizeof *result);
    if (result == NULL)
        return dhole__report(dhole__fail_nomem(sizeof *result, "the results"));
    code = run(&plan, result);
    free(result);
    return code;
}
