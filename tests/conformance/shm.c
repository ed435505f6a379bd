/* Who shares memory with whom: ranks of one host and nobody else, or those that say so. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/sys.h"
#include "harness.h"

enum { short_ms = 400 };

static int shared_mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    int n = 0;

    ASSERT(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL)
        n += strstr(line, "dhole (deleted)") != NULL;
    fclose(maps);
    return n;
}

static void count_mappings(struct rank *r)
{
    const int *expected = r->arg;
    float one = 1, sum;

    ASSERT_OK(dhole_all_sum(r->group, &one, &sum, 1, DHOLE_F32));
    ASSERT(sum == (float)r->size);
    ranks_meet(r);
    if (r->rank == 0)
        ASSERT_EQ(shared_mappings(), *expected);
    ranks_meet(r);
}

/* Two for each pair that shares, as the ranks of these tests are threads of one process. */
TEST(memory_is_shared_inside_a_host_only)
{
    static const struct backend one_host = {.name = "any"};
    static const struct {
        const struct backend *backend;
        int ranks, expected;
    } cases[] = {
        {&backend_tcp, 3, 0},   {&backend_mem, 3, 0},        {&backend_shm, 3, 6},
        {&one_host, 3, 6},      {&backend_mixed, 2, 0},      {&backend_mixed, 3, 2},
        {&backend_mixed, 5, 8}, {&backend_shm_sealed, 2, 2},
    };

    if (access("/proc/self/maps", R_OK) != 0)
        test_skip("needs /proc to see what is mapped");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int expected = cases[i].expected;
        run_group(cases[i].backend, cases[i].ranks, count_mappings, &expected);
        ASSERT_EQ(shared_mappings(), 0);
    }
}

static void be_refused(struct rank *r)
{
    dhole_group *group = NULL;
    const char *const *quotes = r->arg;

    r->options.connect_timeout_ms = patient(short_ms);
    if (r->rank == 1 && quotes[2] != NULL)
        r->options.backend = quotes[2];
    else if (quotes[2] == NULL)
        r->options.host = quotes[r->rank];
    ASSERT_ERR(dhole_init(&r->options, &group), DHOLE_ERR_CONFIG);
    ASSERT(group == NULL);
    for (int i = 0; i < 2; i++)
        ASSERT_CONTAINS(dhole_error_message(), quotes[i]);
}

TEST(shm_between_two_hosts_is_refused_with_both_names)
{
    const char *hosts[3] = {"left.example", "right.example"};

    run_ranks(&backend_shm, 2, be_refused, hosts);
    run_ranks(&backend_shm_sealed, 2, be_refused, hosts);
}

TEST(different_backends_are_refused_with_both_names)
{
    const char *backends[2][3] = {{"\"shm\"", "\"any\"", "any"}, {"\"shm\"", "\"ring\"", "ring"}};

    for (int i = 0; i < 2; i++)
        run_ranks(&backend_shm, 2, be_refused, backends[i]);
}

static void join_with_a_long_name(struct rank *r)
{
    char name[130];
    dhole_group *group = NULL;

    memset(name, 'h', sizeof name);
    name[sizeof name - 1] = '\0';
    r->options.host = name;
    ASSERT_ERR(dhole_init(&r->options, &group), DHOLE_ERR_INVALID);
    ASSERT_CONTAINS(dhole_error_message(), "128");
    ASSERT_CONTAINS(dhole_error_message(), "129");
    r->options.host = name + 1;
    ASSERT_OK(dhole_init(&r->options, &group));
    dhole_group_free(group);
}

TEST(a_host_has_a_name_of_at_most_128_bytes)
{
    run_ranks(&backend_shm, 2, join_with_a_long_name, NULL);
}

static void *no_mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
    (void)addr, (void)length, (void)prot, (void)flags, (void)fd, (void)offset;
    errno = ENOMEM;
    return MAP_FAILED;
}

static void join_without_memory(struct rank *r)
{
    float one = 1, sum;

    r->options.connect_timeout_ms = patient(short_ms);
    if (strcmp(r->options.backend, "shm") == 0) {
        ASSERT_ERR(dhole_init(&r->options, &r->group), DHOLE_ERR_UNSUPPORTED);
        ASSERT_CONTAINS(dhole_error_message(), "shared memory");
        ASSERT_CONTAINS(dhole_error_message(), r->rank == 0 ? "rank 1" : "rank 0");
        return;
    }
    ASSERT_OK(dhole_init(&r->options, &r->group));
    ASSERT_OK(dhole_all_sum(r->group, &one, &sum, 1, DHOLE_F32));
    ASSERT(sum == 2);
    dhole_group_free(r->group);
}

TEST(without_memory_shm_fails_and_any_goes_on_over_tcp)
{
    static const struct backend any = {.name = "any"}, any_sealed = {.name = "any", .sealed = true};
    const struct dhole__sys real = dhole__sys;

    dhole__sys.mmap = no_mmap;
    run_ranks(&backend_shm, 2, join_without_memory, NULL);
    run_ranks(&any, 2, join_without_memory, NULL);
    run_ranks(&any_sealed, 2, join_without_memory, NULL);
    dhole__sys = real;
}
