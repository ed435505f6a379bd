/* Groups made of parts of a group. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>

#include "base/sys.h"
#include "harness.h"

/* The sum of the old ranks in the new group, which is freed. */
static int64_t sum_in(dhole_group *group, int64_t value)
{
    int64_t sum = -1;

    ASSERT_OK(dhole_all_sum(group, &value, &sum, 1, DHOLE_I64));
    return sum;
}

/* Old ranks of the new group's ranks, in order. */
static void expect_ranks(const struct rank *r, dhole_group *group, const int *ranks, int n)
{
    int32_t own = r->rank, all[ranks_max];

    ASSERT_EQ(dhole_size(group), n);
    ASSERT_OK(dhole_all_gather(group, &own, all, 1, DHOLE_I32));
    for (int i = 0; i < n; i++)
        ASSERT_EQ(all[i], ranks[i]);
    ASSERT_EQ(ranks[dhole_rank(group)], r->rank);
}

static void split_by_parity(struct rank *r)
{
    static const int even[] = {0, 2, 4}, odd[] = {1, 3};
    dhole_group *part;

    ASSERT_OK(dhole_split(r->group, r->rank % 2, -1, &part));
    expect_ranks(r, part, r->rank % 2 ? odd : even, r->rank % 2 ? 2 : 3);
    ASSERT_EQ(sum_in(r->group, r->rank), 10);
    dhole_group_free(part);
    ASSERT_OK(dhole_barrier(r->group));
}

ON_EVERY_BACKEND(a_group_splits_by_color)
{
    run_group(backend, 5, split_by_parity, NULL);
}

static void reverse(struct rank *r)
{
    static const int reversed[] = {3, 2, 1, 0}, same_key[] = {0, 1, 2, 3}, mixed[] = {0, 3, 1, 2};
    int last = r->size - 1;
    dhole_group *part;

    ASSERT_OK(dhole_split(r->group, 7, last - r->rank, &part));
    expect_ranks(r, part, reversed, r->size);
    dhole_group_free(part);
    ASSERT_OK(dhole_split(r->group, 0, 5, &part));
    expect_ranks(r, part, same_key, r->size);
    dhole_group_free(part);
    /* Negative: the rank; rank 3 comes between 0 and 1. */
    ASSERT_OK(dhole_split(r->group, 0, r->rank == last ? 0 : -1, &part));
    expect_ranks(r, part, mixed, r->size);
    dhole_group_free(part);
}

ON_EVERY_BACKEND(keys_order_the_new_group)
{
    run_group(backend, 4, reverse, NULL);
}

static void leave_some_out(struct rank *r)
{
    static const int rest[] = {0, 2};
    dhole_group *part = r->group;

    ASSERT_OK(dhole_split(r->group, r->rank == 1 ? -1 : 0, 0, &part));
    if (r->rank == 1)
        ASSERT(part == NULL);
    else
        expect_ranks(r, part, rest, 2);
    dhole_group_free(part);
    /* Everybody alone, and nobody at all. */
    ASSERT_OK(dhole_split(r->group, r->rank, 0, &part));
    ASSERT_EQ(dhole_size(part), 1);
    ASSERT_EQ(sum_in(part, 5), 5);
    dhole_group_free(part);
    ASSERT_OK(dhole_split(r->group, -5, 0, &part));
    ASSERT(part == NULL);
    ASSERT_OK(dhole_barrier(r->group));
}

ON_EVERY_BACKEND(a_negative_color_is_no_group)
{
    run_group(backend, 3, leave_some_out, NULL);
}

/* Halves of halves, until each rank is alone; the parents are freed first. */
static void split_deeply(struct rank *r)
{
    dhole_group *group = r->group, *half;
    int expected = r->size;

    r->group = NULL;
    while (dhole_size(group) > 1) {
        int upper = dhole_rank(group) >= dhole_size(group) / 2;
        ASSERT_OK(dhole_split(group, upper, -1, &half));
        ASSERT_OK(dhole_barrier(group));
        dhole_group_free(group);
        group = half;
        expected /= 2;
        ASSERT_EQ(dhole_size(group), expected);
        ASSERT_EQ(sum_in(group, 1), expected);
    }
    dhole_group_free(group);
}

ON_EVERY_BACKEND(a_part_splits_again)
{
    run_group(backend, 8, split_deeply, NULL);
}

/* A session that leaves no room for what a split adds. */
static void split_a_long_name(struct rank *r)
{
    char session[65];
    dhole_group *group, *part;

    memset(session, 'x', sizeof session - 1);
    session[sizeof session - 1] = '\0';
    r->options.session = session;
    ASSERT_OK(dhole_init(&r->options, &group));
    for (int i = 0; i < 3; i++) {
        ASSERT_OK(dhole_split(group, 2147483647, -1, &part));
        dhole_group_free(group);
        group = part;
    }
    ASSERT_EQ(sum_in(group, 1), r->size);
    dhole_group_free(group);
}

ON_EVERY_BACKEND(a_long_session_splits)
{
    run_ranks(backend, 2, split_a_long_name, NULL);
}

/* What a part goes through does not concern the whole. */
static void break_a_part(struct rank *r)
{
    dhole_group *part;

    ASSERT_OK(dhole_split(r->group, r->rank / 2, -1, &part));
    ranks_meet(r);
    if (r->rank == 0)
        dhole_abort(part, "just this one");
    if (r->rank < 2)
        while (dhole_barrier(part) == DHOLE_OK)
            ;
    else
        ASSERT_EQ(sum_in(part, r->rank), 5);
    ASSERT_EQ(sum_in(r->group, r->rank), 6);
    dhole_group_free(part);
}

