/* Lanes over several addresses, and lanes that are refused or lost. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sys.h"
#include "dhole/error.h"
#include "link/link_internal.h"
#include "pair.h"
#include "proxy.h"

enum { text_max = 128, much = 8 << 20 };

static int bind_at(const char *host)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ASSERT(fd >= 0);
    ASSERT(inet_pton(AF_INET, host, &in.sin_addr) == 1);
    if (bind(fd, (struct sockaddr *)&in, sizeof in) == 0)
        return fd;
    ASSERT_EQ(errno, EADDRNOTAVAIL);
    close(fd);
    return -1;
}

static int port_of(int fd)
{
    struct sockaddr_in in;
    socklen_t length = sizeof in;

    ASSERT(getsockname(fd, (struct sockaddr *)&in, &length) == 0);
    return ntohs(in.sin_port);
}

/* Listens at two addresses; false: the system has but one on loopback. */
static bool listen_at_two(struct pair *pair, int lanes)
{
    int fd = bind_at("127.0.0.2");

    if (fd < 0) {
        test_skip("loopback has no address 127.0.0.2 here");
        return false;
    }
    close(fd);
    pair_init(pair);
    pair->options[client].lanes = lanes;
    ASSERT_OK(
        dhole_link_listen(&pair->options[server], "127.0.0.1:0,127.0.0.2:0", &pair->listener));
    return true;
}

static void expect_up(const struct pair *pair)
{
    for (int side = 0; side < 2; side++)
        ASSERT_MSG(pair->err[side] == DHOLE_OK, "side %d: %s", side, pair->message[side]);
}

static void *send_much(void *arg)
{
    send_bytes(arg, DHOLE_CHANNEL_BULK, much, 1, 1);
    return NULL;
}

static uint64_t carried(const struct pair *pair, int lane)
{
    return atomic_load(&pair->link[client]->wire[2 + lane]->sent);
}

/* Lane i is connected to address i modulo 2, and has its share of one message. */
static void share(int lanes)
{
    struct pair pair;
    pthread_t thread;

    if (!listen_at_two(&pair, lanes))
        return;
    pair_try(&pair);
    expect_up(&pair);
    ASSERT_CONTAINS(dhole_link_address(pair.link[client]), "127.0.0.1:");
    ASSERT_STR(pair.link[client]->lane_address[0], dhole_link_address(pair.link[client]));
    ASSERT(pthread_create(&thread, NULL, send_much, pair.link[client]) == 0);
    expect_bytes(pair.link[server], DHOLE_CHANNEL_BULK, much, 1, 1);
    pthread_join(thread, NULL);
    for (int i = 0; i < lanes; i++) {
        const char *address = pair.link[client]->lane_address[1 + i];
        ASSERT_CONTAINS(address, i % 2 ? "127.0.0.2:" : "127.0.0.1:");
        ASSERT(strstr(dhole_link_listener_address(pair.listener), address) != NULL);
        ASSERT(carried(&pair, i) > much / (uint64_t)lanes - dhole__lane_record_max);
        ASSERT(carried(&pair, i) < much / (uint64_t)lanes + 2 * dhole__lane_record_max);
    }
    pair_close(&pair);
}

TEST(two_lanes_share_a_message_over_two_addresses)
{
    share(2);
}

TEST(five_lanes_share_a_message_over_two_addresses)
{
    share(5);
}

/* A list of what the pair's listener has, and of an address at which nobody listens. */
struct list {
    int fd;
    char text[2 * text_max], dead[text_max];
};

static struct list list_with_a_dead_one(const struct pair *pair, bool first)
{
    const char *alive = dhole_link_listener_address(pair->listener);
    struct list list = {.fd = bind_at("127.0.0.1")};

    snprintf(list.dead, sizeof list.dead, "127.0.0.1:%d", port_of(list.fd));
    snprintf(list.text, sizeof list.text, "%s,%s", first ? list.dead : alive,
             first ? alive : list.dead);
    return list;
}

