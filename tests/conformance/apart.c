#include "apart.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

enum { port = 7100, patience_s = 60, name_max = 128 };

/* What DHOLE_TEST_APART says. */
struct place {
    int machine;
    char address[2][32];
};

static bool read_place(struct place *place)
{
    const char *text = getenv("DHOLE_TEST_APART");

    if (text == NULL)
        return false;
    ASSERT_MSG(sscanf(text, "%d,%31[^,],%31s", &place->machine, place->address[0],
                      place->address[1]) == 3 &&
                   (place->machine == 0 || place->machine == 1),
               "DHOLE_TEST_APART=\"%s\"", text);
    return true;
}

bool apart(void)
{
    struct place place;

    return read_place(&place);
}

bool apart_is_here(int rank)
{
    struct place place;

    return !read_place(&place) || rank % 2 == place.machine;
}

const char *apart_address(void)
{
    static struct place place;

    ASSERT(read_place(&place));
    return place.address[place.machine];
}

static int open_socket(const char *address, struct sockaddr_in *sin)
{
    const struct timeval limit = {patient(patience_s), 0};
    const int yes = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    *sin = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
    ASSERT(fd >= 0 && inet_pton(AF_INET, address, &sin->sin_addr) == 1);
    ASSERT(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
           setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    return fd;
}

/* It listens no longer than for one: who comes next is of the next test. */
static int await_call(const char *address)
{
    struct sockaddr_in sin;
    int listener = open_socket(address, &sin), fd;

    ASSERT(bind(listener, (struct sockaddr *)&sin, sizeof sin) == 0 && listen(listener, 1) == 0);
    fd = accept(listener, NULL, NULL);
    ASSERT_MSG(fd >= 0, "the other machine does not come to this test");
    close(listener);
    return fd;
}

static int call_until_answered(const char *address)
{
    int64_t end = now_ms() + patient(1000 * patience_s);
    struct sockaddr_in sin;

    for (;;) {
        const struct timespec tick = {0, 10000000};
        int fd = open_socket(address, &sin);
        if (connect(fd, (struct sockaddr *)&sin, sizeof sin) == 0)
            return fd;
        ASSERT_MSG(now_ms() < end, "the other machine does not come to this test");
        close(fd);
        nanosleep(&tick, NULL);
    }
}

static void swap(int fd, bool first, const void *ours, void *theirs, size_t size)
{
    for (int turn = 0; turn < 2; turn++) {
        if ((turn == 0) == first)
            ASSERT_MSG(send(fd, ours, size, MSG_NOSIGNAL) == (ssize_t)size,
                       "the other machine has left this test");
        else
            ASSERT_MSG(recv(fd, theirs, size, MSG_WAITALL) == (ssize_t)size,
                       "the other machine has left this test, or is stuck in it");
    }
}

static int meet(const struct place *place)
{
    int fd = place->machine == 0 ? await_call(place->address[0])
                                 : call_until_answered(place->address[0]);
    char ours[name_max] = "", theirs[name_max];
    const int yes = 1;

    ASSERT(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) == 0);
    snprintf(ours, sizeof ours, "%s", test_name());
    swap(fd, place->machine == 0, ours, theirs, sizeof ours);
    theirs[name_max - 1] = '\0';
    ASSERT_STR(theirs, ours);
    return fd;
}

void apart_swap(const void *ours, void *theirs, size_t size)
{
    static int fd = -1;
    struct place place;

    ASSERT(read_place(&place));
    if (fd < 0)
        fd = meet(&place);
    if (size > 0) /* to receive nothing would take a byte */
        swap(fd, place.machine == 0, ours, theirs, size);
}