ON_EVERY_BACKEND(a_part_that_breaks_leaves_the_whole)
{
    run_group(backend, 4, break_a_part, NULL);
}

static void split_broken(struct rank *r)
{
    dhole_group *part = NULL;

    if (r->rank == 0)
        dhole_abort(r->group, "no more");
    while (dhole_barrier(r->group) == DHOLE_OK)
        ;
    ASSERT_ERR(dhole_split(r->group, 0, 0, &part), DHOLE_ERR_ABORTED);
    ASSERT_CONTAINS(dhole_error_message(), "no more");
    ASSERT(part == NULL);
}

ON_EVERY_BACKEND(a_broken_group_does_not_split)
{
    run_group(backend, 2, split_broken, NULL);
}

/* Splits of several groups at once, in several threads, with requests outstanding. */
enum { threads = 3 };

struct worker {
    pthread_t id;
    dhole_group *group;
    int number, rank, size;
};

static void *split_and_sum(void *arg)
{
    struct worker *w = arg;

    for (int i = 0; i < 3; i++) {
        int64_t one = 1, sum = 0;
        dhole_request *request;
        dhole_group *part;
        ASSERT_OK(dhole_iall_sum(w->group, &one, &sum, 1, DHOLE_I64, &request));
        ASSERT_OK(dhole_split(w->group, w->rank % 2, -1, &part));
        ASSERT_OK(dhole_wait(request));
        ASSERT_EQ(sum, w->size);
        ASSERT_EQ(sum_in(part, w->number), w->number * dhole_size(part));
        dhole_group_free(part);
    }
    return NULL;
}

static void split_in_threads(struct rank *r)
{
    struct worker worker[threads];

    for (int t = 0; t < threads; t++) {
        worker[t] = (struct worker){.number = t + 1, .rank = r->rank, .size = r->size};
        ASSERT_OK(dhole_split(r->group, 0, -1, &worker[t].group));
    }
    for (int t = 0; t < threads; t++)
        ASSERT(pthread_create(&worker[t].id, NULL, split_and_sum, &worker[t]) == 0);
    for (int t = 0; t < threads; t++) {
        pthread_join(worker[t].id, NULL);
        dhole_group_free(worker[t].group);
    }
}

ON_EVERY_BACKEND(groups_split_at_once)
{
    run_group(backend, 4, split_in_threads, NULL);
}

/* Ranks with several addresses have as many in a part: the same one twice, or two. */
static char texts[2][ranks_max][80];

static void split_rails(struct rank *r)
{
    enum { n = 1 << 18 };
    const char *const hosts[2][3] = {{texts[0][0], texts[0][1], texts[0][2]},
                                     {texts[1][0], texts[1][1], texts[1][2]}};
    float *data = malloc(n * sizeof *data);

    snprintf(texts[0][r->rank], 80, "%s,%s", r->options.hosts[r->rank], r->options.hosts[r->rank]);
    ranks_meet(r);
    for (int twice = 1; twice >= 0; twice--) {
        dhole_options options = r->options;
        dhole_group *whole, *part;
        options.hosts = hosts[!twice];
        if (!twice)
            options.listen_fd = -1;
        ASSERT_OK(dhole_init(&options, &whole));
        ASSERT_OK(dhole_split(whole, 0, r->size - r->rank, &part));
        for (int i = 0; i < n; i++)
            data[i] = (float)i;
        ASSERT_OK(dhole_all_sum(part, data, data, n, DHOLE_F32));
        for (int i = 0; i < n; i++)
            ASSERT(data[i] == (float)(r->size * i));
        dhole_group_free(whole);
        dhole_group_free(part);
    }
    free(data);
}

static void split_rails_on(const struct backend *backend)
{
    for (int rank = 0; rank < 3; rank++)
        snprintf(texts[1][rank], sizeof texts[1][rank], "127.0.0.1:%d,127.0.0.1:%d",
                 free_port("127.0.0.1"), free_port("127.0.0.1"));
    run_ranks(backend, 3, split_rails, NULL);
}

TEST(several_addresses_split_tcp)
{
    split_rails_on(&backend_tcp);
}

TEST(several_addresses_split_tcp_sealed)
{
    split_rails_on(&backend_tcp_sealed);
}

/* As if every port were taken that is not kept from when it was told to the others. */
static int bind_to_any_port(int fd, const struct sockaddr *address, socklen_t length)
{
    if (address->sa_family == AF_INET && ((const struct sockaddr_in *)address)->sin_port != 0) {
        errno = EADDRINUSE;
        return -1;
    }
    return bind(fd, address, length);
}

static void split_with_ports_taken(struct rank *r)
{
    dhole_group *part;

    ranks_meet(r);
    if (r->rank == 0)
        dhole__sys.bind = bind_to_any_port;
    ranks_meet(r);
    ASSERT_OK(dhole_split(r->group, 0, -1, &part));
    ASSERT_EQ(sum_in(part, 1), r->size);
    dhole_group_free(part);
}

TEST(a_port_that_was_told_is_kept)
{
    const struct dhole__sys real = dhole__sys;

    run_group(&backend_rails, 3, split_with_ports_taken, NULL);
    dhole__sys = real;
}
