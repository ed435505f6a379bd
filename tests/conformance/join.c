/* Joining: who is refused, how, and that nothing is left behind. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

#include "base/sys.h"
#include "harness.h"

enum { short_ms = 400, long_ms = 8000, in_time_ms = 5000 };

/* What both of two ranks that cannot agree get, each with its own options. */
struct refusal {
    void (*change)(struct rank *r);
    dhole_err expected[2];
    const char *quotes[2];
};

struct attempt {
    const struct refusal *refusal;
    int64_t time_ms;
    atomic_bool late;
};

static void be_refused(struct rank *r)
{
    struct attempt *attempt = r->arg;
    const struct refusal *refusal = attempt->refusal;
    dhole_group *group = NULL;
    dhole_err err;

    r->options.connect_timeout_ms = patient(attempt->time_ms);
    refusal->change(r);
    err = dhole_init(&r->options, &group);
    if (err == DHOLE_ERR_TIMEOUT && err != refusal->expected[r->rank] &&
        attempt->time_ms < long_ms) {
        atomic_store(&attempt->late, true);
        return;
    }
    ASSERT_MSG(err == refusal->expected[r->rank], "rank %d got %s (%s)", r->rank,
               dhole_error_name(err), dhole_error_message());
    ASSERT(group == NULL);
    for (int i = 0; i < 2; i++)
        ASSERT_CONTAINS(dhole_error_message(), refusal->quotes[i]);
}

/* They take all the time that they have, so it is short; long where one of them was not there. */
static void refuse(const struct backend *backend, const struct refusal *refusal)
{
    struct attempt attempt = {.refusal = refusal, .time_ms = short_ms}, patiently = attempt;

    run_ranks(backend, 2, be_refused, &attempt);
    patiently.time_ms = long_ms;
    if (atomic_load(&attempt.late))
        run_ranks(backend, 2, be_refused, &patiently);
}

static void disagree(struct rank *r)
{
    r->options.agreement = r->rank == 0 ? "model a, 2 stages" : "model b, 2 stages";
}

ON_EVERY_BACKEND(another_agreement_is_refused_with_both_texts)
{
    struct refusal refusal = {
        disagree, {DHOLE_ERR_CONFIG, DHOLE_ERR_CONFIG}, {"model a, 2 stages", "model b, 2 stages"}};

    refuse(backend, &refusal);
}

static char long_text[2][1025];

static void disagree_at_length(struct rank *r)
{
    memset(long_text[r->rank], 'x', 1000);
    strcpy(long_text[r->rank] + 1000, r->rank == 0 ? "first" : "second");
    r->options.agreement = long_text[r->rank];
}

ON_EVERY_BACKEND(long_agreements_are_told_apart)
{
    struct refusal refusal = {
        disagree_at_length, {DHOLE_ERR_CONFIG, DHOLE_ERR_CONFIG}, {"first", "second"}};

    refuse(backend, &refusal);
}

static void other_session(struct rank *r)
{
    r->options.session = r->rank == 0 ? "job one" : "job two";
}

static void check_session(const struct backend *backend)
{
    struct refusal refusal = {
        other_session, {DHOLE_ERR_CONFIG, DHOLE_ERR_CONFIG}, {"job one", "job two"}};

    refuse(backend, &refusal);
}

TEST(another_session_is_refused_with_both_names_tcp)
{
    check_session(&backend_tcp);
}

TEST(another_session_is_refused_with_both_names_tcp_sealed)
{
    check_session(&backend_tcp_sealed);
}

/* In one process, sessions are apart: ranks of another one are just not there. */
TEST(another_session_is_not_met_mem)
{
    struct refusal refusal = {other_session, {DHOLE_ERR_TIMEOUT, DHOLE_ERR_TIMEOUT}, {"rank", ""}};

    refuse(&backend_mem, &refusal);
}

static void leave_out_keys(struct rank *r, int rank)
{
    if (r->rank == rank) {
        r->options.identity = NULL;
        r->options.pins = NULL;
    }
}

static void leave_out_keys_of_0(struct rank *r)
{
    leave_out_keys(r, 0);
}

static void leave_out_keys_of_1(struct rank *r)
{
    leave_out_keys(r, 1);
}

