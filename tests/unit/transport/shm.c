/* Connections through shared memory: the stream, sleeping, the end of the other side, and
 * another side that lies. What every connection promises is tested in conn.c. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"
#include "dhole/error.h"
#include "pairs.h"
#include "test.h"
#include "transport/io.h"
#include "transport/shm/segment.h"
#include "transport/shm/shm.h"
#include "transport/tcp/tcp.h"

enum { small = dhole__bulk_min };

static void socket_pair(int fds[2])
{
    ASSERT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
}

static void begin(int fd, int side, size_t bulk_size, struct dhole__conn **out)
{
    ASSERT_OK(dhole__tcp_conn_open(fd, out));
    ASSERT_OK(dhole__shm_start(*out, side, bulk_size, out));
}

/* Steps until it is done or fails. */
static dhole_err finish(struct dhole__conn *conn)
{
    bool done = false;
    dhole_err err;

    do
        err = dhole__shm_step(conn, &done);
    while (!err && !done);
    return err;
}

static void open_pair_of(struct dhole__conn *c[2], size_t bulk_size)
{
    bool done = false;
    int fds[2];

    socket_pair(fds);
    begin(fds[0], 0, bulk_size, &c[0]);
    begin(fds[1], 1, bulk_size, &c[1]);
    ASSERT_OK(dhole__shm_step(c[0], &done));
    ASSERT(!done);
    ASSERT_OK(finish(c[1]));
    ASSERT_OK(finish(c[0]));
}

static void open_pair(struct dhole__conn *c[2])
{
    open_pair_of(c, small);
}

static void close_pair(struct dhole__conn *c[2])
{
    dhole__conn_close(c[0]);
    dhole__conn_close(c[1]);
}

static uint8_t byte_at(uint64_t position, int side)
{
    return (uint8_t)(position * 31 + (position >> 8) + (uint64_t)side);
}

static unsigned long long seed = 1;

static size_t random_size(size_t max)
{
    unsigned long long r = test_random(&seed);

    return r % 4 == 0 ? r / 4 % (max + 1) : r / 4 % 200;
}

/* Up to four buffers, some of them empty, that lie apart in `memory`. */
static int scatter(uint8_t *memory, size_t each, struct iovec iov[4])
{
    int n = 1 + (int)(test_random(&seed) % 4);

    for (int i = 0; i < n; i++)
        iov[i] = (struct iovec){memory + (size_t)i * each, random_size(each)};
    return n;
}

static void send_some(struct dhole__conn *conn, int side, uint8_t *memory, size_t each)
{
    struct iovec iov[4];
    int n = scatter(memory, each, iov);
    uint64_t position = conn->sent;
    size_t moved;

    for (int i = 0; i < n; i++)
        for (size_t k = 0; k < iov[i].iov_len; k++)
            ((uint8_t *)iov[i].iov_base)[k] = byte_at(position++, side);
    ASSERT_OK(dhole__conn_send(conn, iov, n, &moved));
    ASSERT(conn->sent <= position);
}

static void recv_some(struct dhole__conn *conn, int side, uint8_t *memory, size_t each)
{
    struct iovec iov[4];
    int n = scatter(memory, each, iov);
    uint64_t position = conn->received;
    size_t moved;

    ASSERT_OK(dhole__conn_recv(conn, iov, n, &moved));
    for (int i = 0; i < n; i++)
        for (size_t k = 0; k < iov[i].iov_len && moved > 0; k++, moved--)
            ASSERT_EQ(((uint8_t *)iov[i].iov_base)[k], byte_at(position++, !side));
    ASSERT_EQ(moved, 0);
}

enum { most_each = 40000 };

static void exchange_randomly(struct dhole__conn *c[2], uint8_t *memory)
{
    int side = (int)(test_random(&seed) % 2);

    if (test_random(&seed) % 2)
        send_some(c[side], side, memory, most_each);
    else
        recv_some(c[side], side, memory, most_each);
}

