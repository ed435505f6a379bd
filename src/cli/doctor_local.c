/* Two ranks of this machine, processes of their own, form a group in each way that there is
 * between processes of one host. */
#include <string.h>
#include <unistd.h>

#include "cli/bench_ranks.h"
#include "cli/doctor.h"
#include "cli/doctor_pairs.h"

static const struct {
    const char *backend, *words, *mend;
} ways[] = {
    {"ring", "TCP over loopback", "ping -c 1 127.0.0.1; then look for a firewall on loopback"},
    {"shm", "shared memory", "use --backend ring, or run the ranks as one user in one container"},
};

static dhole_err form_group(const struct dhole__bench_ranks *ranks, const char *backend,
                            struct dhole__doctor_pair *pair)
{
    dhole_options options = DHOLE_OPTIONS_INIT;
    dhole_group *group = NULL;
    dhole_err err;

    dhole__local_options(&ranks->local, ranks->rank, DHOLE__SEAL_OFF, &options);
    options.backend = backend;
    options.connect_timeout_ms = 5000;
    options.timeout_ms = 10000;
    options.cancel_fd = dhole__bench_ranks_cancel_fd(ranks);
    err = dhole_init(&options, &group);
    if (err == DHOLE_OK)
        err = dhole__doctor_measure(group, pair);
    dhole_group_free(group);
    return err;
}

/* Which backend is asked for decides whether one that fails is needed: `any` needs TCP. */
static enum dhole__severity without(const struct dhole__doctor *d, const char *backend)
{
    bool needed = strcmp(backend, "ring") == 0 || strcmp(d->backend, backend) == 0;

    return needed ? DHOLE__FINDING_PROBLEM : DHOLE__FINDING_NOTE;
}

static void examine(struct dhole__doctor *d, const struct dhole__bench_ranks *ranks)
{
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct dhole__doctor_pair pair = {0};
        const char *backend = ways[i].backend;
        dhole_err err = form_group(ranks, backend, &pair);
        if (ranks->rank != 0)
            continue;
        if (err)
            dhole__doctor_say_error(d, without(d, backend), backend, ways[i].words, ways[i].mend);
        else
            dhole__doctor_say(d, DHOLE__FINDING_OK, backend, ways[i].words, NULL,
                              "two ranks of this machine: %.2f us one way, %.2f GB/s",
                              pair.latency * 1e6, pair.bandwidth * 1e-9);
    }
}

void dhole__doctor_local(struct dhole__doctor *d)
{
    struct dhole__bench_ranks ranks;
    dhole_err err = dhole__bench_ranks_start(2, &ranks);

    if (err == DHOLE_OK)
        examine(d, &ranks);
    else
        dhole__doctor_say_error(d, DHOLE__FINDING_PROBLEM, "ring", NULL, "ulimit -u; ulimit -n");
    dhole__bench_ranks_end(&ranks, err == DHOLE_OK);
    if (ranks.rank != 0)
        _exit(0);
}
