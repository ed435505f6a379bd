/* A rank that waits sleeps in the kernel. */
#include <sys/resource.h>
#include <time.h>

#include "processes.h"

enum { ranks = 4, most_us = 20000, waits = 2 };

static int64_t cpu_us(void)
{
    struct rusage usage;

    ASSERT(getrusage(RUSAGE_SELF, &usage) == 0);
    return (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
           usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

/* Ranks other than 0 come to each call a second late. */
static void wait_politely(struct processes *all, int rank)
{
    dhole_options options = world_options(&all->world, rank);
    struct timespec second = {1, 0};
    dhole_group *group;
    int64_t begin;
    float data = 1;

    ASSERT_OK(dhole_init(&options, &group));
    begin = cpu_us();
    for (int i = 0; i < waits; i++) {
        if (rank != 0)
            nanosleep(&second, NULL);
        ASSERT_OK(dhole_all_sum(group, &data, &data, 1, DHOLE_F32));
    }
    all->report[rank].cpu_us = cpu_us() - begin;
    report_end(all, rank, DHOLE_OK);
    dhole_group_free(group);
}

static void check_politeness(const struct backend *backend)
{
    struct processes all;

    processes_start(&all, backend, ranks, wait_politely);
    for (int rank = 0; rank < ranks; rank++) {
        wait_report(&all, rank);
        process_reap(&all, rank, 0);
        ASSERT_MSG(all.report[rank].cpu_us <= waits * most_us,
                   "rank %d used %lld us of processor time in %d s", rank,
                   (long long)all.report[rank].cpu_us, waits);
    }
    processes_close(&all);
}

TEST(waiting_costs_little)
{
    check_politeness(&backend_tcp);
}

TEST(waiting_costs_little_sealed)
{
    check_politeness(&backend_tcp_sealed);
}

TEST(waiting_costs_little_shm)
{
    check_politeness(&backend_shm);
}

TEST(waiting_costs_little_rails)
{
    check_politeness(&backend_rails);
}

TEST(waiting_costs_little_mixed)
{
    check_politeness(&backend_mixed);
}