TEST(control_goes_to_the_first_address_that_answers)
{
    struct pair pair;
    struct list list;

    pair_init(&pair);
    pair_listen(&pair);
    list = list_with_a_dead_one(&pair, true);
    pair_try_at(&pair, list.text);
    expect_up(&pair);
    ASSERT_STR(dhole_link_address(pair.link[client]), dhole_link_listener_address(pair.listener));
    close(list.fd);
    pair_close(&pair);
}

static void expect_dead_one_named(bool first)
{
    struct pair pair;
    struct list list;

    pair_init(&pair);
    pair.options[client].lanes = 2;
    pair.accept_ms = patient(300);
    pair_listen(&pair);
    list = list_with_a_dead_one(&pair, first);
    pair_try_at(&pair, list.text);
    ASSERT_MSG(pair.err[client] == DHOLE_ERR_PEER_LOST, "%s", pair.message[client]);
    ASSERT_CONTAINS(pair.message[client], first ? "lane 0 of BULK, to " : "lane 1 of BULK, to ");
    ASSERT_CONTAINS(strstr(pair.message[client], "of BULK"), list.dead);
    ASSERT_EQ(pair.err[server], DHOLE_ERR_TIMEOUT);
    close(list.fd);
    pair_close(&pair);
}

TEST(an_address_of_a_lane_that_does_not_answer_is_named)
{
    expect_dead_one_named(false);
    expect_dead_one_named(true);
}

static struct dhole__sys real;
static int silent_port;
static atomic_int silent_fd;

/* As if what is said to that port were lost. */
static int lossy_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    if (ntohs(((const struct sockaddr_in *)address)->sin_port) != silent_port) {
        if (fd == atomic_load(&silent_fd))
            atomic_store(&silent_fd, -1);
        return real.connect(fd, address, length);
    }
    atomic_store(&silent_fd, fd);
    errno = EINPROGRESS;
    return -1;
}

static int lossy_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    int silent = atomic_load(&silent_fd), at = -1, ready;

    for (nfds_t i = 0; i < count; i++)
        if (silent >= 0 && fds[i].fd == silent && fds[i].events == POLLOUT)
            at = (int)i;
    if (at >= 0)
        fds[at].fd = -1;
    ready = real.poll(fds, count, timeout_ms);
    if (at >= 0)
        fds[at].fd = silent;
    return ready;
}

static void lose_what_goes_to(int port)
{
    real = dhole__sys;
    silent_port = port;
    atomic_store(&silent_fd, -1);
    dhole__sys.connect = lossy_connect;
    dhole__sys.poll = lossy_poll;
}

TEST(a_silent_address_does_not_keep_control_from_the_next)
{
    struct pair pair;
    struct list list;

    pair_init(&pair);
    pair_listen(&pair);
    list = list_with_a_dead_one(&pair, true);
    lose_what_goes_to(port_of(list.fd));
    pair_try_at(&pair, list.text);
    dhole__sys = real;
    expect_up(&pair);
    close(list.fd);
    pair_close(&pair);
}

TEST(a_silent_address_of_a_lane_is_named)
{
    struct pair pair;
    struct list list;

    pair_init(&pair);
    pair.options[client].lanes = 2;
    pair.options[client].connect_timeout_ms = patient(1000);
    pair.accept_ms = patient(1000);
    pair_listen(&pair);
    list = list_with_a_dead_one(&pair, false);
    lose_what_goes_to(port_of(list.fd));
    pair_try_at(&pair, list.text);
    dhole__sys = real;
    ASSERT_MSG(pair.err[client] == DHOLE_ERR_TIMEOUT, "%s", pair.message[client]);
    ASSERT_CONTAINS(pair.message[client], "lane 1 of BULK, to ");
    close(list.fd);
    pair_close(&pair);
}

