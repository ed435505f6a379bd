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
    bool differs; /* from the group, about the seal */
};

/* What a rank sends first, as anyone can see it on the wire: rank 1 to rank 0, control; the last
 * two bytes say whether it is sealed. */
static const uint8_t preamble[] = {'d', 'h', 'o', 'l', 'e', 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0};
enum { sealed_byte = sizeof preamble - 2 };

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
    uint8_t bytes[5000];
    int fds[250];
    float one = 1, sum;

    if (s->size > 0)
        memcpy(bytes, s->bytes, s->size);
    if (s->size >= sizeof preamble && memcmp(bytes, preamble, 8) == 0)
        bytes[sealed_byte] = r->world->backend->sealed != s->differs;
    if (r->rank == 1) {
        for (int i = 0; i < s->calls; i++) {
            fds[i] = call(r->world->address[0], bytes, s->size);
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

    run_stranger(&(struct stranger){get, sizeof get - 1, 20, true, 0, false});
}

TEST(a_caller_that_stops_in_the_first_message)
{
    run_stranger(&(struct stranger){preamble, 7, 5, true, 0, false});
}

TEST(a_caller_that_says_it_is_a_rank_there_is_not)
{
    uint8_t wrong[sizeof preamble];

    memcpy(wrong, preamble, sizeof wrong);
    wrong[8] = 200;
    run_stranger(&(struct stranger){wrong, sizeof wrong, 5, true, 0, false});
    wrong[8] = 0; /* the listener itself */
    run_stranger(&(struct stranger){wrong, sizeof wrong, 5, true, 0, false});
}

TEST(a_caller_that_takes_a_rank_s_name_and_talks_rubbish)
{
    uint8_t bytes[sizeof preamble + 4000];

    memset(bytes, 0xee, sizeof bytes);
    memcpy(bytes, preamble, sizeof preamble);
    run_stranger(&(struct stranger){bytes, sizeof bytes, 3, true, 0, false});
}

TEST(a_caller_that_takes_a_rank_s_name_and_hangs_up)
{
    run_stranger(&(struct stranger){preamble, sizeof preamble, 3, false, 0, false});
}

/* No stranger decides how long the others have. */
TEST(a_refused_caller_does_not_shorten_the_time_to_join)
{
    uint8_t bytes[sizeof preamble + 100];

    memset(bytes, 0xee, sizeof bytes);
    memcpy(bytes, preamble, sizeof preamble);
    run_ranks(&backend_tcp_sealed, 2, join_among_strangers,
              &(struct stranger){bytes, sizeof bytes, 1, true, 3500, false});
    run_ranks(&backend_tcp_sealed, 2, join_among_strangers,
              &(struct stranger){preamble, sizeof preamble, 1, true, 3500, true});
}

TEST(a_caller_that_takes_a_rank_s_name_and_stalls)
{
    run_stranger(&(struct stranger){preamble, sizeof preamble, 4, true, 0, false});
}

TEST(a_caller_that_takes_a_rank_s_name_and_differs_about_the_seal)
{
    run_stranger(&(struct stranger){preamble, sizeof preamble, 4, true, 0, true});
}

/* What somebody says who listens in rank 0's place, and what rank 1 makes of it. */
struct impostor {
    uint8_t answer[sizeof preamble];
    dhole_err expected;
    const char *part;
};

static void meet_impostor(struct rank *r)
{
    const struct impostor *impostor = r->arg;
    uint8_t heard[sizeof preamble];
    int fd;

    if (r->rank == 1) {
        ASSERT_ERR(dhole_init(&r->options, &r->group), impostor->expected);
        ASSERT_CONTAINS(dhole_error_message(), impostor->part);
        ASSERT_CONTAINS(dhole_error_message(), "rank 0");
        return;
    }
    fd = accept(r->options.listen_fd, NULL, NULL);
    ASSERT(fd >= 0 && recv(fd, heard, sizeof heard, MSG_WAITALL) == sizeof heard);
    ASSERT_EQ(heard[sealed_byte], r->world->backend->sealed);
    ASSERT(send(fd, impostor->answer, sizeof heard, MSG_NOSIGNAL) == sizeof heard);
    ASSERT(recv(fd, heard, 1, 0) <= 0); /* nothing comes after a wrong answer */
    close(fd);
}

TEST(who_answers_otherwise_is_no_rank)
{
    static const struct impostor impostors[] = {
        {"HTTP/1.1 400 Bad", DHOLE_ERR_PROTOCOL, "did not answer as a rank does"},
        {"dhole\0\0\1\1\0\0\0\0\0\1", DHOLE_ERR_PROTOCOL, "did not answer"}, /* an echo */
        {"dhole\0\0\1\0\0\1\0\1\0\1", DHOLE_ERR_PROTOCOL, "did not answer"}, /* on a lane */
        {"dhole\0\0\1\0\0\1\0\0\0\2", DHOLE_ERR_PROTOCOL, "did not answer"},
        {"dhole\0\0\1\0\0\1\0\0\0\0", DHOLE_ERR_CONFIG,
         "the seal differs: rank 1 has keys, rank 0 has none"},
    };

    for (size_t i = 0; i < sizeof impostors / sizeof impostors[0]; i++)
        run_ranks(&backend_tcp_sealed, 2, meet_impostor, (void *)&impostors[i]);
}
