/* Ranks, as threads, that find each other at a coordinator. */
#include "group/rendezvous.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "group/rendezvous_wire.h"
#include "test.h"

enum { ranks_max = 8, patience_ms = 20000 };

struct rank {
    const char *coordinator;
    dhole_options options;
    int timeout_ms;
    struct dhole__rendezvous met;
    dhole_err err;
    char message[dhole__message_max];
    pthread_t thread;
    atomic_bool done;
};

static struct rank rank_of(const char *coordinator, int rank, int size, int timeout_ms)
{
    struct rank r = {.coordinator = coordinator, .timeout_ms = timeout_ms};

    r.options = (dhole_options)DHOLE_OPTIONS_INIT;
    r.options.rank = rank;
    r.options.size = size;
    r.options.session = "job 1";
    return r;
}

static void resolve(const char *coordinator, struct dhole__address *out)
{
    dhole_options options = DHOLE_OPTIONS_INIT;

    ASSERT_OK(dhole__coordinator_resolve(coordinator, &options, dhole__deadline_in(20000), out));
}

static void *meet(void *arg)
{
    struct rank *r = arg;

    r->err = dhole__rendezvous_open(r->coordinator, &r->options, dhole__deadline_in(r->timeout_ms),
                                    &r->met);
    snprintf(r->message, sizeof r->message, "%s", r->err ? dhole_error_message() : "");
    atomic_store(&r->done, true);
    return NULL;
}

static void start(struct rank *r)
{
    ASSERT(pthread_create(&r->thread, NULL, meet, r) == 0);
}

static void end(struct rank *r)
{
    ASSERT(pthread_join(r->thread, NULL) == 0);
}

/* All have met: the same list on each, with a listener of each at its place. */
static void check_met(struct rank *ranks, int size)
{
    for (int i = 0; i < size; i++) {
        ASSERT_MSG(ranks[i].err == DHOLE_OK, "rank %d: %s", i, ranks[i].message);
        for (int peer = 0; peer < size; peer++) {
            struct dhole__address address;
            int fd;
            ASSERT_STR(ranks[i].met.hosts[peer], ranks[0].met.hosts[peer]);
            ASSERT_OK(dhole__tcp_resolve(ranks[i].met.hosts[peer], &address));
            ASSERT(dhole__tcp_is_loopback(&address));
            fd = dhole__tcp_try_connect(&address, dhole__deadline_in(patience_ms));
            ASSERT(fd >= 0);
            close(fd);
        }
    }
    for (int i = 0; i < size; i++)
        dhole__rendezvous_close(&ranks[i].met);
}

static void meet_all(const char *coordinator, int size)
{
    struct rank ranks[ranks_max];

    for (int i = size - 1; i >= 0; i--) {
        ranks[i] = rank_of(coordinator, i, size, patience_ms);
        start(&ranks[i]);
    }
    for (int i = 0; i < size; i++)
        end(&ranks[i]);
    check_met(ranks, size);
}

static const char *free_address(const char *host)
{
    static char text[dhole__rendezvous_address_max];
    struct dhole__address address;
    int fd;

    snprintf(text, sizeof text, "%s:0", host);
    ASSERT_OK(dhole__tcp_resolve(text, &address));
    ASSERT_OK(dhole__rendezvous_listen(&address, &fd, text));
    close(fd);
    return text;
}

static const char *local_path(void)
{
    static char path[128]; /* written once: ranks read it meanwhile */

    if (path[0] == '\0')
        snprintf(path, sizeof path, "%s/meet", test_dir());
    return path;
}

static bool exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

TEST(ranks_meet_over_tcp)
{
    meet_all(free_address("127.0.0.1"), 2);
    meet_all(free_address("127.0.0.1"), ranks_max);
    meet_all(free_address("localhost"), 3);
}

TEST(ranks_meet_over_ipv6)
{
    struct dhole__address address;
    int fd;

    ASSERT_OK(dhole__tcp_resolve("[::1]:0", &address));
    if (dhole__tcp_listen(&address, &fd) < 0)
        test_skip("no IPv6 here");
    close(fd);
    meet_all(free_address("[::1]"), 3);
}

