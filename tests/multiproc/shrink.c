/* Ranks that are killed with requests outstanding, and those who are left go on. */
#include <signal.h>
#include <time.h>

#include "processes.h"

enum { ranks_most = 5, bound_ms = 8000, count = 3000 };

static unsigned victims; /* killed while all are at work */
static int late_victim;  /* killed when it is about to shrink; -1: none */

/* A message round the ring and a sum, over and over, until the group breaks. */
static dhole_err work_until_broken(struct processes *all, int rank, dhole_group *group)
{
    int size = dhole_size(group), own = dhole_rank(group);
    static float in[count], out[count], sum[count];

    for (;;) {
        dhole_request *request[3];
        dhole_err err;
        int posted = 0;
        for (int i = 0; i < count; i++)
            out[i] = (float)own;
        err = dhole_irecv(group, in, count, DHOLE_F32, (own + size - 1) % size, &request[0]);
        posted += !err;
        if (!err)
            err = dhole_isend(group, out, count, DHOLE_F32, (own + 1) % size, &request[1]);
        posted += !err;
        if (!err)
            err = dhole_iall_sum(group, out, sum, count, DHOLE_F32, &request[2]);
        posted += !err;
        for (int i = 0; i < posted; i++) {
            dhole_err ended = dhole_wait(request[i]);
            err = err ? err : ended;
        }
        if (err)
            return err;
        ASSERT(in[count - 1] == (float)((own + size - 1) % size));
        ASSERT(sum[0] == (float)(size * (size - 1) / 2));
        atomic_fetch_add(&all->report[rank].rounds, 1);
    }
}

static void check_rest(dhole_group *group, int rank, int size, unsigned lost)
{
    int32_t old[ranks_most];
    int n = 0;

    ASSERT_OK(dhole_all_gather(group, &rank, old, 1, DHOLE_I32));
    for (int r = 0; r < size; r++)
        if (!(lost >> r & 1))
            ASSERT_EQ(old[n++], r);
    ASSERT_EQ(dhole_size(group), n);
    ASSERT_EQ(old[dhole_rank(group)], rank);
}

static void lose_and_shrink(struct processes *all, int rank)
{
    dhole_options options = world_options(&all->world, rank);
    dhole_group *group, *rest;
    unsigned lost = victims | (late_victim >= 0 ? 1u << late_victim : 0);

    options.silence_ms = 1000;
    ASSERT_OK(dhole_init(&options, &group));
    ASSERT_ERR(work_until_broken(all, rank, group), DHOLE_ERR_PEER_LOST);
    if (rank == late_victim)
        raise(SIGKILL);
    ASSERT_OK(dhole_shrink(group, &rest));
    check_rest(rest, rank, all->world.size, lost);
    dhole_group_free(group);
    check_rest(rest, rank, all->world.size, lost);
    report_end(all, rank, DHOLE_OK);
    dhole_group_free(rest);
}

static void run(const struct backend *backend, int size, unsigned killed, int killed_late,
                int signal)
{
    struct processes all;
    int64_t begin;

    victims = killed;
    late_victim = killed_late;
    processes_start(&all, backend, size, lose_and_shrink);
    for (int rank = 0; rank < size; rank++)
        wait_rounds(&all, rank, 10);
    begin = now_ms();
    /* All at once: nobody goes on before the last victim is dead. */
    for (int rank = 0; rank < size; rank++)
        ASSERT(kill(all.report[rank].pid, SIGSTOP) == 0);
    for (int rank = 0; rank < size; rank++)
        if (killed >> rank & 1)
            ASSERT(kill(all.report[rank].pid, signal) == 0);
    for (int rank = 0; rank < size; rank++)
        if (!(killed >> rank & 1))
            ASSERT(kill(all.report[rank].pid, SIGCONT) == 0);
    for (int rank = 0; rank < size; rank++) {
        if ((killed >> rank & 1) || rank == killed_late)
            continue;
        wait_report(&all, rank);
        ASSERT_MSG(all.report[rank].end_ms - begin < patient(bound_ms),
                   "rank %d went on after %lld ms", rank,
                   (long long)(all.report[rank].end_ms - begin));
        process_reap(&all, rank, 0);
    }
    for (int rank = 0; rank < size; rank++) {
        if (!(killed >> rank & 1) && rank != killed_late)
            continue;
        kill(all.report[rank].pid, SIGKILL);
        process_reap(&all, rank, SIGKILL);
    }
    processes_close(&all);
}

#define ON(name, backend)                                  \
    TEST(one_of_four_is_killed_##name)                     \
    {                                                      \
        for (int victim = 0; victim < 4; victim++)         \
            run(&(backend), 4, 1u << victim, -1, SIGKILL); \
    }                                                      \
    TEST(two_of_five_are_killed_##name)                    \
    {                                                      \
        run(&(backend), 5, 1 | 2, -1, SIGKILL);            \
        run(&(backend), 5, 2 | 16, -1, SIGKILL);           \
    }                                                      \
    TEST(another_is_killed_before_it_shrinks_##name)       \
    {                                                      \
        run(&(backend), 5, 4, 0, SIGKILL);                 \
        run(&(backend), 5, 1, 1, SIGKILL);                 \
    }                                                      \
    TEST(two_of_five_stop_##name)                          \
    {                                                      \
        run(&(backend), 5, 1 | 8, -1, SIGSTOP);            \
    }

ON(tcp, backend_tcp)
ON(shm, backend_shm)
ON(tcp_sealed, backend_tcp_sealed)

/* Killed anywhere in the middle of shrinking: at a random time, often enough. */
static void shrink_or_die(struct processes *all, int rank)
{
    dhole_options options = world_options(&all->world, rank);
    dhole_group *group, *rest;

    options.silence_ms = 1000;
    options.connect_timeout_ms = patient(10000);
    ASSERT_OK(dhole_init(&options, &group));
    while (work_until_broken(all, rank, group) != DHOLE_OK) {
        dhole_err err = dhole_shrink(group, &rest);
        dhole_group_free(group);
        if (err) {
            report_end(all, rank, err);
            return;
        }
        group = rest;
        if (dhole_size(group) == 3)
            break;
    }
    report_end(all, rank, dhole_barrier(group));
    dhole_group_free(group);
}

static void kill_while_shrinking(const struct backend *backend, int delay_us)
{
    struct timespec pause = {0, delay_us * 1000};
    struct processes all;

    processes_start(&all, backend, 5, shrink_or_die);
    for (int rank = 0; rank < 5; rank++)
        wait_rounds(&all, rank, 5);
    ASSERT(kill(all.report[4].pid, SIGKILL) == 0);
    nanosleep(&pause, NULL);
    ASSERT(kill(all.report[0].pid, SIGKILL) == 0);
    for (int rank = 1; rank < 4; rank++) {
        wait_report(&all, rank);
        ASSERT_MSG(all.report[rank].err == DHOLE_OK, "killed after %d us, rank %d: %s", delay_us,
                   rank, all.report[rank].message);
        process_reap(&all, rank, 0);
    }
    process_reap(&all, 0, SIGKILL);
    process_reap(&all, 4, SIGKILL);
    processes_close(&all);
}

TEST_LIMIT(a_rank_is_killed_while_all_shrink, 120)
{
    for (int delay_us = 0; delay_us < 20000; delay_us += 1500)
        kill_while_shrinking(&backend_tcp, delay_us);
}
