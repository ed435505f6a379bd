/* Ranks that leave and come back. */
#include <time.h>

#include "cluster/session.h"
#include "party.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

static void leave(struct party *p, int machine)
{
    dhole_cluster_free(p->cluster[machine]);
    p->cluster[machine] = NULL;
}

static void come_back(struct party *p, int machine)
{
    struct starter starter = {0};

    party_start(&starter, p, machine);
    party_await(&starter);
    ASSERT_MSG(starter.err == DHOLE_OK, "m%d: %s", machine, starter.message);
}

static void await_all(struct party *p, int machine, dhole_cluster *cluster)
{
    (void)p;
    (void)machine;
    ASSERT_OK(dhole_cluster_wait(cluster, patient(20000)));
}

static void sum_in_a_group(struct party *p, int machine, dhole_cluster *cluster)
{
    dhole_group *group;
    int32_t one = 1, sum;

    (void)machine;
    ASSERT_OK(dhole_cluster_group(cluster, NULL, &group));
    ASSERT_OK(dhole_all_sum(group, &one, &sum, 1, DHOLE_I32));
    ASSERT_EQ(sum, p->size);
    dhole_group_free(group);
}

static void find_it_lost(struct party *p, int machine, dhole_cluster *cluster)
{
    char word[8];
    size_t size;
    dhole_group *group;
    dhole_peer peer;

    party_await_state(cluster, 2, DHOLE_PEER_UNAVAILABLE);
    dhole_cluster_peer(cluster, 2, &peer);
    ASSERT_CONTAINS(peer.why, "it has left");
    ASSERT_ERR(dhole_cluster_recv(cluster, machine == 0 ? 1 : 0, word, sizeof word, &size, 5000),
               DHOLE_ERR_PEER_LOST);
    ASSERT_CONTAINS(dhole_error_message(), "m2 (rank 2)");
    ASSERT_ERR(dhole_cluster_send(cluster, machine == 0 ? 1 : 0, "x", 1), DHOLE_ERR_PEER_LOST);
    ASSERT_ERR(dhole_cluster_group(cluster, NULL, &group), DHOLE_ERR_PEER_LOST);
    ASSERT_ERR(dhole_cluster_wait(cluster, 50), DHOLE_ERR_TIMEOUT);
    ASSERT_CONTAINS(dhole_error_message(), "m2 (rank 2): it has left");
    dhole_cluster_peer(cluster, machine == 0 ? 1 : 0, &peer);
    ASSERT_EQ(peer.state, DHOLE_PEER_READY);
    (void)p;
}

TEST(a_rank_that_leaves_is_missed_and_its_return_is_a_new_epoch)
{
    struct party p;

    party_make(&p, 3);
    party_begin(&p);
    leave(&p, 2);
    party_run(&p, find_it_lost);
    come_back(&p, 2);
    party_run(&p, await_all);
    for (int i = 0; i < p.size; i++) {
        ASSERT_EQ(dhole_cluster_epoch(p.cluster[i]), 2);
        ASSERT_EQ(dhole_cluster_rank(p.cluster[i]), i);
    }
    party_run(&p, sum_in_a_group);
    party_free(&p);
}

TEST(words_of_an_epoch_that_is_over_are_not_received)
{
    struct party p;
    char word[8] = "";
    size_t size;

    party_make(&p, 3);
    party_begin(&p);
    ASSERT_OK(dhole_cluster_send(p.cluster[0], 1, "old", 4));
    leave(&p, 2);
    come_back(&p, 2);
    /* Whoever has not waited for the new epoch is told that the old one is over. */
    ASSERT_ERR(dhole_cluster_send(p.cluster[0], 1, "older", 6), DHOLE_ERR_PEER_LOST);
    ASSERT_ERR(dhole_cluster_recv(p.cluster[1], 0, word, sizeof word, &size, 1000),
               DHOLE_ERR_PEER_LOST);
    party_run(&p, await_all);
    ASSERT_OK(dhole_cluster_send(p.cluster[0], 1, "new", 4));
    ASSERT_OK(dhole_cluster_recv(p.cluster[1], 0, word, sizeof word, &size, 0));
    ASSERT_STR(word, "new");
    party_free(&p);
}

/* A rank whose keeper is held up answers no ping; its links stay. */
TEST(a_rank_that_misses_pings_is_degraded_until_it_answers)
{
    struct party p;
    dhole_peer peer;

    party_make(&p, 2);
    p.base.ping_ms = patient(2000);
    party_begin(&p);
    pthread_mutex_lock(&p.cluster[1]->lock);
    party_await_state(p.cluster[0], 1, DHOLE_PEER_DEGRADED);
    dhole_cluster_peer(p.cluster[0], 1, &peer);
    pthread_mutex_unlock(&p.cluster[1]->lock);
    ASSERT(peer.missed == 1 || peer.missed == 2);
    ASSERT_CONTAINS(peer.why, "not answered: ");
    ASSERT_EQ(peer.why[strlen(peer.why) - 1] - '0', peer.missed);
    party_await_state(p.cluster[0], 1, DHOLE_PEER_READY);
    dhole_cluster_peer(p.cluster[0], 1, &peer);
    ASSERT_EQ(peer.missed, 0);
    ASSERT_STR(peer.why, "");
    party_run(&p, await_all);
    ASSERT_EQ(dhole_cluster_epoch(p.cluster[0]), 1);
    party_free(&p);
}

