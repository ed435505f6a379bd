#include <stdio.h>
#include <stdlib.h>

#include "base/sys.h"
#include "cli/doctor.h"
#include "cli/doctor_pairs.h"
#include "cli/signals.h"

static void add_pair(struct dhole__doctor *d, const struct dhole__doctor_pair *p)
{
    char subject[32];

    json_array_append_new(d->pairs, json_pack("{s:i, s:i, s:f, s:f}", "from", p->from, "to", p->to,
                                              "latency_us", p->latency * 1e6, "gb_per_s",
                                              p->bandwidth * 1e-9));
    snprintf(subject, sizeof subject, "%d to %d", p->from, p->to);
    dhole__doctor_say(d, DHOLE__FINDING_OK, "pair", subject, NULL, "%.2f us one way, %.2f GB/s",
                      p->latency * 1e6, p->bandwidth * 1e-9);
}

/* Rank 0 tells of all pairs. */
static dhole_err measure(struct dhole__doctor *d, dhole_group *group)
{
    int count = dhole__doctor_pair_count(d->ranks);
    struct dhole__doctor_pair *pairs = dhole__sys.calloc((size_t)count, sizeof *pairs);
    dhole_err err;

    if (pairs == NULL)
        return dhole__fail_nomem((size_t)count * sizeof *pairs, "the pairs of ranks");
    err = dhole__doctor_measure(group, pairs);
    for (int i = 0; i < count && err == DHOLE_OK && d->rank == 0; i++)
        add_pair(d, &pairs[i]);
    free(pairs);
    return err;
}

dhole_group *dhole__doctor_join(struct dhole__doctor *d)
{
    static const char mend[] = "run dhole doctor on both hosts, with --hostfile";
    dhole_options options = DHOLE_OPTIONS_INIT;
    dhole_group *group = NULL;
    dhole_err err = dhole__signals_install();

    options.backend = d->chosen;
    options.cancel_fd = dhole__signals_fd();
    if (err == DHOLE_OK)
        err = dhole_init(&options, &group);
    if (err == DHOLE_OK)
        err = measure(d, group);
    if (err == DHOLE_OK)
        return group;
    dhole__doctor_say_error(d, DHOLE__FINDING_PROBLEM, "group", NULL, mend);
    dhole_group_free(group);
    return NULL;
}
