/* Whoever else calls at a listener: hundreds who stall or talk rubbish, and a trusted peer among
 * them. */
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dhole/error.h"
#include "link/hello.h"
#include "pair.h"
#include "seal/seal.h"
#include "transport/tcp/tcp.h"

enum { crowd = 500, joins = 5, join_ms = 1000 };

/* Accepts whoever comes until it is cancelled. */
struct host {
    struct pair pair;
    int cancel[2];
    pthread_t thread;
    dhole_link *link[joins];
    int links;
    dhole_err err;
};

static void *accept_all(void *arg)
{
    struct host *host = arg;

    for (;;) {
        host->err =
            dhole_link_accept(host->pair.listener, patient(50000), &host->link[host->links]);
        if (host->err)
            return NULL;
        expect_bytes(host->link[host->links], DHOLE_CHANNEL_BULK, 100, 1, 1);
        send_bytes(host->link[host->links], DHOLE_CHANNEL_MESSAGES, 100, 2, 2);
        host->links++;
    }
}

static void host_open(struct host *host)
{
    memset(host, 0, sizeof *host);
    pair_init(&host->pair);
    ASSERT(pipe(host->cancel) == 0);
    host->pair.options[client].lanes = 1;
    host->pair.options[server].cancel_fd = host->cancel[0];
    pair_listen(&host->pair);
    ASSERT(pthread_create(&host->thread, NULL, accept_all, host) == 0);
}

static void host_close(struct host *host, int links)
{
    ASSERT(write(host->cancel[1], "x", 1) == 1);
    pthread_join(host->thread, NULL);
    ASSERT_EQ(host->err, DHOLE_ERR_CANCELLED);
    ASSERT_EQ(host->links, links);
    for (int i = 0; i < host->links; i++)
        dhole_link_free(host->link[i]);
    close(host->cancel[0]);
    close(host->cancel[1]);
    pair_close(&host->pair);
}

static const char *address_of(const struct host *host)
{
    return dhole_link_listener_address(host->pair.listener);
}

/* A trusted peer comes within a second, and its link works. */
static void join(struct host *host)
{
    int64_t begin = now_ms();
    dhole_link *link;

    ASSERT_OK(dhole_link_connect(&host->pair.options[client], address_of(host), &link));
    ASSERT_MSG(now_ms() - begin < patient(join_ms), "joining took %d ms", (int)(now_ms() - begin));
    send_bytes(link, DHOLE_CHANNEL_BULK, 100, 1, 1);
    expect_bytes(link, DHOLE_CHANNEL_MESSAGES, 100, 2, 2);
    dhole_link_free(link);
}

/* A crowd that each says `size` bytes and stays, and a trusted peer that joins from time to time.
 */
static void join_in_a_crowd(const void *bytes, size_t size, bool random)
{
    struct host host;
    uint8_t rubbish[512];
    int fd[crowd];

    host_open(&host);
    memcpy(rubbish, bytes, size);
    for (int i = 0; i < crowd; i++) {
        fd[i] = dial_port(address_of(&host));
        if (random)
            fill(rubbish, size, (unsigned)i);
        send(fd[i], rubbish, size, MSG_NOSIGNAL);
        if (i % (crowd / joins) == crowd / joins - 1)
            join(&host);
    }
    for (int i = 0; i < crowd; i++)
        close(fd[i]);
    host_close(&host, joins);
}

TEST(silent_strangers)
{
    join_in_a_crowd("", 0, false);
}

TEST(strangers_who_stop_in_the_first_bytes)
{
    join_in_a_crowd("dhole\0l\1\0\0\0\0\0", 13, false);
}

TEST(strangers_who_talk_rubbish)
{
    uint8_t bytes[300] = {0};

    join_in_a_crowd(bytes, sizeof bytes, true);
}

/* They begin as one of us does, and then say nothing. */
/* A worker logs what happens, but not all that anybody does. */
TEST(strangers_do_not_fill_the_log)
{
    char path[256], line[512];
    int own_stderr = dup(2), lines = 0;
    struct host host;
    FILE *log;

    setenv("DHOLE_LOG", "info", 1);
    snprintf(path, sizeof path, "%s/log", test_dir());
    log = fopen(path, "w+");
    ASSERT(log != NULL && dup2(fileno(log), 2) == 2);
    host_open(&host);
    for (int i = 0; i < crowd; i++) {
        int fd = dial_port(address_of(&host));
        send(fd, "\33rubbish", 8, MSG_NOSIGNAL);
        close(fd);
    }
    join(&host);
    host_close(&host, 1);
    ASSERT(dup2(own_stderr, 2) == 2);
    rewind(log);
    while (fgets(line, sizeof line, log) != NULL)
        lines++;
    fclose(log);
    ASSERT_MSG(lines > 0 && lines < crowd / 2, "%d lines", lines);
}

TEST(strangers_who_stop_before_their_handshake)
{
    uint8_t bytes[dhole__link_preamble_size];

    dhole__link_preamble_encode(&(struct dhole__link_preamble){.kind = DHOLE__LINK_CONTROL}, bytes);
    join_in_a_crowd(bytes, sizeof bytes, false);
}