static void receive_the_rest(struct dhole__conn *c[2], uint8_t *memory)
{
    for (int side = 0; side < 2; side++) {
        while (c[side]->received < c[!side]->sent)
            recv_some(c[side], side, memory, most_each);
        ASSERT_EQ(c[side]->received, c[!side]->sent);
        ASSERT(c[side]->sent > 10 * (uint64_t)small); /* round, and round again */
    }
}

/* Many times round both rings, with pieces of all sizes. */
TEST(the_stream_is_whole_whatever_the_pieces)
{
    uint8_t *memory = malloc(4 * (size_t)most_each);
    struct dhole__conn *c[2];

    open_pair(c);
    for (int i = 0; i < 20000; i++)
        exchange_randomly(c, memory);
    receive_the_rest(c, memory);
    close_pair(c);
    free(memory);
}

/* The sides narrow when they like, with bytes under way. */
TEST(the_stream_is_whole_while_it_narrows)
{
    uint8_t *memory = malloc(4 * (size_t)most_each);
    struct dhole__conn *c[2];

    for (int after = 0; after < 40; after++) {
        open_pair_of(c, 16 * small);
        for (int i = 0; i < 1000; i++) {
            if (i >= after)
                dhole__shm_narrow(c[i % 2], (i < 500 ? 4 : 1) * small);
            exchange_randomly(c, memory);
        }
        receive_the_rest(c, memory);
        close_pair(c);
    }
    free(memory);
}

TEST(a_narrowed_side_uses_less)
{
    struct dhole__conn *c[2];
    size_t sent = 0, moved;

    open_pair_of(c, 4 * small);
    dhole__shm_narrow(c[0], small);
    while ((moved = put(c[0], 4096)) > 0)
        sent += moved;
    ASSERT_EQ(sent, small);
    while (get(c[1], 4096) > 0)
        ;
    ASSERT_EQ(put(c[0], 4096), 4096);
    close_pair(c);
}

static bool readable(struct pollfd pfd)
{
    return poll(&pfd, 1, 0) == 1;
}

TEST(a_full_ring_takes_nothing_and_wakes_its_sender)
{
    static const size_t pieces[] = {1, 57, 5000, 1 << 20};

    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        struct dhole__conn *c[2];
        struct pollfd pfd;
        size_t sent = 0, n;
        open_pair(c);
        while ((n = put(c[0], pieces[i])) > 0)
            sent += n;
        ASSERT(sent > 0 && put(c[0], 1) == 0);
        ASSERT(c[0]->ops->arm(c[0], true, false, &pfd));
        ASSERT(!readable(pfd));
        while (sent > 0)
            sent -= get(c[1], pieces[i]);
        ASSERT(readable(pfd));
        ASSERT(put(c[0], 1) == 1 && get(c[1], 2) == 1);
        close_pair(c);
    }
}

TEST(who_sleeps_is_woken_and_who_does_not_costs_no_call)
{
    struct dhole__conn *c[2];
    struct pollfd pfd;

    open_pair(c);
    for (int i = 0; i < 3; i++) {
        ASSERT(c[1]->ops->arm(c[1], false, true, &pfd));
        ASSERT(!readable(pfd));
        ASSERT_EQ(put(c[0], 100), 100);
        ASSERT(readable(pfd));
        ASSERT_EQ(get(c[1], 100), 100);
        ASSERT(!readable(pfd));
        ASSERT_EQ(put(c[0], 100), 100);
        ASSERT(!readable(pfd)); /* nobody was asleep */
        ASSERT(!c[1]->ops->arm(c[1], false, true, &pfd));
        ASSERT_EQ(get(c[1], 200), 100);
    }
    close_pair(c);
}

TEST(no_wake_up_is_lost)
{
    struct dhole__conn *c[2];

    open_pair(c);
    check_wake_ups(c, 20000);
    close_pair(c);
}

