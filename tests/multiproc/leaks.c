/* A process that outlives many failed groups has no more of anything than before. */
#include <dirent.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

/* The allocator's caches, which count as in use, are full after the first ones. */
enum { warm_cycles = 200, cycles = 200, most_bytes = cycles * 512, most_kib = cycles * 2 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

struct holdings {
    int descriptors, mappings, shared_files;
    long heap_bytes; /* in use */
    long resident_kib;
};

static int count_entries(const char *path, const char *prefix)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    int n = 0;

    if (dir == NULL)
        return 0;
    while ((entry = readdir(dir)) != NULL)
        n += entry->d_name[0] != '.' && strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    closedir(dir);
    return n;
}

static int count_lines(const char *path)
{
    FILE *f = fopen(path, "r");
    int n = 0, c;

    ASSERT(f != NULL);
    while ((c = getc(f)) != EOF)
        n += c == '\n';
    fclose(f);
    return n;
}

static long resident_kib(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    long total, resident;

    ASSERT(f != NULL && fscanf(f, "%ld %ld", &total, &resident) == 2);
    fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static long heap_bytes(void)
{
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
    return (long)mallinfo2().uordblks;
#else
    return 0;
#endif
}

static struct holdings holdings(void)
{
    return (struct holdings){
        .descriptors = count_entries("/proc/self/fd", ""),
        .mappings = count_lines("/proc/self/maps"),
        .shared_files = count_entries("/dev/shm", "dhole"),
        .heap_bytes = heap_bytes(),
        .resident_kib = resident_kib(),
    };
}

/* How a group ends. */
enum ending { KILLED, PEER_ABORTS, WE_ABORT, endings };

static dhole_err sum_until_failure(dhole_group *group, int rounds)
{
    float data[2000] = {0};
    dhole_err err = DHOLE_OK;

    for (int i = 0; i < rounds && !err; i++)
        err = dhole_all_sum(group, data, data, sizeof data / sizeof data[0], DHOLE_F32);
    return err;
}

_Noreturn static void be_the_peer(const struct world *world, int rank, enum ending ending)
{
    dhole_options options = world_options(world, rank);
    dhole_group *group;
    dhole_err err;

    ASSERT_OK(dhole_init(&options, &group));
    err = sum_until_failure(group, ending == PEER_ABORTS ? 3 : 1 << 30);
    if (ending == PEER_ABORTS) {
        ASSERT_EQ(err, DHOLE_OK);
        dhole_abort(group, "as the test wants");
    }
    dhole_group_free(group);
    _exit(0);
}

static void fail_once(const struct backend *backend, int rank, enum ending ending)
{
    struct world world;
    dhole_options options;
    dhole_group *group;
    dhole_err err;
    pid_t pid;

    world_open(&world, backend, 2);
    pid = fork();
    ASSERT(pid >= 0);
    if (pid == 0)
        be_the_peer(&world, !rank, ending);
    options = world_options(&world, rank);
    ASSERT_OK(dhole_init(&options, &group));
    ASSERT_OK(sum_until_failure(group, 3));
    if (ending == KILLED)
        ASSERT(kill(pid, SIGKILL) == 0);
    if (ending == WE_ABORT)
        dhole_abort(group, "as the test wants");
    err = sum_until_failure(group, 1 << 30);
    ASSERT_MSG(err == (ending == KILLED ? DHOLE_ERR_PEER_LOST : DHOLE_ERR_ABORTED), "%s: %s",
               dhole_error_name(err), dhole_error_message());
    dhole_group_free(group);
    ASSERT(waitpid(pid, NULL, 0) == pid);
    world_close(&world);
}

/* The survivor is each rank in turn, as one of them may hold more than the other. */
static void check_nothing_stays(const struct backend *backend)
{
    struct holdings before = {0}, after;
    int threads = 0;

    if (access("/proc/self/fd", R_OK) != 0)
        test_skip("needs /proc to count what a process holds");
    for (int i = 0; i < warm_cycles + cycles; i++) {
        if (i == warm_cycles) {
            before = holdings();
            threads = test_threads();
        }
        fail_once(backend, i % 2, (enum ending)(i / 2 % endings));
    }
    after = holdings();
    ASSERT_EQ(after.descriptors, before.descriptors);
    test_await_threads(threads);
    ASSERT_EQ(after.shared_files, before.shared_files);
#ifndef SANITIZED /* which keep freed memory for a while; leaks they find themselves */
    ASSERT_MSG(after.mappings - before.mappings < cycles / 20, "%d mappings, %d before",
               after.mappings, before.mappings);
    ASSERT_MSG(after.heap_bytes - before.heap_bytes < most_bytes, "%ld bytes in use, %ld before",
               after.heap_bytes, before.heap_bytes);
    ASSERT_MSG(after.resident_kib - before.resident_kib < most_kib, "%ld KiB resident, %ld before",
               after.resident_kib, before.resident_kib);
#endif
}

TEST_LIMIT(failed_groups_leave_nothing_behind, 240)
{
    check_nothing_stays(&backend_tcp);
}

TEST_LIMIT(failed_groups_leave_nothing_behind_sealed, 240)
{
    check_nothing_stays(&backend_tcp_sealed);
}

TEST_LIMIT(failed_groups_leave_nothing_behind_shm, 240)
{
    check_nothing_stays(&backend_shm);
}