TEST(wrong_lists_of_addresses_are_refused)
{
    static const char *const bad[] = {"127.0.0.1:1,", ",127.0.0.1:1", "127.0.0.1:1,nonsense",
                                      "a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1"};
    struct pair pair;

    pair_init(&pair);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ASSERT_ERR(dhole_link_connect(&pair.options[client], bad[i], &pair.link[client]),
                   DHOLE_ERR_CONFIG);
        ASSERT_ERR(dhole_link_listen(&pair.options[server], bad[i], &pair.listener),
                   DHOLE_ERR_CONFIG);
    }
    pair_close(&pair);
}

/* Sends or receives on BULK until that fails. */
struct user {
    pthread_t thread;
    dhole_link *link;
    bool sends;
    dhole_err err;
    char message[1024];
};

static void *use(void *arg)
{
    struct user *user = arg;
    dhole_message message = bytes_of(much, 1);
    uint8_t *data = calloc(1, much);

    do {
        user->err = user->sends ? dhole_link_send(user->link, DHOLE_CHANNEL_BULK, &message, data, 0)
                                : dhole_link_recv(user->link, DHOLE_CHANNEL_BULK, &message, 0);
        if (!user->err && !user->sends)
            user->err = dhole_link_recv_data(user->link, DHOLE_CHANNEL_BULK, data, 0);
    } while (!user->err);
    snprintf(user->message, sizeof user->message, "%s", dhole_error_message());
    free(data);
    return NULL;
}

/* In the middle of a transfer, on the side that it comes from or goes to. */
static void lose_a_lane(int side)
{
    struct user user[2];
    struct dhole__conn *wire;
    dhole_message message;
    struct pair pair;

    if (!listen_at_two(&pair, 2))
        return;
    pair_try(&pair);
    expect_up(&pair);
    for (int i = 0; i < 2; i++) {
        user[i] = (struct user){.link = pair.link[i], .sends = i == client};
        ASSERT(pthread_create(&user[i].thread, NULL, use, &user[i]) == 0);
    }
    wire = pair.link[side]->wire[3];
    while (atomic_load(&wire->sent) + atomic_load(&wire->received) < much)
        usleep(1000);
    wire->ops->shutdown(wire);
    for (int i = 0; i < 2; i++) {
        pthread_join(user[i].thread, NULL);
        ASSERT_MSG(user[i].err == DHOLE_ERR_PEER_LOST, "side %d: %s", i, user[i].message);
        for (int c = 0; c < 3; c++)
            ASSERT_ERR(dhole_link_recv(pair.link[i], (dhole_channel)c, &message, 0),
                       DHOLE_ERR_PEER_LOST);
    }
    ASSERT_MSG(strstr(user[0].message, "rail 1 of 2, 127.0.0.2:") != NULL ||
                   strstr(user[1].message, "rail 1 of 2, 127.0.0.2:") != NULL,
               "nobody names the lane: \"%s\", \"%s\"", user[0].message, user[1].message);
    pair_close(&pair);
}

TEST(a_lane_that_is_lost_ends_the_link_on_both_sides)
{
    lose_a_lane(client);
    lose_a_lane(server);
}

/* On the way to the server its token changes; the connections stay. */
TEST(a_lane_that_is_refused_is_noticed_and_named)
{
    struct proxy proxy = {.keeps = true, .edit = {EDIT_FLIP, .kind = 2, .way = 0, .at = 20}};
    struct pair pair;

    pair_init(&pair);
    pair.options[client].lanes = 2;
    pair.accept_ms = patient(300);
    pair_listen(&pair);
    proxy_start(&proxy, dhole_link_listener_address(pair.listener));
    pair_try_at(&pair, proxy.address);
    proxy_stop(&proxy);
    ASSERT_MSG(pair.err[client] == DHOLE_ERR_PEER_LOST, "%s", pair.message[client]);
    ASSERT_CONTAINS(pair.message[client], "lane 0 of BULK, to ");
    ASSERT_CONTAINS(pair.message[client], "the other side refused it");
    pair_close(&pair);
}