TEST(strangers_whose_handshake_is_rubbish)
{
    uint8_t bytes[dhole__link_preamble_size + 200];

    fill(bytes, sizeof bytes, 1);
    dhole__link_preamble_encode(&(struct dhole__link_preamble){.kind = DHOLE__LINK_CONTROL}, bytes);
    join_in_a_crowd(bytes, sizeof bytes, false);
}

TEST(strangers_who_call_as_a_lane_of_nobody)
{
    struct dhole__link_preamble preamble = {.kind = DHOLE__LINK_MESSAGES, .token = {1, 2, 3}};
    uint8_t bytes[dhole__link_preamble_size];

    dhole__link_preamble_encode(&preamble, bytes);
    join_in_a_crowd(bytes, sizeof bytes, false);
}

/* Its control connection, sealed. */
static struct dhole__conn *open_control(const struct host *host)
{
    uint8_t bytes[dhole__link_preamble_size];
    struct dhole__conn *wire, *tls;
    dhole__deadline deadline = dhole__deadline_in(patient(20000));

    ASSERT_OK(dhole__tcp_conn_open(dial_port(address_of(host)), &wire));
    dhole__link_preamble_encode(&(struct dhole__link_preamble){.kind = DHOLE__LINK_CONTROL}, bytes);
    ASSERT_OK(dhole__io_run_one(dhole__io_send(wire, bytes, sizeof bytes, NULL, 0), deadline));
    ASSERT_OK(dhole__tls_open(wire, host->pair.identity[client], &host->pair.pin[server],
                              DHOLE__SEAL_CLIENT, deadline, &tls));
    return tls;
}

/* The head of a good hello. */
static void hello_head(uint8_t head[static dhole__link_head_size])
{
    memset(head, 0, dhole__link_head_size);
    head[0] = dhole__link_version;
    head[23] = 1;
}

/* Says that hello, and waits for the end of the connection; returns whether the server said hello
 * before. */
static bool say_hello(const struct host *host, const uint8_t *hello, size_t size)
{
    struct dhole__conn *tls = open_control(host);
    dhole__deadline deadline = dhole__deadline_in(patient(20000));
    uint8_t theirs[dhole__link_head_size], more;
    dhole_err err;

    ASSERT_OK(dhole__io_run_one(dhole__io_send(tls, hello, size, NULL, 0), deadline));
    err = dhole__io_run_one(dhole__io_recv(tls, theirs, sizeof theirs, NULL, 0), deadline);
    if (err == DHOLE_OK)
        ASSERT_ERR(dhole__io_run_one(dhole__io_recv(tls, &more, 1, NULL, 0), deadline),
                   DHOLE_ERR_PEER_LOST);
    dhole__conn_close(tls);
    return err == DHOLE_OK;
}

TEST(a_hello_that_is_malformed_is_refused)
{
    static const struct {
        int at;
        uint8_t value;
    } bad[] = {{0, 2}, {2, 1}, {4, 1}, {6, 9}, {7, 1}, {9, 1}, {11, 5}, {12, 1}, {15, 0x80}};
    uint8_t head[dhole__link_head_size];
    struct host host;

    host_open(&host);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        hello_head(head);
        head[bad[i].at] = bad[i].value;
        say_hello(&host, head, sizeof head);
    }
    hello_head(head);
    head[0] = 2;
    ASSERT(say_hello(&host, head, sizeof head)); /* so that a newer version can say what it is */
    join(&host);
    host_close(&host, 1);
}

/* Trusted, but it never says what it must, and holds up nobody. */
TEST(peers_who_stop_before_their_hello_or_lanes)
{
    uint8_t head[dhole__link_head_size];
    struct dhole__conn *idle[8];
    struct host host;

    host_open(&host);
    hello_head(head);
    head[6] = 2;
    for (int i = 0; i < 8; i++) {
        idle[i] = open_control(&host);
        if (i % 2)
            ASSERT_OK(dhole__io_run_one(dhole__io_send(idle[i], head, sizeof head, NULL, 0),
                                        dhole__deadline_in(patient(20000))));
    }
    join(&host);
    for (int i = 0; i < 8; i++)
        dhole__conn_close(idle[i]);
    host_close(&host, 1);
}

/* Trusted as well, and silent: too many of one key displace each other, and nobody else. */
TEST(peers_that_call_more_and_more_displace_themselves)
{
    enum { calls = 40 };
    struct dhole__conn *idle[calls];
    uint8_t head[dhole__link_head_size];
    struct host host;

    host_open(&host);
    for (int i = 0; i < calls; i++)
        idle[i] = open_control(&host);
    for (int i = 0; i < calls; i += calls - 1) {
        dhole__deadline deadline = dhole__deadline_in(i == 0 ? patient(2000) : 1);
        ASSERT_OK(dhole__io_run_one(dhole__io_recv(idle[i], head, sizeof head, NULL, 0),
                                    dhole__deadline_in(patient(20000))));
        ASSERT_ERR(dhole__io_run_one(dhole__io_recv(idle[i], head, 1, NULL, 0), deadline),
                   i == 0 ? DHOLE_ERR_PEER_LOST : DHOLE_ERR_TIMEOUT);
    }
    join(&host);
    for (int i = 0; i < calls; i++)
        dhole__conn_close(idle[i]);
    host_close(&host, 1);
}
