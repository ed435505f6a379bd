#include <stdio.h>
#include <string.h>

#include "cli/bench_link.h"
#include "cli/bench_options.h"
#include "cli/bench_ranks.h"
#include "cli/bench_report.h"
#include "cli/cli.h"
#include "cli/signals.h"
#include "group/env.h"

enum { default_ranks = 2 };

struct bench {
    struct dhole__bench_options options;
    bool local; /* the ranks are started here */
    struct dhole__bench_ranks started;
    dhole_group *group;
    json_t *sizes; /* of --json */
    int wrong;     /* sizes with wrong results */
};

/* Whether the environment names the group; then nothing is to be started here. */
static dhole_err read_environment(struct bench *b)
{
    const struct dhole__bench_options *o = &b->options;
    struct dhole__env env;
    dhole_err err = dhole__env_read(o->backend, &env);

    if (err)
        return err;
    b->local = env.named_by == NULL;
    if (!b->local && o->ranks > 0)
        err = dhole__fail(DHOLE_ERR_CONFIG,
                          "-n %lld starts ranks, but %s names a group that has them: leave out one "
                          "of the two",
                          o->ranks, env.named_by);
    else if (!b->local && o->devices != NULL)
        err = dhole__fail(DHOLE_ERR_CONFIG,
                          "--devices is for ranks that are started here, but %s names a group",
                          env.named_by);
    else if (!b->local && o->seal)
        err = dhole__fail(DHOLE_ERR_CONFIG,
                          "--seal makes keys for ranks that are started here, but %s names a group",
                          env.named_by);
    dhole__env_free(&env);
    return err;
}

static dhole_err join(struct bench *b)
{
    dhole_options group = DHOLE_OPTIONS_INIT;
    dhole_err err = DHOLE_OK;

    group.backend = b->options.backend;
    if (b->local) {
        err = dhole__local_devices(&b->started.local, b->options.backend, b->options.devices);
        if (err)
            return err;
        dhole__local_options(&b->started.local, b->started.rank,
                             b->options.seal ? DHOLE__SEAL_ON : DHOLE__SEAL_OFF, &group);
        group.cancel_fd = dhole__bench_ranks_cancel_fd(&b->started);
    } else {
        group.cancel_fd = dhole__signals_fd();
    }
    err = dhole_init(&group, &b->group);
    if (err == DHOLE_ERR_CANCELLED)
        err = dhole__bench_ranks_explain(&b->started);
    return err;
}

static void take(void *arg, const struct dhole__bench_result *result)
{
    struct bench *b = arg;

    b->wrong += result->wrong > 0; /* the same on all ranks */
    if (dhole_rank(b->group) != 0)
        return;
    if (b->options.json)
        json_array_append_new(b->sizes, dhole__bench_json_size(&b->options.plan, result));
    else
        dhole__bench_print_size(&b->options.plan, result);
}

static dhole_err measure(struct bench *b)
{
    const struct dhole__bench_plan *plan = &b->options.plan;
    dhole_err err;

    if (plan->operation->ping_pong && dhole_size(b->group) < 2)
        return dhole__fail(DHOLE_ERR_CONFIG, "%s takes two ranks, the group has one",
                           plan->operation->name);
    err = dhole_barrier(b->group); /* shows whether it is sealed */
    if (err == DHOLE_OK && dhole_rank(b->group) == 0 && !b->options.json)
        dhole__bench_print_head(plan, b->group);
    return err ? err : dhole__bench_measure(plan, b->group, take, b);
}

/* Of a measurement that went through. */
static int conclude(const struct bench *b)
{
    const struct dhole__bench_plan *plan = &b->options.plan;

    if (dhole_rank(b->group) == 0) {
        if (b->options.json && !dhole__bench_print_json(plan, b->group, b->sizes))
            return DHOLE__EXIT_FAILED;
        if (b->wrong > 0)
            fprintf(stderr, "dhole: %s gave wrong results at %d sizes\n", plan->operation->name,
                    b->wrong);
    }
    return b->wrong > 0 ? DHOLE__EXIT_FAILED : DHOLE__EXIT_DONE;
}

