/* A session from its beginning to its end: roster, words, group. */
#include <time.h>
#include <unistd.h>

#include "party.h"

#ifdef FAKE_VERBS
#include "fake.h"
#endif

static void sum_in_a_group(struct party *p, int machine, dhole_cluster *cluster)
{
    int rank = dhole_cluster_rank(cluster);
    dhole_group *group;
    float one = (float)(1 << rank), sum;

    (void)machine;
    ASSERT_OK(dhole_cluster_group(cluster, NULL, &group));
    ASSERT_EQ(dhole_rank(group), rank);
    ASSERT_EQ(dhole_size(group), p->size);
    ASSERT_OK(dhole_all_sum(group, &one, &sum, 1, DHOLE_F32));
    ASSERT(sum == (float)((1 << p->size) - 1));
    dhole_group_free(group);
}

TEST(ranks_stand_in_the_order_of_members)
{
    static const char *const order[] = {"m2", "m3", "m1"};
    static const int rank[] = {0, 3, 1, 2};
    struct party p;

    party_make(&p, 4);
    p.base.members = order;
    party_begin(&p);
    for (int i = 0; i < p.size; i++) {
        ASSERT_EQ(dhole_cluster_rank(p.cluster[i]), rank[i]);
        ASSERT_EQ(dhole_cluster_size(p.cluster[i]), 4);
        ASSERT_EQ(dhole_cluster_epoch(p.cluster[i]), 1);
    }
    for (int i = 0; i < p.size; i++)
        for (int j = 0; j < p.size; j++) {
            dhole_peer peer;
            dhole_pin pin;
            char name[16];
            if (i == j)
                continue;
            snprintf(name, sizeof name, "m%d", j);
            dhole_identity_pin(p.identity[j], &pin);
            dhole_cluster_peer(p.cluster[i], rank[j], &peer);
            ASSERT_STR(peer.name, name);
            ASSERT_EQ(peer.state, DHOLE_PEER_READY);
            ASSERT(memcmp(&peer.pin, &pin, sizeof pin) == 0);
        }
    party_run(&p, sum_in_a_group);
    party_free(&p);
}

TEST(two_groups_follow_each_other)
{
    struct party p;

    party_make(&p, 3);
    party_begin(&p);
    party_run(&p, sum_in_a_group);
    party_run(&p, sum_in_a_group);
    party_free(&p);
}

#ifdef FAKE_VERBS
/* Addresses and the session's name come from the session, the devices from the caller. */
static void sum_over_devices(struct party *p, int machine, dhole_cluster *cluster)
{
    char name[16];
    const char *devices[party_max] = {NULL};
    dhole_options base = DHOLE_OPTIONS_INIT;
    int rank = dhole_cluster_rank(cluster);
    float one = 1, sum;
    dhole_group *group;

    snprintf(name, sizeof name, "card%d", machine);
    for (int i = 0; i < p->size; i++)
        devices[i] = i == rank ? NULL : name;
    base.backend = "jaccl";
    base.devices = devices;
    ASSERT_OK(dhole_cluster_group(cluster, &base, &group));
    ASSERT_OK(dhole_all_sum(group, &one, &sum, 1, DHOLE_F32));
    ASSERT(sum == (float)p->size);
    ASSERT_OK(dhole_barrier(group));
    ASSERT(fake_counts(name).sent > 0);
    dhole_group_free(group);
}

TEST(a_group_over_rdma)
{
    struct party p;

    fake_load();
    fake_devices("card0; card1; card2");
    party_make(&p, 3);
    party_begin(&p);
    party_run(&p, sum_over_devices);
    party_free(&p);
    ASSERT_EQ(fake_live(), 0);
}
#endif

static void exchange_words(struct party *p, int machine, dhole_cluster *cluster)
{
    char word[64], heard[64];
    size_t size;

    for (int i = 0; i < 100; i++)
        for (int other = 1; other < p->size; other++) {
            if (machine != 0 && machine != other)
                continue;
            snprintf(word, sizeof word, "%d to rank %d", i, other);
            if (machine == 0) {
                ASSERT_OK(dhole_cluster_send(cluster, other, word, strlen(word) + 1));
                ASSERT_OK(dhole_cluster_recv(cluster, other, heard, sizeof heard, &size, 0));
            } else {
                ASSERT_OK(dhole_cluster_recv(cluster, 0, heard, sizeof heard, &size, 0));
                ASSERT_OK(dhole_cluster_send(cluster, 0, heard, size));
            }
            ASSERT_EQ(size, strlen(word) + 1);
            ASSERT_STR(heard, word);
        }
}

TEST(words_go_between_the_coordinator_and_the_others)
{
    struct party p;

    party_make(&p, 3);
    party_begin(&p);
    party_run(&p, exchange_words);
    party_free(&p);
}