TEST(ranks_meet_at_a_unix_socket_which_is_gone_afterwards)
{
    meet_all(local_path(), 3);
    ASSERT(!exists(local_path()));
}

static int open_descriptors(void)
{
    int n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

TEST(meeting_again_and_again_leaves_nothing_behind)
{
    int before = open_descriptors();

    for (int i = 0; i < 50; i++)
        meet_all(local_path(), 4);
    ASSERT_EQ(open_descriptors(), before);
}

/* What a killed rank 0 leaves behind. */
TEST(a_stale_socket_makes_way)
{
    struct dhole__address address;
    int fd;

    resolve(local_path(), &address);
    ASSERT(dhole__tcp_listen(&address, &fd) == 0);
    close(fd);
    ASSERT(exists(local_path()));
    meet_all(local_path(), 2);
}

TEST(what_is_no_socket_stays)
{
    struct rank r = rank_of(local_path(), 0, 2, 500);
    FILE *file = fopen(local_path(), "w");

    ASSERT(file != NULL);
    fclose(file);
    meet(&r);
    ASSERT_ERR(r.err, DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(r.message, local_path());
    ASSERT(exists(local_path()));
}

static void tick(void)
{
    struct timespec t = {0, 1000000};

    nanosleep(&t, NULL);
}

/* Until somebody listens at the coordinator. */
static void wait_for_host(const char *coordinator)
{
    struct dhole__address address;
    int fd;

    resolve(coordinator, &address);
    while ((fd = dhole__tcp_try_connect(&address, dhole__deadline_in(100))) < 0)
        tick();
    close(fd);
}

TEST(a_second_rank_0_is_refused_and_does_no_harm)
{
    const char *coordinators[] = {local_path(), free_address("127.0.0.1")};

    for (int i = 0; i < 2; i++) {
        struct rank first = rank_of(coordinators[i], 0, 2, patience_ms);
        struct rank second = first, other = rank_of(coordinators[i], 1, 2, patience_ms);
        start(&first);
        wait_for_host(coordinators[i]);
        meet(&second);
        ASSERT_ERR(second.err, DHOLE_ERR_CONFIG);
        ASSERT_CONTAINS(second.message, "second rank 0");
        start(&other);
        end(&first);
        end(&other);
        check_met((struct rank[]){first, other}, 2);
    }
}

TEST(ranks_that_do_not_come_are_named_on_all_that_did)
{
    struct rank ranks[2];

    for (int i = 0; i < 2; i++) {
        ranks[i] = rank_of(local_path(), i, 4, i == 0 ? 700 : 500);
        start(&ranks[i]);
    }
    for (int i = 0; i < 2; i++) {
        end(&ranks[i]);
        ASSERT_ERR(ranks[i].err, DHOLE_ERR_TIMEOUT);
        ASSERT_CONTAINS(ranks[i].message, "ranks 2, 3 did not come");
    }
    ASSERT(!exists(local_path()));
}

TEST(a_rank_0_that_does_not_come_is_named)
{
    struct rank r = rank_of(free_address("127.0.0.1"), 1, 2, 300);

    meet(&r);
    ASSERT_ERR(r.err, DHOLE_ERR_TIMEOUT);
    ASSERT_CONTAINS(r.message, "rank 0 could not be reached");
    r = rank_of(local_path(), 1, 2, 300);
    meet(&r);
    ASSERT_ERR(r.err, DHOLE_ERR_TIMEOUT);
    ASSERT_CONTAINS(r.message, "rank 0 could not be reached");
}

/* Each of these is refused with a reason, and the group forms without it. */
TEST(those_who_differ_are_refused_in_words)
{
    struct rank ranks[3], wrong;

    for (int i = 0; i < 3; i++)
        ranks[i] = rank_of(local_path(), i, 3, patience_ms);
    start(&ranks[0]);
    start(&ranks[1]);

    wrong = rank_of(local_path(), 2, 3, patience_ms);
    wrong.options.session = "job 2";
    meet(&wrong);
    ASSERT_ERR(wrong.err, DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(wrong.message, "rank 0 has \"job 1\", rank 2 \"job 2\"");

    wrong = rank_of(local_path(), 2, 4, patience_ms);
    meet(&wrong);
    ASSERT_ERR(wrong.err, DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(wrong.message, "number of ranks");

    wrong = rank_of(local_path(), 3, 3, patience_ms);
    meet(&wrong);
    ASSERT_ERR(wrong.err, DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(wrong.message, "rank 3");

    start(&ranks[2]);
    for (int i = 0; i < 3; i++)
        end(&ranks[i]);
    check_met(ranks, 3);
}

/* Whichever of the two comes second. */
TEST(a_second_process_of_a_rank_is_refused)
{
    struct rank host = rank_of(local_path(), 0, 3, patience_ms);
    struct rank other = rank_of(local_path(), 2, 3, patience_ms);
    struct rank twins[2] = {rank_of(local_path(), 1, 3, patience_ms),
                            rank_of(local_path(), 1, 3, patience_ms)};
    int refused;

    start(&host);
    start(&twins[0]);
    start(&twins[1]);
    /* Without rank 2 only the one that is refused can end. */
    while (!atomic_load(&twins[0].done) && !atomic_load(&twins[1].done))
        tick();
    start(&other);
    end(&host);
    end(&other);
    end(&twins[0]);
    end(&twins[1]);
    refused = twins[1].err != DHOLE_OK;
    ASSERT_ERR(twins[refused].err, DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(twins[refused].message, "second process says that it is rank 1");
    check_met((struct rank[]){host, twins[!refused], other}, 3);
}

/* A rank that died before all had come may come again. */
TEST(a_rank_that_left_may_come_again)
{
    struct rank ranks[3], early;
    int stop[2];

    for (int i = 0; i < 3; i++)
        ranks[i] = rank_of(local_path(), i, 3, patience_ms);
    ASSERT(pipe(stop) == 0);
    early = ranks[1];
    early.options.cancel_fd = stop[0];
    start(&ranks[0]);
    start(&early);
    wait_for_host(local_path());
    ASSERT(write(stop[1], "", 1) == 1);
    end(&early);
    ASSERT_ERR(early.err, DHOLE_ERR_CANCELLED);
    start(&ranks[1]);
    start(&ranks[2]);
    for (int i = 0; i < 3; i++)
        end(&ranks[i]);
    check_met(ranks, 3);
}

TEST(waiting_can_be_cancelled_on_rank_0)
{
    struct rank host = rank_of(local_path(), 0, 2, patience_ms);
    struct rank other = rank_of(local_path(), 1, 2, patience_ms);
    int stop[2];

    ASSERT(pipe(stop) == 0);
    host.options.cancel_fd = stop[0];
    start(&host);
    wait_for_host(local_path());
    ASSERT(write(stop[1], "", 1) == 1);
    end(&host);
    ASSERT_ERR(host.err, DHOLE_ERR_CANCELLED);
    ASSERT(!exists(local_path()));
    other.timeout_ms = 200;
    meet(&other);
    ASSERT_ERR(other.err, DHOLE_ERR_TIMEOUT);
}

static int connect_to(const char *coordinator)
{
    struct dhole__address address;
    int fd;

    resolve(coordinator, &address);
    fd = dhole__tcp_try_connect(&address, dhole__deadline_in(patience_ms));
    ASSERT(fd >= 0);
    return fd;
}

static void send_registration(int fd, int rank)
{
    static const char text[] = "job 1127.0.0.1:1";
    struct dhole__registration registration = {.rank = rank,
                                               .size = 3,
                                               .session_length = strlen("job 1"),
                                               .address_length = strlen("127.0.0.1:1"),
                                               .left_ms = patience_ms};
    uint8_t head[dhole__registration_size];

    dhole__registration_encode(&registration, head);
    ASSERT(send(fd, head, sizeof head, MSG_NOSIGNAL) == (ssize_t)sizeof head);
    ASSERT(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

static dhole_err hear_verdict(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    uint8_t head[dhole__answer_head_size];
    struct dhole__answer answer;

    ASSERT(poll(&pfd, 1, patience_ms) == 1);
    ASSERT(recv(fd, head, sizeof head, 0) == (ssize_t)sizeof head);
    ASSERT(dhole__answer_decode(head, &answer));
    return answer.err;
}

/* When this has its answer, rank 0 has looked at all who came or went before. */
static void be_refused_as_second(const char *coordinator)
{
    int fd = connect_to(coordinator);

    send_registration(fd, 1);
    ASSERT_ERR(hear_verdict(fd), DHOLE_ERR_CONFIG);
    close(fd);
}

static pid_t fork_rank_0(const char *coordinator)
{
    struct rank r = rank_of(coordinator, 0, 3, patience_ms);
    pid_t pid = fork();

    ASSERT(pid >= 0);
    if (pid == 0) {
        meet(&r);
        _exit(r.err != DHOLE_OK);
    }
    return pid;
}

/* Rank 0 looks at the newcomer first, as it has the place of a caller who came before both. */
TEST(a_rank_may_come_again_before_its_end_is_heard)
{
    pid_t host = fork_rank_0(local_path());
    int stranger, before, again, other, status;

    wait_for_host(local_path());
    stranger = connect_to(local_path());
    before = connect_to(local_path());
    send_registration(before, 1);
    be_refused_as_second(local_path());
    close(stranger);
    be_refused_as_second(local_path());
    for (int i = 0; i < 50; i++)
        tick(); /* by now rank 0 sleeps */

    ASSERT(kill(host, SIGSTOP) == 0);
    ASSERT(waitpid(host, &status, WUNTRACED) == host && WIFSTOPPED(status));
    close(before);
    again = connect_to(local_path());
    send_registration(again, 1);
    ASSERT(kill(host, SIGCONT) == 0);
    other = connect_to(local_path());
    send_registration(other, 2);
    ASSERT_OK(hear_verdict(again));
    ASSERT_OK(hear_verdict(other));
    ASSERT(waitpid(host, &status, 0) == host && status == 0);
    close(again);
    close(other);
}

/* More than there are places: silent ones, babblers, and registrations that lie. */
TEST(strangers_do_no_harm)
{
    const char *coordinator = free_address("127.0.0.1");
    struct rank ranks[3];
    unsigned long long seed = 1;
    int fds[300];

    for (int i = 0; i < 3; i++)
        ranks[i] = rank_of(coordinator, i, 3, patience_ms);
    start(&ranks[0]);
    wait_for_host(coordinator);
    for (int i = 0; i < 300; i++) {
        struct dhole__registration lie = {
            .rank = (int)(test_random(&seed) & 0xffff),
            .size = i % 7 == 0 ? 3 : (int)(test_random(&seed) & 0xffff),
            .session_length = i % 5 == 0 ? 0xffff : 0,
            .address_length = test_random(&seed) & 0xff,
        };
        uint8_t bytes[dhole__registration_size + 200];
        fds[i] = connect_to(coordinator);
        for (size_t k = 0; k < sizeof bytes; k++)
            bytes[k] = (uint8_t)test_random(&seed);
        if (i % 2 == 0)
            dhole__registration_encode(&lie, bytes);
        if (i % 3 != 0)
            ASSERT(send(fds[i], bytes, sizeof bytes, MSG_NOSIGNAL) > 0);
    }
    start(&ranks[1]);
    start(&ranks[2]);
    for (int i = 0; i < 3; i++)
        end(&ranks[i]);
    for (int i = 0; i < 300; i++)
        close(fds[i]);
    check_met(ranks, 3);
}

/* What answers in rank 0's place, for a rank that trusts nothing of it. */
struct impostor {
    const char *path;
    const void *bytes;
    size_t size;
    int listen_fd;
    pthread_t thread;
};

static void *answer_one(void *arg)
{
    struct impostor *impostor = arg;
    struct pollfd pfd = {.fd = impostor->listen_fd, .events = POLLIN};
    char registration[256];
    int fd;

    ASSERT(poll(&pfd, 1, patience_ms) == 1);
    fd = accept(impostor->listen_fd, NULL, NULL);
    ASSERT(fd >= 0 && recv(fd, registration, sizeof registration, 0) > 0);
    ASSERT(send(fd, impostor->bytes, impostor->size, MSG_NOSIGNAL) == (ssize_t)impostor->size);
    recv(fd, registration, sizeof registration, 0); /* its end */
    close(fd);
    return NULL;
}

static void expect_refused(const void *bytes, size_t size, dhole_err err)
{
    struct impostor impostor = {local_path(), bytes, size, -1, 0};
    struct rank r = rank_of(local_path(), 1, 2, 1000);
    struct dhole__address address;

    resolve(local_path(), &address);
    ASSERT(dhole__tcp_listen(&address, &impostor.listen_fd) == 0);
    ASSERT(pthread_create(&impostor.thread, NULL, answer_one, &impostor) == 0);
    meet(&r);
    ASSERT(pthread_join(impostor.thread, NULL) == 0);
    close(impostor.listen_fd);
    unlink(local_path());
    ASSERT_ERR(r.err, err);
    ASSERT_CONTAINS(r.message, local_path());
}

static void expect_list_refused(const char *list, uint32_t length)
{
    uint8_t bytes[dhole__answer_head_size + 64] = {0};

    dhole__answer_encode(&(struct dhole__answer){DHOLE_OK, length}, bytes);
    memcpy(bytes + dhole__answer_head_size, list, strlen(list));
    expect_refused(bytes, dhole__answer_head_size + strlen(list), DHOLE_ERR_PROTOCOL);
}

TEST(an_answer_that_is_wrong_is_refused)
{
    expect_refused("HTTP/1.1 400 Bad Request\r\n", 26, DHOLE_ERR_PROTOCOL);
    expect_list_refused("", 0);
    expect_list_refused("a:1\n", 4);
    expect_list_refused("a:1\nb:1", 7);
    expect_list_refused("a:1\n\n", 5);
    expect_list_refused("a:1\nb:1\nc:1\n", 12);
    expect_list_refused("", 0xffffffff);
    expect_list_refused("", dhole__answer_max + 1);
}

TEST(a_path_that_is_too_long_is_named)
{
    char path[300] = "";
    struct rank r = rank_of(path, 0, 2, 100);

    memset(path, 'x', sizeof path - 1);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    meet(&r);
    ASSERT_ERR(r.err, DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(r.message, "too long");
}

/* A program's own way to tell every rank what each has: here they are threads. */
struct gathering {
    pthread_mutex_t lock;
    pthread_cond_t all_here;
    int size, here, result;
    char *all;
};

struct gatherer {
    struct gathering *gathering;
    dhole_options options;
    const char *hosts[ranks_max]; /* its own alone */
    dhole_err err;
    char message[dhole__message_max];
    pthread_t thread;
};

static int gather(void *arg, const void *own, void *all, size_t size)
{
    struct gatherer *r = arg;
    struct gathering *g = r->gathering;

    pthread_mutex_lock(&g->lock);
    if (g->all == NULL)
        g->all = calloc((size_t)g->size, size);
    memcpy(g->all + (size_t)r->options.rank * size, own, size);
    g->here++;
    pthread_cond_broadcast(&g->all_here);
    while (g->here < g->size)
        pthread_cond_wait(&g->all_here, &g->lock);
    memcpy(all, g->all, (size_t)g->size * size);
    pthread_mutex_unlock(&g->lock);
    return g->result;
}

static void *join_by_gathering(void *arg)
{
    struct gatherer *r = arg;
    dhole_group *group = NULL;
    int32_t one = 1, sum = 0;

    r->err = dhole_init(&r->options, &group);
    snprintf(r->message, sizeof r->message, "%s", r->err ? dhole_error_message() : "");
    if (r->err)
        return NULL;
    ASSERT_EQ(dhole_rank(group), r->options.rank);
    ASSERT_OK(dhole_all_sum(group, &one, &sum, 1, DHOLE_I32));
    ASSERT_EQ(sum, r->options.size);
    dhole_group_free(group);
    return NULL;
}

/* Rank `odd` listens at another place than the others. */
static void run_gathering(struct gatherer *ranks, int size, int odd, const char *odd_host,
                          int result)
{
    struct gathering gathering = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                  .all_here = PTHREAD_COND_INITIALIZER,
                                  .size = size,
                                  .result = result};

    for (int i = 0; i < size; i++) {
        struct gatherer *r = &ranks[i];
        *r = (struct gatherer){.gathering = &gathering, .options = DHOLE_OPTIONS_INIT};
        r->hosts[i] = i == odd ? odd_host : "127.0.0.1:0";
        r->options.backend = "ring";
        r->options.rank = i;
        r->options.size = size;
        r->options.hosts = r->hosts;
        r->options.all_gather = gather;
        r->options.all_gather_arg = r;
        r->options.connect_timeout_ms = patience_ms;
        ASSERT(pthread_create(&r->thread, NULL, join_by_gathering, r) == 0);
    }
    for (int i = 0; i < size; i++)
        ASSERT(pthread_join(ranks[i].thread, NULL) == 0);
    free(gathering.all);
}

TEST(ranks_meet_by_the_program_s_own_all_gather)
{
    struct gatherer ranks[ranks_max];

    for (int size = 2; size <= ranks_max; size += 3) {
        run_gathering(ranks, size, -1, NULL, 0);
        for (int i = 0; i < size; i++)
            ASSERT_MSG(ranks[i].err == DHOLE_OK, "rank %d: %s", i, ranks[i].message);
    }
}

TEST(all_learn_of_a_rank_that_cannot_listen)
{
    struct gatherer ranks[3];

    run_gathering(ranks, 3, 1, "192.0.2.1:0", 0); /* an address of nobody's */
    ASSERT_ERR(ranks[1].err, DHOLE_ERR_SYSTEM);
    ASSERT_CONTAINS(ranks[1].message, "cannot listen");
    for (int i = 0; i < 3; i += 2) {
        ASSERT_ERR(ranks[i].err, DHOLE_ERR_PEER_LOST);
        ASSERT_CONTAINS(ranks[i].message, "rank 1 has no place to listen");
    }
    run_gathering(ranks, 3, 2, "h:0,h:0,h:0,h:0,h:0,h:0,h:0,h:0,h:0", 0);
    ASSERT_ERR(ranks[2].err, DHOLE_ERR_INVALID);
    ASSERT_CONTAINS(ranks[2].message, "hosts[2] is \"h:0,h:0,");
    ASSERT_CONTAINS(ranks[2].message, "at most 8 addresses");
    ASSERT_ERR(ranks[0].err, DHOLE_ERR_PEER_LOST);
    /* All at one port, which two of the same address cannot be. */
    run_gathering(ranks, 3, 2, "127.0.0.1:0,127.0.0.1:0", 0);
    ASSERT_ERR(ranks[2].err, DHOLE_ERR_SYSTEM);
    ASSERT_CONTAINS(ranks[2].message, "127.0.0.1:0,127.0.0.1:0: Address already in use");
    ASSERT_ERR(ranks[0].err, DHOLE_ERR_PEER_LOST);
}

TEST(an_all_gather_that_fails_is_an_error)
{
    struct gatherer ranks[2];

    run_gathering(ranks, 2, -1, NULL, 77);
    for (int i = 0; i < 2; i++) {
        ASSERT_ERR(ranks[i].err, DHOLE_ERR_SYSTEM);
        ASSERT_CONTAINS(ranks[i].message, "all_gather failed with 77");
    }
}

static int give_rubbish(void *arg, const void *own, void *all, size_t size)
{
    const struct gatherer *r = arg;

    (void)own;
    memset(all, 'x', (size_t)r->options.size * size);
    return 0;
}

TEST(what_all_gather_gives_is_checked)
{
    struct gatherer r = {.options = DHOLE_OPTIONS_INIT, .hosts = {"127.0.0.1:0"}};
    dhole_group *group = NULL;

    r.options.size = 2;
    r.options.hosts = r.hosts;
    r.options.all_gather = give_rubbish;
    r.options.all_gather_arg = &r;
    ASSERT_ERR(dhole_init(&r.options, &group), DHOLE_ERR_PROTOCOL);
    ASSERT_CONTAINS(dhole_error_message(), "all_gather gave no address for rank 0");
    r.options.listen_fd = 0;
    ASSERT_ERR(dhole_init(&r.options, &group), DHOLE_ERR_INVALID);
    ASSERT_CONTAINS(dhole_error_message(), "listen_fd and all_gather");
}