static bool has_mapping(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    bool found = false;

    if (maps == NULL)
        return false;
    while (fgets(line, sizeof line, maps) != NULL)
        found |= strstr(line, "dhole (deleted)") != NULL;
    fclose(maps);
    return found;
}

TEST(nothing_is_left_behind)
{
    struct dhole__conn *c[2];
    int before = test_descriptors();

    open_pair(c);
    ASSERT_EQ(test_descriptors(), before + 2); /* the sockets */
    close_pair(c);
    ASSERT_EQ(test_descriptors(), before);
    ASSERT(!has_mapping());
}

static void be_killed_in_the_middle(int fd)
{
    struct dhole__conn *conn;

    begin(fd, 0, small, &conn);
    ASSERT_OK(finish(conn));
    ASSERT_EQ(put(conn, 1000), 1000);
    kill(getpid(), SIGKILL);
}

TEST(a_killed_process_is_noticed_and_what_it_sent_arrives)
{
    int before = test_descriptors(), fds[2];
    struct dhole__conn *conn;
    char got[1001];
    struct dhole__io io;
    pid_t pid;

    socket_pair(fds);
    pid = fork();
    ASSERT(pid >= 0);
    if (pid == 0) {
        close(fds[1]);
        be_killed_in_the_middle(fds[0]);
    }
    close(fds[0]);
    begin(fds[1], 1, small, &conn);
    ASSERT_OK(finish(conn));
    io = dhole__io_recv(conn, got, sizeof got, NULL, 0);
    ASSERT_ERR(dhole__io_run(&io, 1, dhole__deadline_in(20000)), DHOLE_ERR_PEER_LOST);
    ASSERT_EQ(dhole__io_left(&io), 1);
    ASSERT_ERR(dhole__io_run_one(dhole__io_send(conn, "x", 1, NULL, 0), dhole__deadline_in(1000)),
               DHOLE_ERR_PEER_LOST);
    dhole__conn_close(conn);
    ASSERT(waitpid(pid, NULL, 0) == pid);
    ASSERT_EQ(test_descriptors(), before);
    ASSERT(!has_mapping());
}

/* Side 0 played by the test: it makes a segment that it can scribble in. */
struct liar {
    struct dhole__segment segment;
    struct dhole__ring_out out;
    struct dhole__ring_in in;
    uint8_t offer[dhole__offer_size];
    int fd, socket;
    struct dhole__conn *victim;
};

static void liar_offers(struct liar *liar)
{
    int fds[2];

    socket_pair(fds);
    liar->socket = fds[0];
    begin(fds[1], 1, small, &liar->victim);
    ASSERT_OK(dhole__segment_make(small, liar->offer, &liar->fd, &liar->segment));
}

static dhole_err liar_is_heard(struct liar *liar)
{
    ASSERT(write(liar->socket, liar->offer, sizeof liar->offer) == sizeof liar->offer);
    return finish(liar->victim);
}

static uint8_t liar_hears(const struct liar *liar)
{
    uint8_t answer = 2;

    ASSERT(read(liar->socket, &answer, 1) == 1);
    return answer;
}

static void liar_ends(struct liar *liar)
{
    dhole__conn_close(liar->victim);
    dhole__segment_hide(liar->offer, liar->fd);
    dhole__segment_close(&liar->segment);
    close(liar->socket);
}

static void liar_connects(struct liar *liar)
{
    liar_offers(liar);
    ASSERT_OK(liar_is_heard(liar));
    ASSERT_EQ(liar_hears(liar), 1);
    dhole__segment_rings(&liar->segment, 0, &liar->out, &liar->in);
}

