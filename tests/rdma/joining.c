/* Ranks that join while another one cannot: all of them hear at once which, and why. */
#include "dhole/error.h"
#include "fake.h"
#include "harness.h"

enum { ranks = 4, in_time_ms = 5000 /* of the 20 s that there are to join */ };

/* What is wrong with the devices of one rank, or between two; and words of what all are told. */
struct trouble {
    const char *device, *settings;
    dhole_err err;
    const char *words[2];
};

static void cannot_join(struct rank *r)
{
    const struct trouble *trouble = r->arg;
    int64_t begin = now_ms();

    ASSERT_ERR(dhole_init(&r->options, &r->group), trouble->err);
    ASSERT_MSG(now_ms() - begin < patient(in_time_ms), "rank %d heard after %lld ms", r->rank,
               (long long)(now_ms() - begin));
    for (int i = 0; i < 2; i++)
        ASSERT_CONTAINS(dhole_error_message(), trouble->words[i]);
}

static void join_in_trouble(struct rank *r)
{
    const struct trouble *trouble = r->arg;

    if (r->rank == 0)
        fake_device(trouble->device, trouble->settings);
    ranks_meet(r);
    cannot_join(r);
}

static void check_trouble(const struct backend *backend, const struct trouble *trouble)
{
    run_ranks(backend, ranks, join_in_trouble, (void *)trouble);
    fake_devices("fake0"); /* none of those any more */
    ASSERT_EQ(fake_live(), 0);
    ASSERT_MSG(fake_misuse() == NULL, "%s", fake_misuse());
}

/* Whether it is called by the others or calls them. Checked by opening the devices before the ranks
 * meet, and leaving if that fails: then the others wait for it. */
TEST(a_rank_whose_device_cannot_be_opened_tells_the_others)
{
    static const struct trouble down[] = {
        {"left0",
         "port=down",
         DHOLE_ERR_CONFIG,
         {"rank 0: RDMA device left0 port 1", "not active"}},
        {"left2",
         "port=down",
         DHOLE_ERR_CONFIG,
         {"rank 2: RDMA device left2 port 1", "not active"}},
        {"left3", "gids=none", DHOLE_ERR_CONFIG, {"rank 3: RDMA device left3 port 1", "GIDs"}},
        {"left1", "qp_told=2", DHOLE_ERR_LIMIT, {"rank 1: RDMA device left1", "2 queue pairs"}},
    };

    for (size_t i = 0; i < sizeof down / sizeof down[0]; i++)
        check_trouble(&backend_jaccl, &down[i]);
    check_trouble(&backend_jaccl_sealed, &down[1]);
}

/* Rank 0 and rank 2 find out, rank 1 and rank 3 are told. */
TEST(ranks_that_do_not_reach_each_other_tell_the_others)
{
    static const struct trouble apart = {
        "left2", "net=7", DHOLE_ERR_UNSUPPORTED, {"no RDMA device reaches rank", "left"}};

    check_trouble(&backend_jaccl, &apart);
    check_trouble(&backend_jaccl_sealed, &apart);
}

static void name_an_absent_device(struct rank *r)
{
    const char *devices[ranks] = {"absent7", "absent7", "absent7", "absent7"};

    if (r->rank == 1)
        r->options.devices = devices;
    cannot_join(r);
}

TEST(a_device_that_is_absent_is_named_by_all)
{
    static const struct trouble absent = {
        .err = DHOLE_ERR_CONFIG, .words = {"rank 1: there is no RDMA device absent7", "left0"}};

    run_ranks(&backend_jaccl, ranks, name_an_absent_device, (void *)&absent);
    ASSERT_EQ(fake_live(), 0);
}

/* Who waits for a rank that does not come says what is wrong with its own devices all the same. */
static void join_alone(struct rank *r)
{
    if (r->rank == 1)
        return;
    fake_device("left0", "port=down");
    r->options.connect_timeout_ms = 300;
    ASSERT_ERR(dhole_init(&r->options, &r->group), DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(dhole_error_message(), "rank 0: RDMA device left0 port 1");
}

TEST(a_rank_that_is_alone_hears_of_its_own_device)
{
    run_ranks(&backend_jaccl, 2, join_alone, NULL);
    ASSERT_EQ(fake_live(), 0);
}
