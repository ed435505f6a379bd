/* How two sides come to a link, and how they do not. */
#include <arpa/inet.h>
#include <netdb.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sys.h"
#include "dhole/error.h"
#include "link/link_internal.h"
#include "pair.h"

static int never[2]; /* a pipe that nobody writes to */

/* A name server that does not answer. */
static int look_up_in_vain(const char *host, const char *port, const struct addrinfo *hints,
                           struct addrinfo **out)
{
    char byte;

    (void)host, (void)port, (void)out;
    if (!(hints->ai_flags & AI_NUMERICHOST) && read(never[0], &byte, 1) > 0)
        return EAI_FAIL;
    return EAI_NONAME;
}

TEST(a_silent_name_server_does_not_outlast_the_deadline)
{
    struct pair pair;
    int cancel[2];

    pair_init(&pair);
    ASSERT(pipe(never) == 0 && pipe(cancel) == 0);
    dhole__sys.getaddrinfo = look_up_in_vain;
    pair.options[client].connect_timeout_ms = 100;
    ASSERT_ERR(dhole_link_connect(&pair.options[client], "far.example:7", &pair.link[client]),
               DHOLE_ERR_TIMEOUT);
    ASSERT_CONTAINS(dhole_error_message(), "far.example:7");
    pair.options[client].connect_timeout_ms = 20000;
    pair.options[client].cancel_fd = cancel[0];
    ASSERT(write(cancel[1], "", 1) == 1);
    ASSERT_ERR(dhole_link_connect(&pair.options[client], "far.example:7", &pair.link[client]),
               DHOLE_ERR_CANCELLED);
    pair_close(&pair);
}