static void find_it_ended(struct party *p, int machine, dhole_cluster *cluster)
{
    char word[8];
    size_t size;

    (void)p;
    if (machine == 0)
        return;
    ASSERT_ERR(dhole_cluster_recv(cluster, 0, word, sizeof word, &size, patient(20000)),
               DHOLE_ERR_PEER_LOST);
    ASSERT_CONTAINS(dhole_error_message(), "the coordinator ended the session");
    ASSERT_ERR(dhole_cluster_wait(cluster, patient(20000)), DHOLE_ERR_PEER_LOST);
    ASSERT_CONTAINS(dhole_error_message(), "the coordinator ended the session");
}

TEST(the_coordinator_ends_the_session_for_all)
{
    struct party p;

    party_make(&p, 3);
    party_begin(&p);
    leave(&p, 0);
    party_run(&p, find_it_ended);
    party_free(&p);
}

TEST(a_rank_that_comes_back_with_another_key_is_refused)
{
    struct starter starter = {0};
    struct party p;
    dhole_peer peer;

    party_make(&p, 2);
    party_begin(&p);
    leave(&p, 1);
    party_change_key(&p, 1);
    party_start(&starter, &p, 1);
    party_await(&starter);
    ASSERT_EQ(starter.err, DHOLE_ERR_AUTH);
    dhole_cluster_peer(p.cluster[0], 1, &peer);
    ASSERT_EQ(peer.state, DHOLE_PEER_UNAVAILABLE);
    ASSERT_CONTAINS(peer.why, "not trusted");
    ASSERT_CONTAINS(peer.why, "sha256:");
    party_free(&p);
}

/* As a network between two of them would that falls silent for a moment. */
static void break_link(dhole_cluster *cluster, int rank)
{
    pthread_mutex_lock(&cluster->lock);
    ASSERT(cluster->member[rank].wire != NULL);
    dhole_link_close(cluster->member[rank].wire->link);
    pthread_mutex_unlock(&cluster->lock);
}

TEST(a_link_between_two_ranks_that_breaks_is_a_new_epoch)
{
    struct party p;

    party_make(&p, 4);
    party_begin(&p);
    for (int i = 1; i < 3; i++) {
        break_link(p.cluster[3], 3 - i);
        for (int64_t until = now_ms() + patient(20000);
             (int)dhole_cluster_epoch(p.cluster[1]) <= i;) {
            ASSERT(now_ms() < until);
            party_run(&p, await_all);
        }
        party_run(&p, await_all);
        party_run(&p, sum_in_a_group);
    }
    party_free(&p);
}

static void sum_for_a_while(struct party *p, int machine, dhole_cluster *cluster)
{
    dhole_options options = DHOLE_OPTIONS_INIT;
    dhole_group *group;
    int32_t go_on, all;
    int64_t until = now_ms() + 10 * p->base.ping_ms;

    (void)machine;
    options.silence_ms = p->base.ping_ms;
    ASSERT_OK(dhole_cluster_group(cluster, &options, &group));
    do {
        go_on = now_ms() < until;
        ASSERT_OK(dhole_all_max(group, &go_on, &all, 1, DHOLE_I32));
    } while (all);
    dhole_group_free(group);
}

static uint32_t pings(dhole_cluster *cluster, int rank)
{
    uint32_t n;

    pthread_mutex_lock(&cluster->lock);
    n = cluster->member[rank].wire->pings;
    pthread_mutex_unlock(&cluster->lock);
    return n;
}

TEST(no_ping_goes_out_during_a_transfer)
{
    uint32_t before;
    struct party p;

    party_make(&p, 2);
    p.base.ping_ms = patient(300);
    party_begin(&p);
    before = pings(p.cluster[0], 1);
    party_run(&p, sum_for_a_while);
    ASSERT(pings(p.cluster[0], 1) <= before + 1); /* one may be due while the group is made */
    party_free(&p);
}

/* The session's own, its thread's and those of a rank that is lost. */
static void await_descriptors(int most)
{
    struct timespec tick = {0, 2000000};
    int64_t until = now_ms() + patient(5000);

    while (test_descriptors() > most) {
        ASSERT_MSG(now_ms() < until, "%d descriptors, expected %d", test_descriptors(), most);
        nanosleep(&tick, NULL);
    }
}

static size_t memory_in_use(void)
{
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
    return mallinfo2().uordblks;
#else
    return 0;
#endif
}

TEST_LIMIT(a_thousand_reconnects_leave_nothing_behind, 120)
{
    enum { warm = 50, rounds = 1000 };
    struct party p;
    size_t memory = 0;
    int descriptors = 0, threads = 0;

    party_make(&p, 2);
    p.base.reconnect_ms = 1;
    party_begin(&p);
    for (int i = 0; i < rounds; i++) {
        leave(&p, 1);
        come_back(&p, 1);
        ASSERT_OK(dhole_cluster_wait(p.cluster[0], patient(20000)));
        if (i == warm) {
            memory = memory_in_use();
            descriptors = test_descriptors();
            threads = test_threads();
        }
    }
    ASSERT_EQ(dhole_cluster_epoch(p.cluster[0]), rounds + 1);
    await_descriptors(descriptors);
    test_await_threads(threads);
    ASSERT_MSG(memory_in_use() < memory + (256 << 10), "%zu bytes more", memory_in_use() - memory);
    party_free(&p);
}
