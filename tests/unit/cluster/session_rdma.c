/* Groups over RDMA whose devices the session finds, or its options name. */
#include "party.h"

#ifdef FAKE_VERBS
#include "fake.h"

static const char *backend, *words; /* of the case; the words of its error */
static dhole_err expected;
static char devices[party_max][16];

static dhole_err make_group(dhole_cluster *cluster, dhole_group **out)
{
    dhole_options base = DHOLE_OPTIONS_INIT;

    base.backend = backend;
    base.seal_rdma = 1;
    base.connect_timeout_ms = patient(20000);
    return dhole_cluster_group(cluster, &base, out);
}

static void sum(struct party *p, int machine, dhole_cluster *cluster)
{
    float one = 1, all;
    dhole_group *group;
    dhole_stats stats;

    (void)machine;
    ASSERT_OK(make_group(cluster, &group));
    ASSERT_OK(dhole_all_sum(group, &one, &all, 1, DHOLE_F32));
    ASSERT(all == (float)p->size);
    ASSERT_OK(dhole_barrier(group));
    dhole_group_stats(group, &stats);
    ASSERT(stats.plain_bytes == 0 && stats.memory_bytes == 0 && stats.sealed_bytes > 0);
    dhole_group_free(group);
}

static void fail(struct party *p, int machine, dhole_cluster *cluster)
{
    dhole_group *group;
    dhole_err err = make_group(cluster, &group);

    (void)p;
    ASSERT_MSG(err == expected, "m%d: %s", machine, dhole_error_message());
    ASSERT_MSG(strstr(dhole_error_message(), words) != NULL, "m%d: %s", machine,
               dhole_error_message());
}

/* Machine m has the devices that are named, which "" leaves to the session. */
static void gather(struct party *p, int size, const char *there)
{
    struct starter starter[party_max] = {{0}};

    fake_load();
    fake_devices(there);
    party_make(p, size);
    for (int i = 0; i < size; i++) {
        starter[i].options = party_options(p, i);
        starter[i].options.devices = devices[i][0] != '\0' ? devices[i] : NULL;
        party_start(&starter[i], p, i);
    }
    for (int i = 0; i < size; i++) {
        party_await(&starter[i]);
        ASSERT_MSG(starter[i].err == DHOLE_OK, "m%d: %s", i, starter[i].message);
    }
}

static void disperse(struct party *p)
{
    party_free(p);
    ASSERT_EQ(fake_live(), 0);
}

TEST(all_devices_that_can_be_used_are_taken)
{
    struct party p;

    backend = "jaccl";
    gather(&p, 3, "card0; card1 port=down; card2 pd=no; card3");
    party_run(&p, sum);
    ASSERT(fake_counts("card0").sent > 0);
    ASSERT(fake_counts("card3").sent > 0);
    ASSERT_EQ(fake_counts("card1").sent + fake_counts("card2").sent, 0);
    disperse(&p);
}

TEST(a_session_keeps_to_the_devices_that_it_is_told)
{
    struct party p;

    backend = "jaccl";
    strcpy(devices[0], "card2");
    strcpy(devices[1], "card1,card2");
    gather(&p, 2, "card0; card1; card2");
    party_run(&p, sum);
    party_run(&p, sum);
    ASSERT_EQ(fake_counts("card0").sent, 0);
    ASSERT(fake_counts("card2").sent > 0);
    disperse(&p);
}

TEST(a_ring_takes_two_queue_pairs_of_each_device)
{
    struct party p;

    for (int i = 0; i < 4; i++)
        snprintf(devices[i], sizeof devices[i], "card%d", i);
    gather(&p, 4, "card0 qp_max=2; card1 qp_max=2; card2 qp_max=2; card3 qp_max=2");
    backend = "jaccl";
    expected = DHOLE_ERR_LIMIT;
    words = "rank 0 (m0): RDMA device card0 has 2 queue pairs, and 3 peers";
    party_run(&p, fail);
    backend = "jaccl-ring";
    party_run(&p, sum);
    disperse(&p);
}

/* Nobody waits for a rank that cannot come, and the session goes on. */
TEST(who_has_no_such_device_is_named_on_all_ranks)
{
    int64_t start = now_ms();
    struct party p;

    backend = "jaccl";
    expected = DHOLE_ERR_CONFIG;
    words = "rank 1 (m1): there is no RDMA device card9 here; there are card0, card1";
    strcpy(devices[1], "card9");
    gather(&p, 3, "card0; card1");
    party_run(&p, fail);
    party_run(&p, fail);
    ASSERT(now_ms() - start < patient(10000));
    backend = "ring";
    party_run(&p, sum);
    disperse(&p);
}

static void none_can_be_used(const char *there, dhole_err err, const char *why)
{
    struct party p;

    backend = "jaccl";
    expected = err;
    words = why;
    gather(&p, 2, there);
    party_run(&p, fail);
    disperse(&p);
}

TEST(machines_without_a_device_that_can_be_used)
{
    none_can_be_used(";", DHOLE_ERR_UNSUPPORTED, "rank 0 (m0): there is no RDMA device here");
    none_can_be_used("card0 port=down; card1 gids=none", DHOLE_ERR_CONFIG,
                     "no RDMA device here can be used: RDMA device card0 port 1 is not active");
    none_can_be_used("a; b; c; d; e; f; g; h; i", DHOLE_ERR_CONFIG, "9 RDMA devices can be used");
}

TEST(a_list_that_is_none_is_refused_at_once)
{
    static const char *const lists[] = {"", "card0,,card1", "a,b,c,d,e,f,g,h,i", "card 0"};
    dhole_cluster *cluster;
    struct party p;

    party_make(&p, 2);
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        dhole_cluster_options options = party_options(&p, 1);
        options.devices = lists[i];
        ASSERT_ERR(dhole_cluster_join(&options, &cluster), DHOLE_ERR_INVALID);
    }
    party_free(&p);
}
#else
TEST(groups_over_rdma)
{
    test_skip("infiniband/verbs.h is missing");
}
#endif
