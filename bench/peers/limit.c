/* What the machine allows: the bytes of an operation moved by the barest means that spin, with no
 * arithmetic, no checks and no deadline.
 *
 * shm: one hand-over of a flag, and one memcpy straight out of the other's buffer; for a sum, one
 * on every rank at once. tcp: one connection a pair; for a sum, every rank sends every other 2 /
 * ranks of the buffer, which is what reduce-scatter and all-gather move, all at once. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "loop.h"

enum { ranks_max = 16, cache_line = 64 };

struct flag {
    _Alignas(cache_line) atomic_long turn;
};

struct limit {
    struct loop loop;
    int rank, cores;
    unsigned spins;
    /* shm */
    struct flag *flags;
    char *shared; /* one buffer a rank */
    long turn;
    /* tcp */
    int fd[ranks_max][ranks_max]; /* [of][to] */
    size_t sent[ranks_max], received[ranks_max];
};

/* The rank that is waited for may need this one's core: always with more ranks than cores, now and
 * then when something else runs. */
static void relax(struct limit *l)
{
    if (l->loop.ranks > l->cores || ++l->spins % 1024 == 0)
        sched_yield();
}

static void raise_flag(struct limit *l)
{
    atomic_store_explicit(&l->flags[l->rank].turn, l->turn, memory_order_release);
}

static void copy_from(struct limit *l, int peer)
{
    while (atomic_load_explicit(&l->flags[peer].turn, memory_order_acquire) < l->turn)
        relax(l);
    memcpy(l->loop.out, l->shared + (size_t)peer * l->loop.bytes, l->loop.bytes);
}

static void shm_all_sum(void *state)
{
    struct limit *l = state;

    l->turn++;
    raise_flag(l);
    copy_from(l, (l->rank + 1) % l->loop.ranks);
}

static void shm_ping_pong(void *state)
{
    struct limit *l = state;

    l->turn++;
    if (l->rank == 0)
        raise_flag(l);
    copy_from(l, 1 - l->rank);
    if (l->rank == 1)
        raise_flag(l);
}

static size_t moved(ssize_t n)
{
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        loop_die("tcp");
    return n < 0 ? 0 : (size_t)n;
}

/* As much as goes at once of `size` bytes to and from a peer; false when nothing went. */
static bool advance(struct limit *l, int peer, size_t size, bool sends, bool receives)
{
    int fd = l->fd[l->rank][peer];
    size_t s = 0, r = 0;

    if (sends && l->sent[peer] < size)
        s = moved(send(fd, (char *)l->loop.in + l->sent[peer], size - l->sent[peer],
                       MSG_DONTWAIT | MSG_NOSIGNAL));
    if (receives && l->received[peer] < size)
        r = moved(recv(fd, (char *)l->loop.out + l->received[peer], size - l->received[peer],
                       MSG_DONTWAIT));
    l->sent[peer] += s;
    l->received[peer] += r;
    return s + r > 0;
}

static void tcp_all_sum(void *state)
{
    struct limit *l = state;
    size_t share = l->loop.bytes * 2 / (size_t)l->loop.ranks;
    bool done = false;

    memset(l->sent, 0, sizeof l->sent);
    memset(l->received, 0, sizeof l->received);
    while (!done) {
        bool any = false;
        done = true;
        for (int peer = 0; peer < l->loop.ranks; peer++) {
            if (peer == l->rank)
                continue;
            any |= advance(l, peer, share, true, true);
            done &= l->sent[peer] == share && l->received[peer] == share;
        }
        if (!any)
            relax(l);
    }
}

static void tcp_one_way(struct limit *l, int from)
{
    int peer = 1 - l->rank;
    size_t *done = from == l->rank ? &l->sent[peer] : &l->received[peer];

    *done = 0;
    while (*done < l->loop.bytes)
        if (!advance(l, peer, l->loop.bytes, from == l->rank, from != l->rank))
            relax(l);
}

static void tcp_ping_pong(void *state)
{
    tcp_one_way(state, 0);
    tcp_one_way(state, 1);
}

static void share_memory(struct limit *l)
{
    size_t flags = (size_t)l->loop.ranks * sizeof *l->flags;
    size_t size = flags + (size_t)l->loop.ranks * l->loop.bytes;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        loop_die("mmap");
    memset(memory, 0, size);
    l->flags = (struct flag *)memory;
    l->shared = memory + flags;
}

static void connect_pair(struct limit *l, int a, int b)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;

    l->fd[a][b] = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0 ||
        connect(l->fd[a][b], (struct sockaddr *)&address, length) != 0)
        loop_die("tcp");
    l->fd[b][a] = accept(listener, NULL, NULL);
    if (setsockopt(l->fd[a][b], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
        setsockopt(l->fd[b][a], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0)
        loop_die("tcp");
    close(listener);
}

int main(int argc, char **argv)
{
    static struct limit l;
    void (*call)(void *);
    bool shm, sum;

    l.loop = loop_arguments(argc, argv);
    l.cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (l.loop.ranks < 2 || l.loop.ranks > ranks_max) {
        fprintf(stderr, "%d ranks: expected 2 to %d\n", l.loop.ranks, ranks_max);
        return 2;
    }
    shm = strcmp(l.loop.transport, "shm") == 0;
    sum = loop_is(&l.loop, "all_sum");
    if (shm)
        share_memory(&l);
    for (int a = 0; !shm && a < l.loop.ranks; a++)
        for (int b = 0; b < a; b++)
            connect_pair(&l, a, b);
    l.rank = loop_fork(&l.loop);
    loop_buffers(&l.loop, l.rank);
    if (shm)
        call = sum ? shm_all_sum : shm_ping_pong;
    else
        call = sum ? tcp_all_sum : tcp_ping_pong;
    loop_run(&l.loop, call, &l);
    loop_write(&l.loop, l.rank);
    loop_join(&l.loop, l.rank);
    return 0;
}