TEST(an_impossible_line_ends_the_connection)
{
    static const uint64_t lines[] = {
        57,                         /* more than a line holds */
        255,                        /* the most that can be said */
        0,                          /* nothing */
        ((uint64_t)small + 1) << 8, /* more than the bulk */
        0xffffff00,                 /* the most that can be said */
    };

    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct liar liar;
        char got[100];
        struct iovec iov = {got, sizeof got};
        size_t moved;
        liar_connects(&liar);
        atomic_store(&liar.out.lines[0].word, (uint64_t)1 << 32 | lines[i]);
        for (int again = 0; again < 2; again++) {
            ASSERT_ERR(dhole__conn_recv(liar.victim, &iov, 1, &moved), DHOLE_ERR_PROTOCOL);
            ASSERT_EQ(moved, 0);
            atomic_store(&liar.out.lines[0].word, (uint64_t)1 << 32 | 5);
        }
        ASSERT_ERR(dhole__conn_send(liar.victim, &iov, 1, &moved), DHOLE_ERR_PROTOCOL);
        liar_ends(&liar);
    }
}

/* The bulk that a line claims may not go beyond the end, wherever it begins. */
TEST(a_line_that_reaches_beyond_the_bulk_ends_the_connection)
{
    struct liar liar;
    char got[small];
    struct iovec iov = {got, sizeof got};
    size_t moved;

    liar_connects(&liar);
    atomic_store(&liar.out.lines[0].word, (uint64_t)1 << 32 | 65 << 8);
    ASSERT_OK(dhole__conn_recv(liar.victim, &iov, 1, &moved));
    ASSERT_EQ(moved, 65);
    atomic_store(&liar.out.lines[1].word, (uint64_t)2 << 32 | (uint64_t)(small - 127) << 8);
    ASSERT_ERR(dhole__conn_recv(liar.victim, &iov, 1, &moved), DHOLE_ERR_PROTOCOL);
    liar_ends(&liar);
}

TEST(an_impossible_count_ends_the_connection)
{
    static const uint64_t counts[] = {UINT64_MAX, (uint64_t)1 << 40, 300, 1};

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        static char data[2 * small];
        struct iovec iov = {data, sizeof data};
        struct liar liar;
        size_t moved;
        liar_connects(&liar);
        atomic_store((_Atomic uint64_t *)liar.in.consumed, counts[i]);
        ASSERT_ERR(dhole__conn_send(liar.victim, &iov, 1, &moved), DHOLE_ERR_PROTOCOL);
        ASSERT_EQ(moved, 0);
        liar_ends(&liar);
    }
}

/* The victim says no, so that both can go on without. */
static void expect_refusal(struct liar *liar)
{
    struct dhole__conn *lower;

    ASSERT_ERR(liar_is_heard(liar), DHOLE_ERR_UNSUPPORTED);
    ASSERT_EQ(liar_hears(liar), 0);
    ASSERT(write(liar->socket, "on", 2) == 2);
    lower = dhole__shm_give_up(liar->victim);
    ASSERT_EQ(get(lower, 2), 2);
    liar->victim = lower;
    ASSERT(has_mapping()); /* the liar's own */
    liar_ends(liar);
    ASSERT(!has_mapping());
}

static void name_it(struct liar *liar, const char *name)
{
    strcpy((char *)liar->offer + 8 + dhole__token_size, name);
}

TEST(what_was_not_offered_rightly_is_refused)
{
    static const char *const names[] = {
        "",     "x",         "1",          "1/",      "1/2x",  "-1/-1",       "0/0",
        "/etc", "../../etc", "99999999/3", "1/99999", "1 / 2", "4294967297/0"};
    int before = test_descriptors();

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct liar liar;
        liar_offers(&liar);
        name_it(&liar, names[i]);
        expect_refusal(&liar);
    }
    for (int byte = 0; byte < 8 + dhole__token_size; byte++) {
        struct liar liar;
        liar_offers(&liar);
        liar.offer[byte] ^= 1;
        expect_refusal(&liar);
    }
    ASSERT_EQ(test_descriptors(), before);
}

#ifdef __linux__

/* Something else of this process under the name: of the right size and with the right
 * token, if it has either. */