/* A caller in the clear may be anybody, and is waited past by rank 0. */
static void check_keys(const struct backend *backend)
{
    struct refusal of_0 = {leave_out_keys_of_0,
                           {DHOLE_ERR_CONFIG, DHOLE_ERR_CONFIG},
                           {"the seal differs", "rank 1 has keys, rank 0 has none"}};
    struct refusal of_1 = {leave_out_keys_of_1,
                           {DHOLE_ERR_AUTH, DHOLE_ERR_CONFIG},
                           {"the seal differs", "rank 0 has keys, rank 1 has none"}};

    refuse(backend, &of_0);
    refuse(backend, &of_1);
}

TEST(keys_of_one_rank_alone_are_an_error_on_both_mem)
{
    check_keys(&backend_mem_sealed);
}

TEST(keys_of_one_rank_alone_are_an_error_on_both_tcp)
{
    check_keys(&backend_tcp_sealed);
}

/* A third identity in the place of rank 1's: either rank 0 pins it, or rank 1 has it. */
static dhole_identity *stranger;
static dhole_pin strange_pins[2];

static void pin_a_stranger(struct rank *r)
{
    if (r->rank == 0)
        r->options.pins = strange_pins;
}

static void be_a_stranger(struct rank *r)
{
    if (r->rank == 1)
        r->options.identity = stranger;
}

static void check_pins(const struct backend *backend, void (*change)(struct rank *))
{
    struct refusal refusal = {change, {DHOLE_ERR_AUTH, DHOLE_ERR_AUTH}, {"rank", ""}};

    ASSERT_OK(dhole_identity_generate(&stranger));
    dhole_identity_pin(stranger, &strange_pins[0]);
    dhole_identity_pin(stranger, &strange_pins[1]);
    refuse(backend, &refusal);
    dhole_identity_free(stranger);
}

TEST(a_wrong_pin_is_not_authenticated_mem)
{
    check_pins(&backend_mem_sealed, pin_a_stranger);
}

TEST(a_wrong_pin_is_not_authenticated_tcp)
{
    check_pins(&backend_tcp_sealed, pin_a_stranger);
}

TEST(a_wrong_identity_is_not_authenticated_mem)
{
    check_pins(&backend_mem_sealed, be_a_stranger);
}

TEST(a_wrong_identity_is_not_authenticated_tcp)
{
    check_pins(&backend_tcp_sealed, be_a_stranger);
}

/* One side sealed, the other not: an error on both, of whatever kind it looks like to each. */
static void forget_the_seal(struct rank *r)
{
    dhole_group *group = NULL;

    r->options.connect_timeout_ms = short_ms;
    if (r->rank == *(int *)r->arg) {
        r->options.identity = NULL;
        r->options.pins = NULL;
    }
    ASSERT(dhole_init(&r->options, &group) != DHOLE_OK);
    ASSERT(strlen(dhole_error_message()) > 0);
}

TEST(sealed_and_unsealed_ranks_do_not_join)
{
    for (int forgetful = 0; forgetful < 2; forgetful++) {
        run_ranks(&backend_mem_sealed, 2, forget_the_seal, &forgetful);
        run_ranks(&backend_tcp_sealed, 2, forget_the_seal, &forgetful);
    }
}

static void wait_in_vain(struct rank *r)
{
    int absent = *(int *)r->arg;
    dhole_group *group = NULL;
    int64_t begin = now_ms();
    char name[16];

    if (r->rank == absent)
        return;
    r->options.connect_timeout_ms = short_ms;
    ASSERT_ERR(dhole_init(&r->options, &group), DHOLE_ERR_TIMEOUT);
    ASSERT(now_ms() - begin < patient(in_time_ms));
    snprintf(name, sizeof name, "rank %d", absent);
    ASSERT_CONTAINS(dhole_error_message(), name);
}

ON_EVERY_BACKEND(a_rank_that_does_not_join_is_named_at_the_deadline)
{
    for (int absent = 0; absent < 2; absent++)
        run_ranks(backend, 2, wait_in_vain, &absent);
}

static void *cancel_later(void *arg)
{
    ASSERT(write(*(int *)arg, "", 1) == 1);
    return NULL;
}

static void wait_and_cancel(struct rank *r)
{
    int absent = *(int *)r->arg, fds[2];
    dhole_group *group = NULL;
    int64_t begin = now_ms();
    pthread_t thread;

    if (r->rank == absent)
        return;
    ASSERT(pipe(fds) == 0);
    r->options.cancel_fd = fds[0];
    ASSERT(pthread_create(&thread, NULL, cancel_later, &fds[1]) == 0);
    ASSERT_ERR(dhole_init(&r->options, &group), DHOLE_ERR_CANCELLED);
    ASSERT(now_ms() - begin < patient(in_time_ms));
    pthread_join(thread, NULL);
    close(fds[0]);
    close(fds[1]);
}

