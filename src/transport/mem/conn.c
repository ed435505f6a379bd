#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/pipe.h"
#include "base/sys.h"
#include "transport/mem/mem.h"

enum { ring_size = 256 << 10 };

struct ring {
    size_t head, used;
    uint8_t data[ring_size];
};

struct mem_conn {
    struct dhole__conn base;
    struct mem_pair *pair;
    int side;
    bool asleep; /* wants a byte in its pipe when something changes */
    bool rung;   /* there is one */
    int pipe[2];
};

/* Shared by both ends; the last to close frees it. */
struct mem_pair {
    pthread_mutex_t lock;
    bool broken;
    int open_ends;
    struct mem_conn end[2];
    struct ring ring[2]; /* ring[i] is what end i receives */
};

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t ring_put(struct ring *ring, const uint8_t *src, size_t n)
{
    size_t done = 0;

    n = min_size(n, ring_size - ring->used);
    while (done < n) {
        size_t tail = (ring->head + ring->used) % ring_size;
        size_t part = min_size(n - done, ring_size - tail);
        memcpy(ring->data + tail, src + done, part);
        ring->used += part;
        done += part;
    }
    return done;
}

static size_t ring_get(struct ring *ring, uint8_t *dst, size_t n)
{
    size_t done = 0;

    n = min_size(n, ring->used);
    while (done < n) {
        size_t part = min_size(n - done, ring_size - ring->head);
        memcpy(dst + done, ring->data + ring->head, part);
        ring->head = (ring->head + part) % ring_size;
        ring->used -= part;
        done += part;
    }
    return done;
}

/* Called with the lock held. A full pipe means that a wake-up is under way. */
static void wake(struct mem_conn *end)
{
    if (end->asleep && write(end->pipe[1], "", 1) == 1) {
        end->asleep = false;
        end->rung = true;
    }
}

/* Called with the lock held, by the end's owner, who now looks at what has changed. Not when it
 * arms: it may arm twice, for sending and for receiving, before it sleeps. */
static void quiet(struct mem_conn *end)
{
    char drain[16];

    if (!end->rung)
        return;
    while (read(end->pipe[0], drain, sizeof drain) > 0)
        ;
    end->rung = false;
}

static dhole_err broken(void)
{
    return dhole__fail(DHOLE_ERR_PEER_LOST, "the connection was closed");
}

static dhole_err mem_send(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    struct mem_conn *end = (struct mem_conn *)conn;
    struct mem_pair *pair = end->pair;
    dhole_err err = DHOLE_OK;

    *moved = 0;
    pthread_mutex_lock(&pair->lock);
    quiet(end);
    if (pair->broken)
        err = broken();
    for (int i = 0; i < n && !pair->broken; i++)
        *moved += ring_put(&pair->ring[!end->side], iov[i].iov_base, iov[i].iov_len);
    if (*moved > 0)
        wake(&pair->end[!end->side]);
    pthread_mutex_unlock(&pair->lock);
    return err;
}

static dhole_err mem_recv(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    struct mem_conn *end = (struct mem_conn *)conn;
    struct mem_pair *pair = end->pair;
    dhole_err err = DHOLE_OK;

    *moved = 0;
    pthread_mutex_lock(&pair->lock);
    quiet(end);
    for (int i = 0; i < n; i++)
        *moved += ring_get(&pair->ring[end->side], iov[i].iov_base, iov[i].iov_len);
    if (*moved > 0)
        wake(&pair->end[!end->side]);
    else if (pair->broken)
        err = broken();
    pthread_mutex_unlock(&pair->lock);
    return err;
}

static bool mem_arm(struct dhole__conn *conn, bool want_send, bool want_recv, struct pollfd *pfd)
{
    struct mem_conn *end = (struct mem_conn *)conn;
    struct mem_pair *pair = end->pair;
    bool ready;

    pthread_mutex_lock(&pair->lock);
    ready = pair->broken || (want_send && pair->ring[!end->side].used < ring_size) ||
            (want_recv && pair->ring[end->side].used > 0);
    end->asleep = !ready;
    pthread_mutex_unlock(&pair->lock);
    *pfd = (struct pollfd){.fd = end->pipe[0], .events = POLLIN};
    return !ready;
}

static void mem_shutdown(struct dhole__conn *conn)
{
    struct mem_pair *pair = ((struct mem_conn *)conn)->pair;

    pthread_mutex_lock(&pair->lock);
    pair->broken = true;
    wake(&pair->end[0]);
    wake(&pair->end[1]);
    pthread_mutex_unlock(&pair->lock);
}

static void pair_free(struct mem_pair *pair)
{
    dhole__pipe_close(pair->end[0].pipe);
    dhole__pipe_close(pair->end[1].pipe);
    pthread_mutex_destroy(&pair->lock);
    free(pair);
}

static void mem_close(struct dhole__conn *conn)
{
    struct mem_pair *pair = ((struct mem_conn *)conn)->pair;
    bool last;

    mem_shutdown(conn);
    pthread_mutex_lock(&pair->lock);
    last = --pair->open_ends == 0;
    pthread_mutex_unlock(&pair->lock);
    if (last)
        pair_free(pair);
}

static const struct dhole__conn_ops mem_ops = {
    .name = "mem",
    .send = mem_send,
    .recv = mem_recv,
    .arm = mem_arm,
    .shutdown = mem_shutdown,
    .close = mem_close,
};

dhole_err dhole__mem_pair(struct dhole__conn *out[static 2])
{
    struct mem_pair *pair = dhole__sys.calloc(1, sizeof *pair);
    dhole_err err = DHOLE_OK;

    if (pair == NULL)
        return dhole__fail_nomem(sizeof *pair, "an in-process connection");
    pthread_mutex_init(&pair->lock, NULL);
    pair->open_ends = 2;
    for (int i = 0; i < 2; i++) {
        pair->end[i] =
            (struct mem_conn){.base.ops = &mem_ops, .pair = pair, .side = i, .pipe = {-1, -1}};
        if (!err)
            err = dhole__pipe_open(pair->end[i].pipe, O_NONBLOCK);
    }
    if (err) {
        pair_free(pair);
        return err;
    }
    out[0] = &pair->end[0].base;
    out[1] = &pair->end[1].base;
    return DHOLE_OK;
}