TEST(an_address_of_one_cable_must_say_of_which)
{
    struct pair pair;

    pair_init(&pair);
    ASSERT_ERR(dhole_link_connect(&pair.options[client], "[fe80::1]:7", &pair.link[client]),
               DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(dhole_error_message(), "[fe80::1]:7");
    ASSERT_ERR(dhole_link_listen(&pair.options[server], "[fe80::1]:7", &pair.listener),
               DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(dhole_error_message(), "cable");
    pair_close(&pair);
}

static void expect_up(struct pair *pair)
{
    for (int side = 0; side < 2; side++)
        ASSERT_MSG(pair->err[side] == DHOLE_OK, "side %d: %s", side, pair->message[side]);
    send_bytes(pair->link[client], DHOLE_CHANNEL_CONTROL, 10, 1, 1);
    expect_bytes(pair->link[server], DHOLE_CHANNEL_CONTROL, 10, 1, 1);
}

struct judge {
    dhole_pin trusted, asked;
    int times;
};

static int judge(void *arg, const dhole_pin *pin)
{
    struct judge *judge = arg;

    judge->times++;
    judge->asked = *pin;
    return memcmp(pin, &judge->trusted, sizeof *pin) == 0;
}

static void ask(struct pair *pair, int side, struct judge *of)
{
    pair->options[side].pin = NULL;
    pair->options[side].trusts = judge;
    pair->options[side].trusts_arg = of;
}

TEST(each_side_knows_who_the_other_is)
{
    struct pair pair;
    dhole_pin pin;

    pair_init(&pair);
    for (int side = 0; side < 2; side++) {
        pair.options[side].rank = 1 + side;
        pair.options[side].size = 3;
    }
    pair_listen(&pair);
    pair_try(&pair);
    expect_up(&pair);
    for (int side = 0; side < 2; side++) {
        dhole_link_pin(pair.link[side], &pin);
        ASSERT(memcmp(&pin, &pair.pin[!side], sizeof pin) == 0);
        ASSERT_EQ(dhole_link_rank(pair.link[side]), 1 + !side);
        ASSERT_STR(dhole_link_address(pair.link[side]), dhole_link_own_address(pair.link[!side]));
    }
    ASSERT_STR(dhole_link_address(pair.link[client]), dhole_link_listener_address(pair.listener));
    pair_close(&pair);
}

TEST(both_sides_can_be_asked_for_trust)
{
    struct judge of[2] = {{.times = 0}};
    struct pair pair;

    pair_init(&pair);
    for (int side = 0; side < 2; side++) {
        of[side].trusted = pair.pin[!side];
        ask(&pair, side, &of[side]);
    }
    pair_listen(&pair);
    pair_try(&pair);
    expect_up(&pair);
    for (int side = 0; side < 2; side++) {
        ASSERT_EQ(of[side].times, 1);
        ASSERT(memcmp(&of[side].asked, &pair.pin[!side], sizeof(dhole_pin)) == 0);
    }
    pair_close(&pair);
}

/* The server refuses, and goes on to wait for somebody else. */
static void expect_refused_by_server(struct pair *pair)
{
    pair->accept_ms = patient(300);
    pair_listen(pair);
    pair_try(pair);
    ASSERT_MSG(pair->err[client] == DHOLE_ERR_AUTH, "%s", pair->message[client]);
    ASSERT_CONTAINS(pair->message[client], "refused this side's key");
    ASSERT_EQ(pair->err[server], DHOLE_ERR_TIMEOUT);
}

static void expect_refused_by_client(struct pair *pair, const char *why)
{
    pair->accept_ms = patient(300);
    pair_listen(pair);
    pair_try(pair);
    ASSERT_MSG(pair->err[client] == DHOLE_ERR_AUTH, "%s", pair->message[client]);
    ASSERT_CONTAINS(pair->message[client], why);
    ASSERT_EQ(pair->err[server], DHOLE_ERR_TIMEOUT);
}

TEST(a_client_with_another_key_than_the_pinned_is_refused)
{
    struct pair pair;

    pair_init(&pair);
    pair.options[server].pin = &pair.pin[server];
    expect_refused_by_server(&pair);
    pair_close(&pair);
}

TEST(a_client_that_is_not_trusted_is_refused)
{
    struct judge of = {.times = 0};
    struct pair pair;

    pair_init(&pair);
    ask(&pair, server, &of);
    expect_refused_by_server(&pair);
    ASSERT_EQ(of.times, 1);
    pair_close(&pair);
}

TEST(a_server_with_another_key_than_the_pinned_is_refused)
{
    struct pair pair;

    pair_init(&pair);
    pair.options[client].pin = &pair.pin[client];
    expect_refused_by_client(&pair, "is not the pinned");
    pair_close(&pair);
}

TEST(a_server_that_is_not_trusted_is_refused)
{
    struct judge of = {.times = 0};
    struct pair pair;

    pair_init(&pair);
    ask(&pair, client, &of);
    expect_refused_by_client(&pair, "is not a trusted one");
    pair_close(&pair);
}

static void expect_mismatch(struct pair *pair, const char *theirs, const char *ours)
{
    pair->options[client].lanes = 1;
    pair->accept_ms = patient(300);
    pair_listen(pair);
    pair_try(pair);
    ASSERT_MSG(pair->err[client] == DHOLE_ERR_MISMATCH, "%s", pair->message[client]);
    ASSERT_CONTAINS(pair->message[client], theirs);
    ASSERT_CONTAINS(pair->message[client], ours);
    ASSERT_EQ(pair->err[server], DHOLE_ERR_TIMEOUT);
    pair_close(pair);
}

TEST(another_session_is_refused_with_both_quoted)
{
    struct pair pair;

    pair_init(&pair);
    pair.options[client].session = "red";
    pair.options[server].session = "blue";
    expect_mismatch(&pair, "this side has \"red\"", "the other side \"blue\"");
}

TEST(another_agreement_is_refused_with_both_quoted)
{
    struct pair pair;

    pair_init(&pair);
    pair.options[client].agreement = "model a; epoch 2";
    pair.options[server].agreement = "model a; epoch 3";
    expect_mismatch(&pair, "\"model a; epoch 2\"", "\"model a; epoch 3\"");
}

TEST(another_number_of_ranks_is_refused_with_both_quoted)
{
    struct pair pair;

    pair_init(&pair);
    pair.options[client].rank = 1;
    pair.options[client].size = 3;
    pair.options[server].size = 2;
    expect_mismatch(&pair, "rank 1 has 3", "rank 0 2");
}

TEST(the_same_rank_twice_is_refused)
{
    struct pair pair;

    pair_init(&pair);
    for (int side = 0; side < 2; side++)
        pair.options[side].size = 2;
    expect_mismatch(&pair, "both", "rank 0");
}

TEST(the_longest_words_cross)
{
    char session[65], agreement[1025];
    struct pair pair;

    memset(session, 's', 64);
    memset(agreement, 'a', 1024);
    session[64] = agreement[1024] = '\0';
    pair_init(&pair);
    for (int side = 0; side < 2; side++) {
        pair.options[side].session = session;
        pair.options[side].agreement = agreement;
    }
    pair_listen(&pair);
    pair_try(&pair);
    expect_up(&pair);
    pair_close(&pair);
}

TEST(wrong_options_are_refused)
{
    char text[1026];
    struct pair pair;
    dhole_link_options options;
    dhole_link *link;

    memset(text, 'x', 1025);
    text[1025] = '\0';
    pair_init(&pair);
#define REFUSED(member, value)      \
    options = pair.options[client]; \
    options.member = value;         \
    ASSERT_ERR(dhole_link_connect(&options, "127.0.0.1:1", &link), DHOLE_ERR_INVALID)
    REFUSED(identity, NULL);
    REFUSED(pin, NULL);
    REFUSED(session, text);
    REFUSED(agreement, text);
    REFUSED(lanes, 9);
    REFUSED(lanes, -1);
    REFUSED(size, -1);
    REFUSED(size, 70000);
    REFUSED(rank, 1);
    REFUSED(rank, -1);
#undef REFUSED
    ASSERT_ERR(dhole_link_connect(&pair.options[client], "nonsense", &link), DHOLE_ERR_CONFIG);
    ASSERT_ERR(dhole_link_listen(&pair.options[client], "nonsense", &pair.listener),
               DHOLE_ERR_CONFIG);
    pair_close(&pair);
}

/* A port of loopback at which nobody listens. */
static int bound_socket(char address[static 32])
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    ASSERT(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ASSERT(bind(fd, (struct sockaddr *)&in, sizeof in) == 0);
    ASSERT(getsockname(fd, (struct sockaddr *)&in, &length) == 0);
    snprintf(address, 32, "127.0.0.1:%d", ntohs(in.sin_port));
    return fd;
}

TEST(nobody_there_is_a_timeout_that_names_the_address)
{
    char address[32];
    int fd = bound_socket(address);
    struct pair pair;

    pair_init(&pair);
    pair.options[client].connect_timeout_ms = 50;
    ASSERT_ERR(dhole_link_connect(&pair.options[client], address, &pair.link[client]),
               DHOLE_ERR_TIMEOUT);
    ASSERT_CONTAINS(dhole_error_message(), address);
    pair.options[client].connect_timeout_ms = patient(20000);
    pair.options[client].no_retry = 1;
    ASSERT_ERR(dhole_link_connect(&pair.options[client], address, &pair.link[client]),
               DHOLE_ERR_PEER_LOST);
    ASSERT_CONTAINS(dhole_error_message(), address);
    close(fd);
    pair_close(&pair);
}

TEST(somebody_silent_is_a_timeout)
{
    char address[32];
    int fd = bound_socket(address);
    struct pair pair;

    ASSERT(listen(fd, 1) == 0);
    pair_init(&pair);
    pair.options[client].connect_timeout_ms = 50;
    ASSERT_ERR(dhole_link_connect(&pair.options[client], address, &pair.link[client]),
               DHOLE_ERR_TIMEOUT);
    close(fd);
    pair_close(&pair);
}

struct late {
    struct pair *pair;
    char address[32];
    int fd;
};

static void *connect_early(void *arg)
{
    struct late *late = arg;

    late->pair->err[client] =
        dhole_link_connect(&late->pair->options[client], late->address, &late->pair->link[client]);
    return NULL;
}

static struct dhole__sys real;
static atomic_int attempts;

static int count_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    int result = real.connect(fd, address, length);

    atomic_fetch_add(&attempts, 1);
    return result;
}

TEST(a_server_that_starts_late_is_waited_for)
{
    struct pair pair;
    struct late late = {.pair = &pair};
    pthread_t thread;

    pair_init(&pair);
    late.fd = bound_socket(late.address);
    real = dhole__sys;
    dhole__sys.connect = count_connect;
    ASSERT(pthread_create(&thread, NULL, connect_early, &late) == 0);
    while (atomic_load(&attempts) < 2)
        sched_yield();
    close(late.fd);
    ASSERT_OK(dhole_link_listen(&pair.options[server], late.address, &pair.listener));
    ASSERT_OK(dhole_link_accept(pair.listener, patient(20000), &pair.link[server]));
    pthread_join(thread, NULL);
    ASSERT_OK(pair.err[client]);
    expect_up(&pair);
    pair_close(&pair);
}

TEST(accept_ends_by_its_deadline_or_when_cancelled)
{
    struct pair pair;
    int fd[2];

    ASSERT(pipe(fd) == 0);
    pair_init(&pair);
    pair.options[server].cancel_fd = fd[0];
    pair_listen(&pair);
    ASSERT_ERR(dhole_link_accept(pair.listener, 0, &pair.link[server]), DHOLE_ERR_TIMEOUT);
    ASSERT_ERR(dhole_link_accept(pair.listener, 20, &pair.link[server]), DHOLE_ERR_TIMEOUT);
    ASSERT(write(fd[1], "x", 1) == 1);
    ASSERT_ERR(dhole_link_accept(pair.listener, patient(20000), &pair.link[server]),
               DHOLE_ERR_CANCELLED);
    pair_close(&pair);
    close(fd[0]);
    close(fd[1]);
}

TEST(connecting_can_be_cancelled)
{
    char address[32];
    int fd = bound_socket(address), pipes[2];
    struct pair pair;
    pthread_t thread;
    struct late late = {.pair = &pair};

    ASSERT(pipe(pipes) == 0);
    ASSERT(listen(fd, 1) == 0);
    pair_init(&pair);
    pair.options[client].cancel_fd = pipes[0];
    memcpy(late.address, address, sizeof address);
    ASSERT(pthread_create(&thread, NULL, connect_early, &late) == 0);
    ASSERT(write(pipes[1], "x", 1) == 1);
    pthread_join(thread, NULL);
    ASSERT_EQ(pair.err[client], DHOLE_ERR_CANCELLED);
    close(fd);
    close(pipes[0]);
    close(pipes[1]);
    pair_close(&pair);
}

TEST(hundred_links_come_and_go_and_leave_nothing)
{
    int descriptors, threads;
    struct pair pair;

    pair_init(&pair);
    pair.options[client].lanes = 2;
    pair_listen(&pair);
    pair_try(&pair);
    expect_up(&pair);
    for (int side = 0; side < 2; side++)
        dhole_link_free(pair.link[side]);
    descriptors = test_descriptors();
    threads = test_threads();
    for (int i = 0; i < 100; i++) {
        pair_try(&pair);
        expect_up(&pair);
        for (int side = 0; side < 2; side++)
            dhole_link_free(pair.link[(side + i) % 2]);
    }
    ASSERT_EQ(test_descriptors(), descriptors);
    test_await_threads(threads);
    pair.link[client] = pair.link[server] = NULL;
    pair_close(&pair);
}

enum { crowd = 16 };

struct member {
    pthread_t thread;
    struct pair *pair;
    dhole_link *link;
};

static void *join_crowd(void *arg)
{
    struct member *member = arg;

    ASSERT_OK(dhole_link_connect(&member->pair->options[client],
                                 dhole_link_listener_address(member->pair->listener),
                                 &member->link));
    send_bytes(member->link, DHOLE_CHANNEL_BULK, 1000, 1, 1);
    expect_bytes(member->link, DHOLE_CHANNEL_CONTROL, 1000, 2, 2);
    return NULL;
}

TEST(many_join_side_by_side)
{
    struct member member[crowd];
    dhole_link *link[crowd];
    struct pair pair;

    pair_init(&pair);
    pair.options[client].lanes = 3;
    pair_listen(&pair);
    for (int i = 0; i < crowd; i++) {
        member[i].pair = &pair;
        ASSERT(pthread_create(&member[i].thread, NULL, join_crowd, &member[i]) == 0);
    }
    for (int i = 0; i < crowd; i++) {
        ASSERT_OK(dhole_link_accept(pair.listener, patient(20000), &link[i]));
        expect_bytes(link[i], DHOLE_CHANNEL_BULK, 1000, 1, 1);
        send_bytes(link[i], DHOLE_CHANNEL_CONTROL, 1000, 2, 2);
    }
    for (int i = 0; i < crowd; i++) {
        pthread_join(member[i].thread, NULL);
        dhole_link_free(member[i].link);
        dhole_link_free(link[i]);
    }
    pair_close(&pair);
}

TEST(both_sides_export_the_same_key)
{
    uint8_t key[2][32], other[32];
    struct pair pair;

    pair_open(&pair, 0);
    for (int side = 0; side < 2; side++)
        ASSERT_OK(dhole__link_export(pair.link[side], "EXPORTER-test", "x", 1, key[side], 32));
    ASSERT_OK(dhole__link_export(pair.link[client], "EXPORTER-test", "y", 1, other, 32));
    ASSERT(memcmp(key[0], key[1], 32) == 0);
    ASSERT(memcmp(key[0], other, 32) != 0);
    pair_close(&pair);
}