TEST(ranks_stand_by_address_unless_members_are_named)
{
    struct starter starter[4] = {{0}};
    char own[4][32];
    int port[4] = {0};
    struct party p;

    party_make(&p, 4);
    p.by_address = true;
    for (int i = 0; i < p.size; i++) {
        port[i] = free_port("127.0.0.1");
        snprintf(own[i], sizeof own[i], "127.0.0.1:%d", port[i]);
        starter[i].options = party_options(&p, i);
        starter[i].options.own_address = own[i];
        party_start(&starter[i], &p, i);
    }
    for (int i = 0; i < p.size; i++) {
        int rank = i > 0;
        for (int other = 1; i > 0 && other < p.size; other++)
            rank += port[other] < port[i];
        party_await(&starter[i]);
        ASSERT_MSG(starter[i].err == DHOLE_OK, "m%d: %s", i, starter[i].message);
        ASSERT_EQ(dhole_cluster_rank(p.cluster[i]), rank);
    }
    party_run(&p, sum_in_a_group);
    party_free(&p);
}

TEST(a_file_says_where_the_coordinator_is)
{
    struct party p;

    party_make(&p, 3);
    snprintf(p.address, sizeof p.address, "file:%.50s/here", test_dir());
    party_begin(&p);
    party_run(&p, exchange_words);
    party_free(&p);
}

static dhole_err find(void *arg, char address[DHOLE_ADDRESS_SIZE])
{
    snprintf(address, DHOLE_ADDRESS_SIZE, "%s", (const char *)arg);
    return DHOLE_OK;
}

TEST(a_callback_says_where_the_coordinator_is)
{
    struct starter starter[2] = {{0}};
    struct party p;

    party_make(&p, 2);
    starter[1].options = party_options(&p, 1);
    starter[1].options.address = NULL;
    starter[1].options.find = find;
    starter[1].options.find_arg = p.address;
    for (int i = 0; i < p.size; i++)
        party_start(&starter[i], &p, i);
    for (int i = 0; i < p.size; i++) {
        party_await(&starter[i]);
        ASSERT_MSG(starter[i].err == DHOLE_OK, "m%d: %s", i, starter[i].message);
    }
    party_free(&p);
}

TEST(a_peer_tells_how_it_is)
{
    struct timespec tick = {0, 2000000};
    int64_t until = now_ms() + patient(20000);
    struct party p;
    dhole_peer peer;

    party_make(&p, 2);
    p.base.ping_ms = 50;
    party_begin(&p);
    dhole_cluster_set_status(p.cluster[1], 1, 3);
    do {
        ASSERT(now_ms() < until);
        nanosleep(&tick, NULL);
        dhole_cluster_peer(p.cluster[0], 1, &peer);
    } while (peer.in_flight != 3 || peer.round_trip_us == 0);
    ASSERT_EQ(peer.model_loaded, 1);
    ASSERT(peer.memory_pressure >= -1 && peer.memory_pressure <= 100);
    party_free(&p);
}

TEST(who_is_missing_is_named)
{
    struct starter starter[2] = {{0}};
    struct party p;

    party_make(&p, 3);
    p.base.join_timeout_ms = 500;
    for (int i = 0; i < 2; i++)
        party_start(&starter[i], &p, i);
    for (int i = 0; i < 2; i++) {
        party_await(&starter[i]);
        ASSERT(starter[i].err == DHOLE_ERR_TIMEOUT || i == 1);
        ASSERT(starter[i].err != DHOLE_OK);
    }
    ASSERT_CONTAINS(starter[0].message, "m2 (rank 2): it has not joined");
    party_free(&p);
}

/* Groups of a group too are reached on every network. */
static void sum_in_a_part(struct party *p, int machine, dhole_cluster *cluster)
{
    dhole_group *group, *part;
    float one = 1, sum;

    ASSERT_OK(dhole_cluster_group(cluster, NULL, &group));
    ASSERT_OK(dhole_split(group, 0, p->size - machine, &part));
    ASSERT_EQ(dhole_rank(part), p->size - 1 - machine);
    ASSERT_OK(dhole_all_sum(part, &one, &sum, 1, DHOLE_F32));
    ASSERT(sum == (float)p->size);
    ASSERT_OK(dhole_barrier(part));
    dhole_group_free(part);
    dhole_group_free(group);
}

/* Each of the others knows one of them, or does not know which is the right one. */
TEST(a_coordinator_may_be_on_several_networks)
{
    struct starter starter[3] = {{0}};
    char both[96], second[32], wrong_first[96];
    int port = free_port("127.0.0.2");
    struct party p;

    if (port == 0)
        test_skip("this system has no 127.0.0.2");
    party_make(&p, 3);
    for (int i = 0; i < 3; i++)
        starter[i].options = party_options(&p, i);
    snprintf(second, sizeof second, "127.0.0.2:%d", port);
    snprintf(both, sizeof both, "%.40s,%s", p.address, second);
    snprintf(wrong_first, sizeof wrong_first, "127.0.0.1:%d,%.40s", free_port("127.0.0.1"),
             p.address);
    starter[0].options.address = both;
    starter[1].options.address = wrong_first;
    starter[1].options.own_address = "0.0.0.0:0";
    starter[2].options.address = second;
    for (int i = 0; i < 3; i++)
        party_start(&starter[i], &p, i);
    for (int i = 0; i < 3; i++) {
        party_await(&starter[i]);
        ASSERT_MSG(starter[i].err == DHOLE_OK, "m%d: %s", i, starter[i].message);
    }
    party_run(&p, sum_in_a_group);
    party_run(&p, sum_in_a_part);
    party_free(&p);
}

