/* What the ranks that are left see when one fails. */
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <time.h>
#include <unistd.h>

#include "processes.h"

enum { ranks = 4, kills = 20, warm_rounds = 5, most = 60000, apart_ms = 1000, silent_ms = 5000 };

static float data[most], out[ranks * most];

static void expect_same_again(struct processes *all, int rank, dhole_group *group, dhole_err err)
{
    ASSERT_ERR(dhole_barrier(group), err);
    ASSERT_STR(dhole_error_message(), all->report[rank].message);
    ASSERT_ERR(dhole_all_sum(group, data, data, 1, DHOLE_F32), err);
    ASSERT_STR(dhole_error_message(), all->report[rank].message);
}

/* Every operation, small and large in turn, until one fails. */
static dhole_err one_round(dhole_group *group, int rank, int round)
{
    size_t count = round % 2 ? most : 3;
    int root = round % ranks;
    dhole_err err;

    for (size_t i = 0; i < count; i++)
        data[i] = (float)(rank + 1);
    err = dhole_all_sum(group, data, data, count, DHOLE_F32);
    for (size_t i = 0; i < count && !err; i++)
        ASSERT(data[i] == ranks * (ranks + 1) / 2);
    if (!err)
        err = dhole_all_gather(group, data, out, count, DHOLE_F32);
    if (!err)
        err = dhole_broadcast(group, data, count, DHOLE_F32, root);
    if (!err)
        err = dhole_barrier(group);
    return err;
}

static void work(struct processes *all, int rank)
{
    dhole_options options = world_options(&all->world, rank);
    dhole_group *group;
    dhole_err err;

    options.timeout_ms = options.silence_ms = 0; /* the defaults */
    ASSERT_OK(dhole_init(&options, &group));
    do {
        float stop = (float)atomic_load(all->stop);
        err = one_round(group, rank, atomic_fetch_add(&all->report[rank].rounds, 1));
        if (!err)
            err = dhole_all_max(group, &stop, &stop, 1, DHOLE_F32);
        if (!err && stop != 0)
            break;
    } while (!err);
    report_end(all, rank, err);
    if (err)
        expect_same_again(all, rank, group, err);
    dhole_group_free(group);
}

static void warm_up(struct processes *all)
{
    for (int rank = 0; rank < ranks; rank++)
        wait_rounds(all, rank, atomic_load(&all->report[rank].rounds) + warm_rounds);
}

static void pause_ms(int64_t ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&t, NULL);
}

/* All but the victim have named it, at about the same time. Returns when the last of them ended. */
static int64_t check_survivors(struct processes *all, int size, int victim)
{
    int64_t earliest = INT64_MAX, latest = 0;
    char name[32];

    snprintf(name, sizeof name, "rank %d was lost", victim);
    for (int rank = 0; rank < size; rank++) {
        struct report *report = &all->report[rank];
        if (rank == victim)
            continue;
        wait_report(all, rank);
        ASSERT_MSG(report->err == DHOLE_ERR_PEER_LOST, "rank %d got %s (%s)", rank,
                   dhole_error_name(report->err), report->message);
        ASSERT_CONTAINS(report->message, name);
        earliest = report->end_ms < earliest ? report->end_ms : earliest;
        latest = report->end_ms > latest ? report->end_ms : latest;
        process_reap(all, rank, 0);
    }
    ASSERT_MSG(latest - earliest <= patient(apart_ms), "%lld ms between the first and the last",
               (long long)(latest - earliest));
    return latest;
}

static void kill_at_random_times(const struct backend *backend)
{
    unsigned long long state = 1;

    for (int i = 0; i < kills; i++) {
        struct processes all;
        int victim = i % ranks;
        processes_start(&all, backend, ranks, work);
        warm_up(&all);
        pause_ms((int64_t)(test_random(&state) % 20));
        ASSERT(kill(all.report[victim].pid, SIGKILL) == 0);
        check_survivors(&all, ranks, victim);
        process_reap(&all, victim, SIGKILL);
        processes_close(&all);
    }
}