ON_EVERY_BACKEND(joining_can_be_cancelled)
{
    for (int absent = 0; absent < 2; absent++)
        run_ranks(backend, 2, wait_and_cancel, &absent);
}

static void expect_refused(const dhole_options *options, dhole_err expected, const char *part)
{
    dhole_group *group = NULL;
    dhole_err err = dhole_init(options, &group);

    ASSERT_MSG(err == expected, "%s, not %s: %s", dhole_error_name(err), dhole_error_name(expected),
               dhole_error_message());
    ASSERT_CONTAINS(dhole_error_message(), part);
    ASSERT(group == NULL);
}

TEST(a_port_in_use_is_named)
{
    char address[2][32];
    int fds[2] = {listen_anywhere(address[0]), listen_anywhere(address[1])};
    const char *hosts[] = {address[0], address[1]};
    dhole_options options = DHOLE_OPTIONS_INIT;

    options.backend = "tcp";
    options.size = 2;
    options.hosts = hosts;
    options.connect_timeout_ms = 1000;
    expect_refused(&options, DHOLE_ERR_CONFIG, address[0]);
    ASSERT_CONTAINS(dhole_error_message(), "in use");
    close(fds[0]);
    close(fds[1]);
}

TEST(wrong_options_are_refused_in_words)
{
    const char *hosts[] = {"127.0.0.1:1", "no port"};
    char long_session[100];
    dhole_options options = DHOLE_OPTIONS_INIT;

    options.backend = "carrier pigeon";
    expect_refused(&options, DHOLE_ERR_UNSUPPORTED, "carrier pigeon");
    options.backend = "tcp";
    options.size = 2;
    expect_refused(&options, DHOLE_ERR_INVALID, "hosts");
    options.hosts = hosts;
    options.rank = 2;
    expect_refused(&options, DHOLE_ERR_INVALID, "rank is 2");
    options.rank = -1;
    expect_refused(&options, DHOLE_ERR_INVALID, "-1");
    options.rank = 0;
    expect_refused(&options, DHOLE_ERR_CONFIG, "no port");
    options.backend = "mem";
    options.size = 100000;
    expect_refused(&options, DHOLE_ERR_INVALID, "100000");
    options.size = 1;
    options.timeout_ms = -5;
    expect_refused(&options, DHOLE_ERR_INVALID, "timeout");
    options.timeout_ms = 0;
    memset(long_session, 's', sizeof long_session);
    long_session[99] = '\0';
    options.session = long_session;
    expect_refused(&options, DHOLE_ERR_INVALID, "session");
}

TEST(an_identity_without_pins_is_refused)
{
    dhole_options options = DHOLE_OPTIONS_INIT;
    dhole_identity *identity;

    ASSERT_OK(dhole_identity_generate(&identity));
    options.backend = "mem";
    options.size = 1;
    options.identity = identity;
    expect_refused(&options, DHOLE_ERR_INVALID, "pins");
    dhole_identity_free(identity);
}

/* Addresses of the documentation range (RFC 5737), where nobody is. */
TEST(clear_text_to_another_host_must_be_allowed_by_name)
{
    const char *hosts[] = {"192.0.2.1:7000", "192.0.2.2:7000"};
    dhole_options options = DHOLE_OPTIONS_INIT;

    unsetenv("DHOLE_SEAL");
    options.backend = "tcp";
    options.size = 2;
    options.hosts = hosts;
    options.connect_timeout_ms = 300;
    expect_refused(&options, DHOLE_ERR_CONFIG, "DHOLE_SEAL=off");
    ASSERT_CONTAINS(dhole_error_message(), "not sealed");
}

static int (*look_up)(const char *host, const char *port, const struct addrinfo *hints,
                      struct addrinfo **out);

/* The first time moves.example is on loopback, then on a network. */
static int look_up_what_moves(const char *host, const char *port, const struct addrinfo *hints,
                              struct addrinfo **out)
{
    static int times;

    if (strcmp(host, "moves.example") == 0)
        host = times++ == 0 ? "127.0.0.1" : "192.0.2.1";
    return look_up(host, port, hints, out);
}

