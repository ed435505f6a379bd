/* Several connections to a peer. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"

/* Stands between rank 1 and the second of rank 0's two addresses. */
struct relay {
    pthread_t thread;
    int listen_fd;
    char address[32];
    int to_port;
    atomic_long bytes;
    atomic_bool cut, held;
};

static void pump(struct relay *relay, int from, int to)
{
    char buffer[65536];
    ssize_t n = recv(from, buffer, sizeof buffer, MSG_DONTWAIT);

    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            atomic_store(&relay->cut, true);
        return;
    }
    atomic_fetch_add(&relay->bytes, n);
    for (ssize_t done = 0; done < n;) {
        ssize_t sent = send(to, buffer + done, (size_t)(n - done), MSG_NOSIGNAL);
        if (sent <= 0) {
            atomic_store(&relay->cut, true);
            return;
        }
        done += sent;
    }
}

static void *run_relay(void *arg)
{
    struct relay *relay = arg;
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd[2] = {accept(relay->listen_fd, NULL, NULL), socket(AF_INET, SOCK_STREAM, 0)};

    sin.sin_port = htons((uint16_t)relay->to_port);
    ASSERT(fd[0] >= 0 && fd[1] >= 0);
    ASSERT(connect(fd[1], (struct sockaddr *)&sin, sizeof sin) == 0);
    while (!atomic_load(&relay->cut)) {
        struct pollfd pfds[2] = {{.fd = fd[0], .events = POLLIN}, {.fd = fd[1], .events = POLLIN}};
        poll(pfds, 2, 20);
        for (int side = 0; side < 2; side++)
            if (pfds[side].revents != 0 && !atomic_load(&relay->held))
                pump(relay, fd[side], fd[!side]);
    }
    close(fd[0]);
    close(fd[1]);
    return NULL;
}

static int port_of(const char *address)
{
    return atoi(strrchr(address, ':') + 1);
}

enum { count = 1 << 20 };

static float data[2][count];

/* Rank 0's address twice, or once and the relay's. */
static void join(struct rank *r, struct relay *relay)
{
    char text[2][96];
    const char *hosts[2];

    for (int peer = 0; peer < 2; peer++) {
        const char *address = r->world->address[peer];
        const char *second = r->rank == 1 && peer == 0 ? relay->address : address;
        snprintf(text[peer], sizeof text[0], "%.40s,%.40s", address, second);
        hosts[peer] = text[peer];
    }
    if (r->rank == 0) {
        relay->to_port = port_of(r->world->address[0]);
        ASSERT(pthread_create(&relay->thread, NULL, run_relay, relay) == 0);
    }
    r->options.hosts = hosts;
    rank_joins(r);
}

static void leave(struct rank *r, struct relay *relay)
{
    dhole_group_free(r->group);
    if (r->rank == 0)
        pthread_join(relay->thread, NULL);
}

static void with_relay(const struct backend *backend, rank_body *body)
{
    struct relay relay = {0};

    relay.listen_fd = listen_anywhere(relay.address);
    run_ranks(backend, 2, body, &relay);
    close(relay.listen_fd);
}

/* Half of what both send goes over each of two. */
static void use_both(struct rank *r)
{
    struct relay *relay = r->arg;
    const long all = 2 * (long)sizeof data[0];
    long bytes;

    join(r, relay);
    for (int i = 0; i < count; i++)
        data[r->rank][i] = (float)i;
    ASSERT_OK(dhole_all_sum(r->group, data[r->rank], data[r->rank], count, DHOLE_F32));
    for (int i = 0; i < count; i++)
        ASSERT(data[r->rank][i] == 2 * (float)i);
    ASSERT_OK(dhole_barrier(r->group));
    bytes = atomic_load(&relay->bytes);
    ASSERT_MSG(bytes > all / 2 - all / 16 && bytes < all / 2 + all / 16, "%ld bytes of %ld", bytes,
               all);
    leave(r, relay);
}

TEST(both_rails_carry_half)
{
    with_relay(&backend_tcp, use_both);
    with_relay(&backend_tcp_sealed, use_both);
}

static char messages[2][512];

static void lose_one(struct rank *r)
{
    struct relay *relay = r->arg;
    dhole_err err;
    int64_t begin = 0;

    join(r, relay);
    for (int i = 0;; i++) {
        if (r->rank == 0 && i == 5) {
            begin = now_ms();
            atomic_store(&relay->cut, true);
        }
        err = dhole_all_sum(r->group, data[r->rank], data[r->rank], count, DHOLE_F32);
        if (err)
            break;
    }
    ASSERT_EQ(err, DHOLE_ERR_PEER_LOST);
    ASSERT(r->rank == 1 || now_ms() - begin < patient(4000));
    snprintf(messages[r->rank], sizeof messages[0], "%s", dhole_error_message());
    ASSERT_CONTAINS(messages[r->rank], "rank 1 was lost");
    ASSERT_CONTAINS(messages[r->rank], "rail 1 of 2, 127.0.0.1:");
    ranks_meet(r);
    ASSERT_STR(messages[0], messages[1]);
    leave(r, relay);
}

TEST(a_lost_rail_is_an_error_that_names_it)
{
    with_relay(&backend_tcp, lose_one);
    with_relay(&backend_tcp_sealed, lose_one);
}

/* A rail that falls silent while the other one works. */
static void hold_one(struct rank *r)
{
    struct relay *relay = r->arg;
    float *own = data[r->rank];
    int64_t begin;

    join(r, relay);
    ASSERT_OK(dhole_all_sum(r->group, own, own, count, DHOLE_F32));
    ranks_meet(r);
    atomic_store(&relay->held, true);
    begin = now_ms();
    ASSERT_OK(dhole_set_timeout(r->group, patient(500)));
    ASSERT_ERR(dhole_all_sum(r->group, own, own, count, DHOLE_F32), DHOLE_ERR_TIMEOUT);
    ASSERT(now_ms() - begin < patient(4000));
    ASSERT_CONTAINS(dhole_error_message(), "rank ");
    atomic_store(&relay->cut, true);
    leave(r, relay);
}

TEST(a_silent_rail_ends_the_call_in_time)
{
    with_relay(&backend_tcp, hold_one);
    with_relay(&backend_tcp_sealed, hold_one);
}

static void have_others(struct rank *r)
{
    const char *hosts[2];
    char twice[2][96];
    dhole_group *group;

    for (int peer = 0; peer < 2; peer++) {
        const char *address = r->world->address[peer];
        snprintf(twice[peer], sizeof twice[0], "%.40s,%.40s", address, address);
        hosts[peer] = r->rank == 0 ? twice[peer] : address;
    }
    r->options.hosts = hosts;
    r->options.connect_timeout_ms = patient(400);
    ASSERT_ERR(dhole_init(&r->options, &group), DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(dhole_error_message(), "rank 0 has 2");
    ASSERT_CONTAINS(dhole_error_message(), "rank 1 has 1");
}

TEST(all_ranks_have_as_many_addresses)
{
    run_ranks(&backend_tcp, 2, have_others, NULL);
}

TEST(too_many_addresses_are_refused)
{
    static const char nine[] = "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3,127.0.0.1:4,127.0.0.1:5,"
                               "127.0.0.1:6,127.0.0.1:7,127.0.0.1:8,127.0.0.1:9";
    const char *hosts[2] = {nine, nine};
    dhole_options options = DHOLE_OPTIONS_INIT;
    dhole_group *group;

    options.backend = "tcp";
    options.size = 2;
    options.hosts = hosts;
    ASSERT_ERR(dhole_init(&options, &group), DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(dhole_error_message(), "may have 8 addresses, this one has 9");
}