TEST_LIMIT(a_killed_rank_is_named_by_all_at_once, 240)
{
    kill_at_random_times(&backend_tcp);
}

TEST_LIMIT(a_killed_rank_is_named_by_all_at_once_sealed, 240)
{
    kill_at_random_times(&backend_tcp_sealed);
}

TEST_LIMIT(a_killed_rank_is_named_by_all_at_once_rails, 240)
{
    kill_at_random_times(&backend_rails);
}

TEST_LIMIT(a_killed_rank_is_named_by_all_at_once_shm, 240)
{
    kill_at_random_times(&backend_shm);
}

TEST_LIMIT(a_killed_rank_is_named_by_all_at_once_mixed, 240)
{
    kill_at_random_times(&backend_mixed);
}

static void stop_a_rank(const struct backend *backend)
{
    struct processes all;
    int64_t begin;

    processes_start(&all, backend, ranks, work);
    warm_up(&all);
    begin = now_ms();
    ASSERT(kill(all.report[1].pid, SIGSTOP) == 0);
    ASSERT(check_survivors(&all, ranks, 1) - begin <= patient(silent_ms));
    kill(all.report[1].pid, SIGKILL);
    process_reap(&all, 1, SIGKILL);
    processes_close(&all);
}

TEST(a_silent_rank_is_noticed)
{
    stop_a_rank(&backend_tcp);
    stop_a_rank(&backend_shm);
    stop_a_rank(&backend_mixed);
}

static void stop_for_a_while(const struct backend *backend)
{
    struct processes all;

    processes_start(&all, backend, ranks, work);
    for (int victim = 0; victim < ranks; victim += 3) {
        warm_up(&all);
        ASSERT(kill(all.report[victim].pid, SIGSTOP) == 0);
        pause_ms(1500);
        ASSERT(kill(all.report[victim].pid, SIGCONT) == 0);
    }
    warm_up(&all);
    atomic_store(all.stop, 1);
    for (int rank = 0; rank < ranks; rank++) {
        wait_report(&all, rank);
        ASSERT_MSG(all.report[rank].err == DHOLE_OK, "rank %d: %s", rank, all.report[rank].message);
        process_reap(&all, rank, 0);
    }
    processes_close(&all);
}

TEST(a_stall_of_a_second_and_a_half_is_survived)
{
    stop_for_a_while(&backend_tcp);
}

TEST(a_stall_of_a_second_and_a_half_is_survived_sealed)
{
    stop_for_a_while(&backend_tcp_sealed);
}

TEST(a_stall_of_a_second_and_a_half_is_survived_mixed)
{
    stop_for_a_while(&backend_mixed);
}

TEST(a_stall_of_a_second_and_a_half_is_survived_shm)
{
    stop_for_a_while(&backend_shm);
}

/* A program may end at once when a call has failed, without freeing its group: the others hear
 * why all the same, and do not take its end for the cause. */
static bool aborts; /* or disagrees about a count */

static void fail_and_exit(struct processes *all, int rank)
{
    dhole_options options = world_options(&all->world, rank);
    const struct timespec later = {0, 20000000};
    dhole_group *group;
    dhole_err err;

    ASSERT_OK(dhole_init(&options, &group));
    err = dhole_barrier(group); /* who leaves it late may find the others' failure in it */
    if (aborts && rank == 1) {
        nanosleep(&later, NULL);
        dhole_abort(group, "that is enough");
    } else {
        if (!err)
            err = dhole_all_sum(group, data, data, rank == 1 ? 5 : 6, DHOLE_F32);
        if (!err)
            err = dhole_barrier(group);
    }
    report_end(all, rank, err);
    _exit(0);
}