TEST(a_name_that_leads_elsewhere_by_now_gets_no_clear_text)
{
    const char *hosts[] = {"moves.example:7", "127.0.0.1:0"};
    dhole_options options = DHOLE_OPTIONS_INIT;

    unsetenv("DHOLE_SEAL");
    look_up = dhole__sys.getaddrinfo;
    dhole__sys.getaddrinfo = look_up_what_moves;
    options.backend = "tcp";
    options.rank = 1;
    options.size = 2;
    options.hosts = hosts;
    options.connect_timeout_ms = 300;
    expect_refused(&options, DHOLE_ERR_CONFIG, "by now");
}

static int never[2]; /* a pipe that nobody writes to */

static int look_up_in_vain(const char *host, const char *port, const struct addrinfo *hints,
                           struct addrinfo **out)
{
    char byte;

    if (strcmp(host, "silent.example") != 0)
        return look_up(host, port, hints, out);
    if (!(hints->ai_flags & AI_NUMERICHOST) && read(never[0], &byte, 1) > 0)
        return EAI_FAIL;
    return EAI_NONAME;
}

/* Of this rank, which listens there, of another one, and of the coordinator. */
TEST(a_silent_name_server_does_not_outlast_the_deadline)
{
    const char *hosts[] = {"silent.example:7", "127.0.0.1:0"};
    dhole_options options = DHOLE_OPTIONS_INIT;

    ASSERT(pipe(never) == 0);
    look_up = dhole__sys.getaddrinfo;
    dhole__sys.getaddrinfo = look_up_in_vain;
    options.backend = "tcp";
    options.size = 2;
    options.hosts = hosts;
    options.connect_timeout_ms = 100;
    for (options.allow_plain = 0; options.allow_plain < 2; options.allow_plain++)
        for (options.rank = 0; options.rank < 2; options.rank++)
            expect_refused(&options, DHOLE_ERR_TIMEOUT, "silent.example:7");
    setenv("DHOLE_COORDINATOR", "silent.example:7", 1);
    setenv("DHOLE_RANK", "1", 1);
    setenv("DHOLE_SIZE", "2", 1);
    options.size = options.rank = 0;
    options.hosts = NULL;
    expect_refused(&options, DHOLE_ERR_TIMEOUT, "silent.example:7");
}

/* Each rank listens by itself, on IPv6's loopback. */
struct v6 {
    char address[2][32];
    const char *hosts[2];
};

static void join_over_v6(struct rank *r)
{
    struct v6 *v6 = r->arg;
    float one = 1, sum;

    r->options.hosts = v6->hosts;
    r->options.listen_fd = -1;
    ASSERT_OK(dhole_init(&r->options, &r->group));
    ASSERT_OK(dhole_all_sum(r->group, &one, &sum, 1, DHOLE_F32));
    ASSERT(sum == 2);
    dhole_group_free(r->group);
}

TEST(ranks_meet_over_ipv6)
{
    struct v6 v6;

    for (int i = 0; i < 2; i++) {
        int port = free_port("::1");
        if (port == 0)
            test_skip("this machine has no IPv6 loopback");
        snprintf(v6.address[i], sizeof v6.address[i], "[::1]:%d", port);
        v6.hosts[i] = v6.address[i];
    }
    run_ranks(&backend_tcp, 2, join_over_v6, &v6);
}

static void use_briefly(struct rank *r)
{
    float one = 1;

    ASSERT_OK(dhole_all_sum(r->group, &one, &one, 1, DHOLE_F32));
}

ON_EVERY_BACKEND(nothing_is_left_after_fifty_groups)
{
    int fds, threads;

    run_group(backend, 3, use_briefly, NULL); /* libraries open what they keep */
    fds = test_descriptors();
    threads = test_threads();
    for (int i = 0; i < 50; i++)
        run_group(backend, 3, use_briefly, NULL);
    ASSERT_EQ(test_descriptors(), fds);
    test_await_threads(threads);
}

/* The same when joining fails half-way. */
ON_EVERY_BACKEND(nothing_is_left_after_failing_to_join)
{
    struct refusal refusal = {disagree, {DHOLE_ERR_CONFIG, DHOLE_ERR_CONFIG}, {"model", ""}};
    int fds, threads;

    refuse(backend, &refusal);
    fds = test_descriptors();
    threads = test_threads();
    refuse(backend, &refusal);
    ASSERT_EQ(test_descriptors(), fds);
    test_await_threads(threads);
}
