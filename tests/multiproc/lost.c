/* Ranks that are killed or stopped in the middle of their work. */
#include <signal.h>
#include <time.h>

#include "processes.h"

enum { ranks = 3, bound_ms = 5000, warm_rounds = 20, count = 5000 };

static float data[count];
static int64_t silence_ms; /* the default */

/* Sums until the group breaks or the test says stop, which all ranks hear in the same round. */
static void sum_on_and_on(struct processes *all, int rank)
{
    dhole_options options = world_options(&all->world, rank);
    dhole_group *group;
    dhole_err err;

    options.timeout_ms = 0; /* the default, to be lost by silence and not by the deadline */
    options.silence_ms = silence_ms;
    ASSERT_OK(dhole_init(&options, &group));
    do {
        for (int i = 0; i < count; i++)
            data[i] = (float)(rank + 1);
        data[0] = (float)atomic_load(all->stop);
        err = dhole_all_sum(group, data, data, count, DHOLE_F32);
        for (int i = 1; i < count && err == DHOLE_OK; i++)
            ASSERT(data[i] == ranks * (ranks + 1) / 2);
        atomic_fetch_add(&all->report[rank].rounds, 1);
    } while (err == DHOLE_OK && data[0] == 0);
    report_end(all, rank, err);
    dhole_group_free(group);
}

static void warm_up(struct processes *all)
{
    for (int rank = 0; rank < ranks; rank++)
        wait_rounds(all, rank, atomic_load(&all->report[rank].rounds) + warm_rounds);
}

/* The others must end within the bound with the same sentence about this rank. */
static void lose(const struct backend *backend, int victim, int signal)
{
    struct processes all;
    const char *message = NULL;
    char name[16];
    int64_t begin;

    snprintf(name, sizeof name, "rank %d", victim);
    processes_start(&all, backend, ranks, sum_on_and_on);
    warm_up(&all);
    begin = now_ms();
    ASSERT(kill(all.report[victim].pid, signal) == 0);
    for (int rank = 0; rank < ranks; rank++) {
        struct report *report = &all.report[rank];
        if (rank == victim)
            continue;
        wait_report(&all, rank);
        ASSERT_MSG(report->err == DHOLE_ERR_PEER_LOST, "rank %d got %s (%s)", rank,
                   dhole_error_name(report->err), report->message);
        ASSERT_MSG(report->end_ms - begin < patient(bound_ms), "rank %d noticed after %lld ms",
                   rank, (long long)(report->end_ms - begin));
        ASSERT_CONTAINS(report->message, name);
        if (message != NULL)
            ASSERT_STR(report->message, message);
        message = report->message;
        process_reap(&all, rank, 0);
    }
    kill(all.report[victim].pid, SIGKILL);
    process_reap(&all, victim, SIGKILL);
    processes_close(&all);
}

TEST(a_killed_rank_is_named_by_the_others)
{
    for (int victim = 0; victim < ranks; victim++)
        lose(&backend_tcp, victim, SIGKILL);
}

TEST(a_killed_rank_is_named_by_the_others_sealed)
{
    for (int victim = 0; victim < ranks; victim++)
        lose(&backend_tcp_sealed, victim, SIGKILL);
}

TEST(a_stopped_rank_is_named_by_the_others)
{
    lose(&backend_tcp, 0, SIGSTOP);
}

TEST(a_stopped_rank_is_named_by_the_others_sealed)
{
    lose(&backend_tcp_sealed, 1, SIGSTOP);
}

/* All ranks stopped together, as when a machine sleeps, for longer than the silence that
 * counts as a loss. */
TEST(a_long_stop_of_all_ranks_is_survived)
{
    struct timespec pause = {2, 0};
    struct processes all;

    silence_ms = 1000;
    processes_start(&all, &backend_tcp, ranks, sum_on_and_on);
    warm_up(&all);
    for (int rank = 0; rank < ranks; rank++)
        ASSERT(kill(all.report[rank].pid, SIGSTOP) == 0);
    nanosleep(&pause, NULL);
    for (int rank = 0; rank < ranks; rank++)
        ASSERT(kill(all.report[rank].pid, SIGCONT) == 0);
    warm_up(&all);
    atomic_store(all.stop, 1);
    for (int rank = 0; rank < ranks; rank++) {
        wait_report(&all, rank);
        ASSERT_MSG(all.report[rank].err == DHOLE_OK, "rank %d: %s", rank, all.report[rank].message);
        process_reap(&all, rank, 0);
    }
    processes_close(&all);
}

/* The survivors can go on among themselves, in the same processes. */
static void regroup(struct processes *all, int rank)
{
    dhole_options options = world_options(&all->world, rank);
    dhole_group *group;
    float one = 1, sum;
    dhole_err err;

    ASSERT_OK(dhole_init(&options, &group));
    do {
        err = dhole_all_sum(group, &one, &sum, 1, DHOLE_F32);
        atomic_fetch_add(&all->report[rank].rounds, 1);
    } while (err == DHOLE_OK);
    dhole_group_free(group);
    options.size = 2;
    options.session = "the survivors";
    ASSERT_OK(dhole_init(&options, &group));
    ASSERT_OK(dhole_all_sum(group, &one, &sum, 1, DHOLE_F32));
    ASSERT(sum == 2);
    dhole_group_free(group);
    report_end(all, rank, err);
}

TEST(survivors_make_a_new_group)
{
    struct processes all;

    processes_start(&all, &backend_tcp, ranks, regroup);
    warm_up(&all);
    ASSERT(kill(all.report[2].pid, SIGKILL) == 0);
    for (int rank = 0; rank < 2; rank++) {
        wait_report(&all, rank);
        ASSERT_EQ(all.report[rank].err, DHOLE_ERR_PEER_LOST);
        process_reap(&all, rank, 0);
    }
    process_reap(&all, 2, SIGKILL);
    processes_close(&all);
}