static dhole_err refuse_to_listen(void *arg, const char *address)
{
    snprintf(arg, DHOLE_ADDRESS_SIZE, "%s", address);
    return DHOLE_ERR_LIMIT;
}

TEST(who_is_told_where_it_listens_may_end_it)
{
    char told[DHOLE_ADDRESS_SIZE] = "";
    dhole_cluster_options options;
    struct party p;

    party_make(&p, 2);
    options = party_options(&p, 0);
    options.address = "127.0.0.1:0";
    options.listening = refuse_to_listen;
    options.listening_arg = told;
    ASSERT_ERR(dhole_cluster_listen(&options, &p.cluster[0]), DHOLE_ERR_LIMIT);
    ASSERT_CONTAINS(told, "127.0.0.1:");
    ASSERT(strcmp(told, "127.0.0.1:0") != 0);
    party_free(&p);
}

TEST(a_coordinator_with_another_key_is_left)
{
    struct starter starter[2] = {{0}};
    struct party p;
    dhole_trust *trust;
    static const int others[] = {1, 2};

    party_make(&p, 3);
    trust = party_trust(&p, others, 2);
    starter[0].options = party_options(&p, 0);
    starter[0].options.count = 1;
    starter[0].options.join_timeout_ms = patient(500);
    starter[1].options = party_options(&p, 1);
    starter[1].options.trust = trust; /* without m0 */
    for (int i = 0; i < 2; i++)
        party_start(&starter[i], &p, i);
    party_await(&starter[1]);
    ASSERT_EQ(starter[1].err, DHOLE_ERR_AUTH);
    starter[1].options = party_options(&p, 1);
    starter[1].options.coordinator = "m2"; /* is trusted, and is not who answers */
    party_start(&starter[1], &p, 1);
    party_await(&starter[1]);
    ASSERT_EQ(starter[1].err, DHOLE_ERR_AUTH);
    party_await(&starter[0]);
    dhole_trust_free(trust);
    party_free(&p);
}

static void cancel_soon(struct party *p, int machine, dhole_cluster *cluster)
{
    char word[8];
    size_t size;

    (void)p;
    ASSERT_ERR(dhole_cluster_recv(cluster, machine == 0 ? 1 : 0, word, sizeof word, &size, 0),
               DHOLE_ERR_CANCELLED);
    ASSERT_ERR(dhole_cluster_wait(cluster, 1000), DHOLE_ERR_CANCELLED);
}

TEST(a_descriptor_cancels_what_waits)
{
    struct party p;
    int pipes[2];

    ASSERT(pipe(pipes) == 0);
    party_make(&p, 2);
    p.base.cancel_fd = pipes[0];
    party_begin(&p);
    ASSERT(write(pipes[1], "", 1) == 1);
    party_run(&p, cancel_soon);
    party_free(&p);
    close(pipes[0]);
    close(pipes[1]);
}

TEST(words_may_be_as_long_as_is_said_and_no_longer)
{
    enum { max = 48 << 10 };
    static char words[max + 1], heard[max];
    struct party p;
    size_t size;

    party_make(&p, 2);
    party_begin(&p);
    memset(words, 'w', sizeof words);
    ASSERT_ERR(dhole_cluster_send(p.cluster[0], 1, words, max + 1), DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole_cluster_send(p.cluster[0], 0, words, 1), DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole_cluster_send(p.cluster[0], 2, words, 1), DHOLE_ERR_INVALID);
    ASSERT_OK(dhole_cluster_send(p.cluster[0], 1, words, max));
    ASSERT_OK(dhole_cluster_send(p.cluster[0], 1, words, 0));
    ASSERT_ERR(dhole_cluster_recv(p.cluster[1], 0, heard, max - 1, &size, 0), DHOLE_ERR_LIMIT);
    ASSERT_OK(dhole_cluster_recv(p.cluster[1], 0, heard, max, &size, 0));
    ASSERT_EQ(size, max);
    ASSERT(memcmp(words, heard, max) == 0);
    ASSERT_OK(dhole_cluster_recv(p.cluster[1], 0, heard, max, &size, 0));
    ASSERT_EQ(size, 0);
    ASSERT_ERR(dhole_cluster_recv(p.cluster[1], 0, heard, max, &size, 20), DHOLE_ERR_TIMEOUT);
    party_free(&p);
}