static void offer_other(int fd)
{
    struct liar liar;
    struct stat st;
    char name[dhole__shared_name_max];

    liar_offers(&liar);
    ASSERT(fstat(liar.fd, &st) == 0);
    if (ftruncate(fd, st.st_size) == 0)
        ASSERT(pwrite(fd, liar.offer + 8, dhole__token_size, 0) == dhole__token_size);
    snprintf(name, sizeof name, "%d/%d", (int)getpid(), fd);
    name_it(&liar, name);
    expect_refusal(&liar);
    close(fd);
}

TEST(memory_that_could_be_cut_is_refused)
{
    offer_other(memfd_create("other", MFD_CLOEXEC));
    offer_other(memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING));
}

TEST(what_is_no_memory_is_refused)
{
    char path[512];
    int fds[2];

    snprintf(path, sizeof path, "%s/file", test_dir());
    offer_other(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    offer_other(open("/dev/null", O_RDWR | O_CLOEXEC));
    ASSERT(pipe(fds) == 0);
    offer_other(fds[1]);
    close(fds[0]);
}

TEST(the_memory_can_not_be_cut)
{
    struct liar liar;
    struct stat st;

    liar_connects(&liar);
    ASSERT(fstat(liar.fd, &st) == 0);
    ASSERT(ftruncate(liar.fd, 0) < 0 && errno == EPERM);
    ASSERT(ftruncate(liar.fd, st.st_size * 2) < 0 && errno == EPERM);
    liar_ends(&liar);
}

#endif

/* Both sides agree that they cannot, and go on with what they had. */
static void expect_none(struct dhole__conn *c[2])
{
    bool done;

    ASSERT_OK(dhole__shm_step(c[0], &done));
    ASSERT_ERR(finish(c[1]), DHOLE_ERR_UNSUPPORTED);
    ASSERT_ERR(finish(c[0]), DHOLE_ERR_UNSUPPORTED);
    for (int side = 0; side < 2; side++)
        c[side] = dhole__shm_give_up(c[side]);
    ASSERT_EQ(put(c[0], 10), 10);
    ASSERT_EQ(get(c[1], 20), 10);
    close_pair(c);
}

static int maps_to_come; /* until one fails */

static void *fail_mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
    if (maps_to_come-- > 0)
        return mmap(addr, length, prot, flags, fd, offset);
    errno = ENOMEM;
    return MAP_FAILED;
}

TEST(who_gets_no_memory_says_so)
{
    int before = test_descriptors();

    dhole__sys.mmap = fail_mmap;
    for (int n = 0; n < 2; n++) {
        struct dhole__conn *c[2];
        int fds[2];
        maps_to_come = n;
        socket_pair(fds);
        begin(fds[0], 0, small, &c[0]);
        begin(fds[1], 1, small, &c[1]);
        expect_none(c);
        ASSERT(!has_mapping());
    }
    ASSERT_EQ(test_descriptors(), before);
}

TEST(who_has_no_descriptor_left_says_so)
{
    struct dhole__conn *c[2];
    struct rlimit limit;
    int fds[2], next;

    socket_pair(fds);
    next = dup(fds[0]);
    close(next);
    ASSERT(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = (rlim_t)next;
    ASSERT(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    begin(fds[0], 0, small, &c[0]);
    begin(fds[1], 1, small, &c[1]);
    expect_none(c);
}

TEST(an_end_before_the_agreement_is_a_lost_peer)
{
    int before = test_descriptors();

    for (int side = 0; side < 2; side++) {
        struct dhole__conn *conn;
        int fds[2];
        socket_pair(fds);
        begin(fds[0], side, small, &conn);
        close(fds[1]);
        ASSERT_ERR(finish(conn), DHOLE_ERR_PEER_LOST);
        dhole__conn_close(conn);
    }
    ASSERT_EQ(test_descriptors(), before);
    ASSERT(!has_mapping());
}
