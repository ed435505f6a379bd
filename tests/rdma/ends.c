#include "ends.h"

#include <poll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "dhole/error.h"
#include "transport/io.h"
#include "transport/tcp/tcp.h"

static void note(struct ends *e, int side, dhole_err err)
{
    if (err && !e->err[side]) {
        e->err[side] = err;
        dhole__message_save(e->why[side]);
    }
}

static int split(const char *names, char copy[static 256],
                 const char *name[static dhole__rdma_devices_max])
{
    char *rest = copy, *word;
    int n = 0;

    snprintf(copy, 256, "%s", names);
    while ((word = strtok_r(rest, " ", &rest)) != NULL) {
        ASSERT(n < dhole__rdma_devices_max);
        name[n++] = word;
    }
    return n;
}

static void start(struct ends *e, int side, const char *names)
{
    const char *name[dhole__rdma_devices_max];
    struct dhole__rdma_wish wishes[dhole__rdma_devices_max];
    char copy[256];
    int n = split(names, copy, name);

    for (int i = 0; i < n; i++)
        wishes[i] = (struct dhole__rdma_wish){name[i], 1};
    note(e, side, dhole__rdma_open(wishes, n, &e->rdma[side]));
    if (!e->err[side])
        note(e, side,
             dhole__rdma_start(e->rdma[side], e->conn[side], side, !side, name, n, &e->conn[side]));
}

static void step(struct ends *e, bool done[2])
{
    for (int side = 0; side < 2; side++)
        if (!done[side] && !e->err[side])
            note(e, side, dhole__rdma_step(e->conn[side], &done[side]));
    if (e->err[0] || e->err[1]) /* the other side is told, as by a rank that leaves */
        for (int side = 0; side < 2; side++)
            if (e->err[side])
                e->conn[side]->ops->shutdown(e->conn[side]);
}

static bool is_over(const struct ends *e, const bool done[2])
{
    return (done[0] || e->err[0]) && (done[1] || e->err[1]);
}

bool ends_try(struct ends *e, const char *left, const char *right)
{
    dhole__deadline deadline = dhole__deadline_in(20000);
    bool done[2] = {false, false};

    fake_load();
    *e = (struct ends){.err = {DHOLE_OK, DHOLE_OK}};
    ASSERT(socketpair(AF_UNIX, SOCK_STREAM, 0, e->socket) == 0);
    for (int side = 0; side < 2; side++)
        ASSERT_OK(dhole__tcp_conn_open(e->socket[side], &e->conn[side]));
    start(e, 0, left);
    start(e, 1, right);
    while (!is_over(e, done)) {
        step(e, done);
        ASSERT_MSG(dhole__now() < deadline, "the two sides do not come to an end");
    }
    return !e->err[0] && !e->err[1];
}

void ends_open(struct ends *e, const char *left, const char *right)
{
    if (!ends_try(e, left, right))
        test_fail(__FILE__, __LINE__, "side 0: %s; side 1: %s", e->why[0], e->why[1]);
}

void ends_close(struct ends *e)
{
    for (int side = 0; side < 2; side++)
        dhole__conn_close(e->conn[side]);
    for (int side = 0; side < 2; side++)
        dhole__rdma_close(e->rdma[side]);
    ASSERT_EQ(fake_live(), 0);
    ASSERT_MSG(fake_misuse() == NULL, "%s", fake_misuse());
}

static uint8_t byte_at(uint64_t position, int side)
{
    return (uint8_t)(position * 31 + (position >> 8) + (position >> 17) + (uint64_t)side);
}

static size_t random_piece(unsigned long long *seed, size_t max)
{
    unsigned long long r = test_random(seed);

    return 1 + (r % 2 == 0 ? r / 4 % max : r / 4 % (max < 200 ? max : 200));
}

/* One side's stream: bytes that are a function of their place. */
struct stream {
    struct dhole__conn *conn;
    int side; /* that writes it */
    uint8_t *memory;
    size_t at, size;
    uint64_t position, total;
};

static dhole_err put(struct stream *s, size_t piece, unsigned long long *seed)
{
    struct iovec iov;
    size_t moved;
    dhole_err err;

    if (s->at == s->size && s->position < s->total) {
        s->size = random_piece(seed, piece);
        if (s->size > s->total - s->position)
            s->size = s->total - s->position;
        for (s->at = 0; s->at < s->size; s->at++)
            s->memory[s->at] = byte_at(s->position + s->at, s->side);
        s->at = 0;
    }
    if (s->at == s->size)
        return DHOLE_OK;
    iov = (struct iovec){s->memory + s->at, s->size - s->at};
    err = dhole__conn_send(s->conn, &iov, 1, &moved);
    s->at += moved;
    s->position += moved;
    return err;
}

static dhole_err get(struct stream *s, size_t piece, unsigned long long *seed)
{
    struct iovec iov;
    size_t moved;
    dhole_err err;

    if (s->at == s->size) {
        s->at = 0;
        s->size = random_piece(seed, piece);
        if (s->size > s->total - s->position)
            s->size = s->total - s->position;
    }
    if (s->at == s->size)
        return DHOLE_OK;
    iov = (struct iovec){s->memory + s->at, s->size - s->at};
    err = dhole__conn_recv(s->conn, &iov, 1, &moved);
    for (size_t i = 0; i < moved; i++)
        ASSERT_MSG(s->memory[s->at + i] == byte_at(s->position + i, s->side),
                   "wrong data at byte %llu", (unsigned long long)(s->position + i));
    s->at += moved;
    s->position += moved;
    return err;
}

static bool is_done(const struct stream s[2])
{
    return s[0].position == s[0].total && s[1].position == s[1].total;
}

dhole_err ends_talk(struct ends *e, size_t bytes, size_t piece, unsigned long long seed,
                    int64_t timeout_ms)
{
    dhole__deadline deadline = dhole__deadline_in(timeout_ms);
    struct stream out[2], in[2];
    dhole_err err = DHOLE_OK;

    for (int side = 0; side < 2; side++) {
        out[side] = (struct stream){
            .conn = e->conn[side], .side = side, .memory = malloc(piece), .total = bytes};
        in[side] = (struct stream){
            .conn = e->conn[side], .side = !side, .memory = malloc(piece), .total = bytes};
    }
    while (!err && !(is_done(out) && is_done(in))) {
        int side = (int)(test_random(&seed) % 2);
        if (test_random(&seed) % 2)
            err = put(&out[side], piece, &seed);
        else
            err = get(&in[side], piece, &seed);
        if (!err && dhole__now() >= deadline)
            err = dhole__fail(DHOLE_ERR_TIMEOUT, "not all bytes came");
        note(e, side, err);
    }
    for (int side = 0; side < 2; side++) {
        free(out[side].memory);
        free(in[side].memory);
    }
    return err;
}

void ends_check(struct ends *e)
{
    ASSERT_OK(ends_talk(e, 100000, 5000, 1, 20000));
}
