#include "base/lookup.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/sys.h"
#include "test.h"

static int (*look_up)(const char *host, const char *port, const struct addrinfo *hints,
                      struct addrinfo **out);
static int gate[2]; /* a pipe: a look-up takes a byte, if it has to wait for one */

/* Of slow.example a resolver tells what it knows when it is let to; of lost.example it knows
 * nothing; of any other name nobody may ask. */
static int resolver(const char *host, const char *port, const struct addrinfo *hints,
                    struct addrinfo **out)
{
    char byte;

    if (hints->ai_flags & AI_NUMERICHOST)
        return look_up(host, port, hints, out);
    if (strcmp(host, "lost.example") == 0)
        return EAI_AGAIN;
    if (strcmp(host, "slow.example") != 0 || read(gate[0], &byte, 1) != 1)
        return EAI_FAIL;
    return look_up("127.0.0.9", port, hints, out);
}

static void open_gate(void)
{
    ASSERT_EQ(write(gate[1], "", 1), 1);
}

static dhole_err ask(const char *host, int64_t timeout_ms, int cancel_fd, struct addrinfo **out)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};

    if (look_up == NULL) {
        ASSERT_EQ(pipe(gate), 0);
        look_up = dhole__sys.getaddrinfo;
        dhole__sys.getaddrinfo = resolver;
    }
    return dhole__lookup(host, "80", &hints, dhole__deadline_in(timeout_ms), cancel_fd, out);
}

TEST(digits_are_looked_up_by_nobody)
{
    struct addrinfo *found;

    ASSERT_OK(ask("127.0.0.1", 0, -1, &found));
    freeaddrinfo(found);
    ASSERT_OK(ask("::1", 0, -1, &found));
    freeaddrinfo(found);
}

TEST(a_slow_name_server_is_waited_for)
{
    struct addrinfo *found;

    ASSERT_ERR(ask("lost.example", 20000, -1, &found), DHOLE_ERR_CONFIG);
    ASSERT_STR(dhole_error_message(), gai_strerror(EAI_AGAIN));
    open_gate();
    ASSERT_OK(ask("slow.example", 20000, -1, &found));
    ASSERT_EQ(found->ai_family, AF_INET);
    freeaddrinfo(found);
}

TEST(one_that_takes_too_long_is_not)
{
    struct addrinfo *found = NULL;
    int cancel[2];

    ASSERT_ERR(ask("slow.example", 20, -1, &found), DHOLE_ERR_TIMEOUT);
    ASSERT_EQ(pipe(cancel), 0);
    ASSERT_EQ(write(cancel[1], "", 1), 1);
    ASSERT_ERR(ask("slow.example", 20000, cancel[0], &found), DHOLE_ERR_CANCELLED);
    ASSERT(found == NULL);
    open_gate(); /* what was left behind ends by itself */
    open_gate();
}

static int no_thread(pthread_t *thread, const pthread_attr_t *attributes, void *(*main)(void *arg),
                     void *arg)
{
    (void)thread, (void)attributes, (void)main, (void)arg;
    return EAGAIN;
}

TEST(without_a_thread_it_fails)
{
    struct addrinfo *found;

    dhole__sys.thread_create = no_thread;
    ASSERT_ERR(ask("slow.example", 20000, -1, &found), DHOLE_ERR_SYSTEM);
    ASSERT_CONTAINS(dhole_error_message(), "thread");
}