static void end_at_once(const struct backend *backend)
{
    enum { repeats = 15 };

    for (int i = 0; i < 2 * repeats; i++) {
        struct processes all;
        aborts = i % 2;
        processes_start(&all, backend, ranks, fail_and_exit);
        for (int rank = 0; rank < ranks; rank++) {
            const struct report *report = &all.report[rank];
            wait_report(&all, rank);
            process_reap(&all, rank, 0);
            if (aborts && rank == 1)
                continue;
            ASSERT_MSG(report->err == (aborts ? DHOLE_ERR_ABORTED : DHOLE_ERR_MISMATCH),
                       "rank %d got %s (%s)", rank, dhole_error_name(report->err), report->message);
        }
        processes_close(&all);
    }
}

TEST(who_fails_and_ends_at_once_is_heard_tcp)
{
    end_at_once(&backend_tcp);
}

TEST(who_fails_and_ends_at_once_is_heard_sealed)
{
    end_at_once(&backend_tcp_sealed);
}

TEST(who_fails_and_ends_at_once_is_heard_shm)
{
    end_at_once(&backend_shm);
}

#ifdef __linux__

/* Two network namespaces with a cable between them: ranks 0 and 1 on one side, rank 2 on the other.
 * The report's rounds are the steps of setting up, before they count rounds. */
enum { wired = 3, far = 2 };

static const char *const wire_hosts[wired] = {"10.213.0.1:7001", "10.213.0.1:7002",
                                              "10.213.0.2:7003"};

static bool run(const char *format, ...) __attribute__((format(printf, 1, 2)));

static bool run(const char *format, ...)
{
    char command[512];
    va_list args;

    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    return system(command) == 0;
}

static void work_over_the_wire(struct processes *all, int rank)
{
    dhole_options options = DHOLE_OPTIONS_INIT;
    atomic_int *rounds = &all->report[rank].rounds;
    dhole_group *group;
    float sum;
    dhole_err err;

    if (rank == far) {
        ASSERT(unshare(CLONE_NEWNET) == 0);
        atomic_store(rounds, 1);
    }
    while (atomic_load(all->stop) == 0)
        pause_ms(1);
    if (rank == far)
        ASSERT(run("ip link set lo up && ip addr add 10.213.0.2/24 dev far && ip link set far up"));
    options.backend = "tcp";
    options.rank = rank;
    options.size = wired;
    options.hosts = wire_hosts;
    options.allow_plain = 1;
    ASSERT_OK(dhole_init(&options, &group));
    do {
        sum = 1;
        err = dhole_all_sum(group, &sum, &sum, 1, DHOLE_F32);
        ASSERT(err || sum == wired);
        atomic_fetch_add(rounds, 1);
        pause_ms(1);
    } while (!err);
    report_end(all, rank, err);
    dhole_group_free(group);
}

TEST(an_unplugged_rank_is_noticed)
{
    struct processes all;
    int64_t begin;
    pid_t pid;

    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0 ||
        !run("ip link set lo up 2>/dev/null && ip link add near type veth peer name far "
             "2>/dev/null"))
        test_skip("needs root, network namespaces and veth");
    ASSERT(run("ip addr add 10.213.0.1/24 dev near && ip link set near up"));
    processes_start(&all, &backend_mem, wired, work_over_the_wire);
    wait_rounds(&all, far, 1);
    pid = all.report[far].pid;
    ASSERT(run("ip link set far netns %d", (int)pid));
    atomic_store(all.stop, 1);
    for (int rank = 0; rank < wired; rank++)
        wait_rounds(&all, rank, 50);
    begin = now_ms();
    ASSERT(run("ip link set near down"));
    ASSERT(check_survivors(&all, wired, far) - begin <= patient(silent_ms));
    wait_report(&all, far);
    ASSERT_EQ(all.report[far].err, DHOLE_ERR_PEER_LOST);
    ASSERT(all.report[far].end_ms - begin <= patient(silent_ms));
    process_reap(&all, far, 0);
    processes_close(&all);
}

#else

TEST(an_unplugged_rank_is_noticed)
{
    test_skip("needs network namespaces");
}

#endif
