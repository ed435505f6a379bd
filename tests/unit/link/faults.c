/* Calls to the system that fail, one at a time, and sockets that move a few bytes at a time. */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sys.h"
#include "dhole/error.h"
#include "failing_calls.h"
#include "pair.h"

enum { short_ms = 60, most = 400 };

static dhole_err say(dhole_link *link, dhole_channel channel)
{
    dhole_message message = bytes_of(100, 1);
    uint8_t data[100];

    fill(data, sizeof data, 1);
    return dhole_link_send(link, channel, &message, data, 0);
}

static dhole_err hear(dhole_link *link, dhole_channel channel)
{
    dhole_message message;
    uint8_t data[100], expected[100];
    dhole_err err = dhole_link_recv(link, channel, &message, 0);

    if (err)
        return err;
    ASSERT_EQ(dhole_message_size(&message), sizeof data);
    err = dhole_link_recv_data(link, channel, data, 0);
    fill(expected, sizeof expected, 1);
    if (!err)
        ASSERT(memcmp(data, expected, sizeof data) == 0);
    return err;
}

static dhole_err talk(dhole_link *link, int side)
{
    dhole_err err = DHOLE_OK;

    for (int i = 0; i < 6 && !err; i++)
        err =
            i % 2 == side ? say(link, (dhole_channel)(i / 2)) : hear(link, (dhole_channel)(i / 2));
    return err;
}

static void *serve(void *arg)
{
    struct pair *pair = arg;
    dhole_err err = dhole_link_accept(pair->listener, short_ms, &pair->link[server]);

    pair->err[server] = err ? err : talk(pair->link[server], server);
    if (pair->err[server])
        ASSERT(strlen(dhole_error_message()) > 0);
    return NULL;
}

/* From nothing to nothing. Each side gets its result or an error with a message; never a crash, a
 * hang or a wrong byte. */
static void link_and_talk(struct pair *pair)
{
    pthread_t thread;

    memset(pair->link, 0, sizeof pair->link);
    pair->err[client] = dhole_link_listen(&pair->options[server], "127.0.0.1:0", &pair->listener);
    if (!pair->err[client]) {
        ASSERT(pthread_create(&thread, NULL, serve, pair) == 0);
        pair->err[client] =
            dhole_link_connect(&pair->options[client], dhole_link_listener_address(pair->listener),
                               &pair->link[client]);
        if (!pair->err[client])
            pair->err[client] = talk(pair->link[client], client);
        pthread_join(thread, NULL);
        dhole_link_listener_free(pair->listener);
        pair->listener = NULL;
    }
    if (pair->err[client])
        ASSERT(strlen(dhole_error_message()) > 0);
    for (int side = 0; side < 2; side++)
        dhole_link_free(pair->link[side]);
    memset(pair->link, 0, sizeof pair->link);
}

/* Fails the 1st, 2nd, ... of the calls until a run has fewer of them. Whichever it is, no
 * descriptor is lost. */
static void fail_each(void)
{
    struct pair pair;
    int before;

    pair_init(&pair);
    for (int side = 0; side < 2; side++)
        pair.options[side].connect_timeout_ms = pair.options[side].timeout_ms = short_ms;
    pair.options[client].lanes = 2;
    before = test_descriptors();
    for (int n = 1; n <= most; n++) {
        atomic_store(&calls, 0);
        atomic_store(&failing_call, n);
        atomic_store(&at_work, true);
        link_and_talk(&pair);
        atomic_store(&at_work, false);
        ASSERT_MSG(test_descriptors() == before, "%d descriptors after call %d failed, %d before",
                   test_descriptors(), n, before);
        if (atomic_load(&calls) < n)
            break;
    }
    pair_close(&pair);
}

TEST(every_allocation_fails_once)
{
    real = dhole__sys;
    dhole__sys.malloc = failing_malloc;
    dhole__sys.calloc = failing_calloc;
    fail_each();
}

#define FAIL_ONE(call)                    \
    TEST(every_##call##_fails_once)       \
    {                                     \
        real = dhole__sys;                \
        dhole__sys.call = failing_##call; \
        fail_each();                      \
    }

FAIL_ONE(socket)
FAIL_ONE(bind)
FAIL_ONE(listen)
FAIL_ONE(accept)
FAIL_ONE(connect)
FAIL_ONE(poll)
FAIL_ONE(send)
FAIL_ONE(recv)

/* 1 to 13 bytes at a time; every third call is interrupted, every fifth moves nothing. */
static bool disturbed(int n)
{
    errno = n % 3 == 0 ? EINTR : EAGAIN;
    return n % 3 == 0 || n % 5 == 0;
}

static size_t part_of(size_t size, int n)
{
    size_t part = (size_t)(n % 13) + 1;

    return size < part ? size : part;
}

static ssize_t short_send(int fd, const void *data, size_t size, int flags)
{
    int n = atomic_fetch_add(&calls, 1);

    return disturbed(n) ? -1 : real.send(fd, data, part_of(size, n), flags);
}

static ssize_t short_recv(int fd, void *data, size_t size, int flags)
{
    int n = atomic_fetch_add(&calls, 1);

    return disturbed(n) ? -1 : real.recv(fd, data, part_of(size, n), flags);
}

TEST(sockets_that_move_a_few_bytes_at_a_time)
{
    struct pair pair;

    real = dhole__sys;
    dhole__sys.send = short_send;
    dhole__sys.recv = short_recv;
    pair_open(&pair, 2);
    for (int i = 0; i < 6; i++) {
        send_bytes(pair.link[i % 2], (dhole_channel)(i / 2), 2000, 1, 1);
        expect_bytes(pair.link[!(i % 2)], (dhole_channel)(i / 2), 2000, 1, 1);
    }
    pair_close(&pair);
    dhole__sys = real;
}