static int run(struct bench *b)
{
    int ranks = b->options.ranks > 0 ? (int)b->options.ranks : default_ranks;
    int code;
    dhole_err err =
        b->local ? dhole__bench_ranks_start(ranks, &b->started) : dhole__signals_install();

    if (err == DHOLE_OK)
        err = join(b);
    if (err == DHOLE_OK)
        err = measure(b);
    code = err ? dhole__bench_ranks_fail(b->started.rank, err) : conclude(b);
    dhole_group_free(b->group);
    if (b->local)
        dhole__bench_ranks_end(&b->started, err == DHOLE_OK);
    return code;
}

static int bench(int argc, char **argv)
{
    struct bench b = {.group = NULL};
    dhole_err err;
    int code;

    if (argc > 1 && strcmp(argv[1], "link") == 0) {
        argv[1] = argv[0];
        return dhole__bench_link(argc - 1, argv + 1);
    }
    code = dhole__bench_options_parse(argc, argv, &b.options);
    if (code != DHOLE__EXIT_DONE)
        return code;
    if (b.options.help)
        return dhole__help_on(&dhole__cmd_bench);
    err = read_environment(&b);
    if (err)
        return dhole__report(err);
    b.sizes = json_array();
    code = run(&b);
    json_decref(b.sizes);
    return code;
}

const struct dhole__subcommand dhole__cmd_bench = {
    .name = "bench",
    .summary = "measures collectives, on ranks of this machine or of a job, and sealed links",
    .help =
        "Usage: dhole bench OPERATION [-n N] [--backend B] [--devices FILE] [--min SIZE]\n"
        "                   [--max SIZE] [--dtype T] [--time S | --iterations N] [--check]\n"
        "                   [--seal on|off] [--json]\n"
        "       dhole bench link [--size SIZE] [--trip SIZE] [--lanes N] [--rounds N]\n"
        "                   [--seconds S] [--json]\n"
        "\n"
        "OPERATION is all_sum, all_gather, sum_scatter, broadcast, all_to_all, sendrecv (one way "
        "of\n"
        "a ping-pong between the first and the last rank) or barrier.\n"
        "\n"
        "Joins the group that the environment names, as under dhole launch or mpirun; when it "
        "names\n"
        "none, starts N ranks on this machine. Rank 0 prints, for each size, doubling from --min "
        "to\n"
        "--max, the median and the 99th percentile of a call's time on its slowest rank, "
        "algorithm\n"
        "bandwidth (size / p50) and bus bandwidth (that times what crosses each rank's link). "
        "Sizes\n"
        "and bandwidths are those of nccl-tests: of all ranks' parts together where there are "
        "parts.\n"
        "\n"
        "  -n N               ranks to start; 2 if not given\n"
        "  --backend B        any (the default), ring (or tcp), shm, jaccl or jaccl-ring\n"
        "  --devices FILE     the device matrix of jaccl for the ranks that are started here, as "
        "in\n"
        "                     JACCL_IBV_DEVICES\n"
        "  --min, --max SIZE  in bytes, or with K, M or G; 8 and 64M if not given\n"
        "  --dtype T          bool, u8 to u64, i8 to i64, f16, bf16, f32 (the default), f64 or "
        "c64\n"
        "  --time S           seconds that each size takes, about; 0.25 if not given\n"
        "  --iterations N     this many calls of each size instead\n"
        "  --check            one more call of each size must give the right elements, or the "
        "exit\n"
        "                     code is 1\n"
        "  --seal on|off      whether the group of the ranks that are started here is sealed; off "
        "if not\n"
        "                     given\n"
        "  --json             one object when all is done, instead of the table\n"
        "\n"
        "link measures a sealed link between two processes of this machine, beside TLS 1.3, a bare "
        "loop\n"
        "of AES-256-GCM records, and TCP in the clear: a stream one way, round trips, and the "
        "link's\n"
        "handshake. The sides take turns; a ratio is the median of those of the rounds.\n"
        "\n"
        "  --size SIZE        of the stream's messages; 1M if not given\n"
        "  --trip SIZE        of what goes there and back; 64 if not given\n"
        "  --lanes N          lanes of the link that is compared with one of a single lane; 2 if "
        "not given\n"
        "  --rounds N         9 if not given\n"
        "  --seconds S        of a side's turn in each round; 0.1 if not given\n"
        "\n"
        "Examples:\n"
        "  dhole bench all_sum -n 4 --backend shm\n"
        "  dhole bench link --lanes 4 --json\n"
        "  dhole launch --hosts a,b -- dhole bench all_sum --check\n",
    .run = bench,
};
