/* Strangers at the port while the ranks join: rank 0 listens, strangers call it first, and rank 1
 * comes after them. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

struct stranger {
    const void *bytes;
    size_t size;
    int calls;  /* connections */
    bool stays; /* keeps them open until the ranks are through */
    int64_t rank_1_comes_after_ms;
};

static int call(const char *address, const void *bytes, size_t size)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    sin.sin_port = htons((uint16_t)atoi(strchr(address, ':') + 1));
    ASSERT(fd >= 0 && connect(fd, (struct sockaddr *)&sin, sizeof sin) == 0);
    ASSERT(size == 0 || send(fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size);
    return fd;
}

static void pause_ms(int64_t ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&t, NULL);
}

static void join_among_strangers(struct rank *r)
{
    const struct stranger *s = r->arg;
    int fds[250];
    float one = 1, sum;

    if (r->rank == 1) {
        for (int i = 0; i < s->calls; i++) {
            fds[i] = call(r->world->address[0], s->bytes, s->size);
            if (!s->stays)
                close(fds[i]);
        }
        pause_ms(s->rank_1_comes_after_ms);
    }
    ASSERT_OK(dhole_init(&r->options, &r->group));
    ASSERT_OK(dhole_all_sum(r->group, &one, &sum, 1, DHOLE_F32));
    ASSERT(sum == 2);
    dhole_group_free(r->group);
    for (int i = 0; r->rank == 1 && s->stays && i < s->calls; i++)
        close(fds[i]);
}

static void run_stranger(const struct stranger *stranger)
{
    run_ranks(&backend_tcp, 2, join_among_strangers, (void *)stranger);
    run_ranks(&backend_tcp_sealed, 2, join_among_strangers, (void *)stranger);
    run_ranks(&backend_shm_sealed, 2, join_among_strangers, (void *)stranger);
}

/* What a rank sends first, as anyone can see it on the wire: rank 1 to rank 0, control. */
static const uint8_t preamble[] = {'d', 'h', 'o', 'l', 'e', 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0};

TEST(callers_that_hang_up)
{
    run_stranger(&(struct stranger){.calls = 20});
}

TEST(callers_that_say_nothing)
{
    run_stranger(&(struct stranger){.calls = 20, .stays = true});
}

TEST(more_silent_callers_than_are_waited_for)
{
    run_stranger(&(struct stranger){.calls = 250, .stays = true});
}

TEST(callers_of_another_protocol)
{
    static const char get[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

    run_stranger(&(struct stranger){get, sizeof get - 1, 20, true, 0});
}

TEST(a_caller_that_stops_in_the_first_message)
{
    run_stranger(&(struct stranger){preamble, 7, 5, true, 0});
}

TEST(a_caller_that_says_it_is_a_rank_there_is_not)
{
    uint8_t wrong[sizeof preamble];

    memcpy(wrong, preamble, sizeof wrong);
    wrong[8] = 200;
    run_stranger(&(struct stranger){wrong, sizeof wrong, 5, true, 0});
    wrong[8] = 0; /* the listener itself */
    run_stranger(&(struct stranger){wrong, sizeof wrong, 5, true, 0});
}

TEST(a_caller_that_takes_a_rank_s_name_and_talks_rubbish)
{
    uint8_t bytes[sizeof preamble + 4000];

    memset(bytes, 0xee, sizeof bytes);
    memcpy(bytes, preamble, sizeof preamble);
    run_stranger(&(struct stranger){bytes, sizeof bytes, 3, true, 0});
}

TEST(a_caller_that_takes_a_rank_s_name_and_hangs_up)
{
    run_stranger(&(struct stranger){preamble, sizeof preamble, 3, false, 0});
}

/* No stranger decides how long the others have. */
TEST(a_refused_caller_does_not_shorten_the_time_to_join)
{
    uint8_t bytes[sizeof preamble + 100];

    memset(bytes, 0xee, sizeof bytes);
    memcpy(bytes, preamble, sizeof preamble);
    run_ranks(&backend_tcp_sealed, 2, join_among_strangers,
              &(struct stranger){bytes, sizeof bytes, 1, true, 3500});
}

TEST(a_caller_that_takes_a_rank_s_name_and_stalls)
{
    run_stranger(&(struct stranger){preamble, sizeof preamble, 4, true, 0});
}
