#include "fixture.h"

static dhole_err tape_send(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    struct tape *tape = (struct tape *)conn;

    *moved = 0;
    tape->sends++;
    for (int i = 0; i < n; i++) {
        size_t part = iov[i].iov_len < tape->quota ? iov[i].iov_len : tape->quota;
        tape_put(tape, iov[i].iov_base, part);
        tape->quota -= part;
        *moved += part;
    }
    return DHOLE_OK;
}

static dhole_err tape_recv(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    struct tape *tape = (struct tape *)conn;

    *moved = 0;
    tape->recvs++;
    if (tape->at == tape->length)
        return dhole__fail(DHOLE_ERR_PEER_LOST, "the end of the tape");
    for (int i = 0; i < n; i++) {
        size_t left = tape->length - tape->at;
        size_t part = iov[i].iov_len < left ? iov[i].iov_len : left;
        memcpy(iov[i].iov_base, tape->data + tape->at, part);
        tape->at += part;
        *moved += part;
    }
    return DHOLE_OK;
}

static bool tape_arm(struct dhole__conn *conn, bool want_send, bool want_recv, struct pollfd *pfd)
{
    (void)conn, (void)want_send, (void)want_recv;
    *pfd = (struct pollfd){.fd = -1};
    return true;
}

static void tape_shutdown(struct dhole__conn *conn)
{
    (void)conn;
}

static void tape_close(struct dhole__conn *conn)
{
    free(((struct tape *)conn)->data);
    free(conn);
}

static const struct dhole__conn_ops tape_ops = {
    .name = "tape",
    .send = tape_send,
    .recv = tape_recv,
    .arm = tape_arm,
    .shutdown = tape_shutdown,
    .close = tape_close,
};

struct tape *tape_new(void)
{
    struct tape *tape = calloc(1, sizeof *tape);

    tape->conn.ops = &tape_ops;
    tape->quota = SIZE_MAX;
    return tape;
}

void tape_put(struct tape *tape, const void *data, size_t length)
{
    if (length == 0)
        return;
    if (tape->length + length > tape->capacity) {
        tape->capacity = 2 * (tape->length + length);
        tape->data = realloc(tape->data, tape->capacity);
    }
    memcpy(tape->data + tape->length, data, length);
    tape->length += length;
}

struct choppy {
    struct dhole__conn conn;
    struct dhole__conn *lower;
    size_t most;
    unsigned long long state;
    struct tape *log;
};

/* The first bytes of the array, as few as this call may move. */
static struct iovec chop(struct choppy *choppy, const struct iovec *iov, int n)
{
    size_t limit = test_random(&choppy->state) % (choppy->most + 1);

    while (n > 1 && iov->iov_len == 0) {
        iov++;
        n--;
    }
    return (struct iovec){iov->iov_base, iov->iov_len < limit ? iov->iov_len : limit};
}

static dhole_err choppy_send(struct dhole__conn *conn, const struct iovec *iov, int n,
                             size_t *moved)
{
    struct choppy *choppy = (struct choppy *)conn;
    struct iovec part = chop(choppy, iov, n);
    dhole_err err = dhole__conn_send(choppy->lower, &part, 1, moved);

    if (choppy->log != NULL)
        tape_put(choppy->log, part.iov_base, *moved);
    return err;
}

static dhole_err choppy_recv(struct dhole__conn *conn, const struct iovec *iov, int n,
                             size_t *moved)
{
    struct choppy *choppy = (struct choppy *)conn;
    struct iovec part = chop(choppy, iov, n);

    *moved = 0;
    return part.iov_len == 0 ? DHOLE_OK : dhole__conn_recv(choppy->lower, &part, 1, moved);
}

static bool choppy_arm(struct dhole__conn *conn, bool want_send, bool want_recv, struct pollfd *pfd)
{
    struct choppy *choppy = (struct choppy *)conn;

    return choppy->lower->ops->arm(choppy->lower, want_send, want_recv, pfd);
}

static void choppy_shutdown(struct dhole__conn *conn)
{
    struct choppy *choppy = (struct choppy *)conn;

    choppy->lower->ops->shutdown(choppy->lower);
}

static void choppy_close(struct dhole__conn *conn)
{
    dhole__conn_close(((struct choppy *)conn)->lower);
    free(conn);
}

static const struct dhole__conn_ops choppy_ops = {
    .name = "choppy",
    .send = choppy_send,
    .recv = choppy_recv,
    .arm = choppy_arm,
    .shutdown = choppy_shutdown,
    .close = choppy_close,
};

struct dhole__conn *choppy_new(struct dhole__conn *lower, size_t most, unsigned long long seed,
                               struct tape *log)
{
    struct choppy *choppy = malloc(sizeof *choppy);

    *choppy = (struct choppy){{.ops = &choppy_ops}, lower, most, seed, log};
    return &choppy->conn;
}

dhole__deadline soon(void)
{
    return dhole__deadline_in(50000);
}

void fill(uint8_t *data, size_t length, unsigned long long seed)
{
    for (size_t i = 0; i < length; i++)
        data[i] = (uint8_t)(test_random(&seed) >> 56);
}

struct opener opener_of(struct dhole__conn *lower, enum dhole__seal_side side,
                        const dhole_identity *identity, const dhole_identity *peer)
{
    struct opener opener = {.lower = lower, .side = side, .identity = identity, .deadline = soon()};

    dhole_identity_pin(peer, &opener.pin);
    return opener;
}

static void *open_side(void *arg)
{
    struct opener *opener = arg;

    opener->err = dhole__tls_open(opener->lower, opener->identity, &opener->pin, opener->side,
                                  opener->deadline, &opener->tls);
    if (opener->err) {
        snprintf(opener->message, sizeof opener->message, "%s", dhole_error_message());
        dhole__conn_close(opener->lower);
    }
    return NULL;
}

void opener_start(struct opener *opener)
{
    ASSERT(pthread_create(&opener->thread, NULL, open_side, opener) == 0);
}

void opener_join(struct opener *opener)
{
    pthread_join(opener->thread, NULL);
}

void open_tls(struct dhole__conn *tls[static 2])
{
    dhole_identity *identity[2];
    struct dhole__conn *lower[2];
    struct opener opener[2];

    ASSERT_OK(dhole__mem_pair(lower));
    for (int i = 0; i < 2; i++)
        ASSERT_OK(dhole_identity_generate(&identity[i]));
    for (int i = 0; i < 2; i++) {
        opener[i] = opener_of(lower[i], i == 0 ? DHOLE__SEAL_CLIENT : DHOLE__SEAL_SERVER,
                              identity[i], identity[!i]);
        opener_start(&opener[i]);
    }
    for (int i = 0; i < 2; i++) {
        opener_join(&opener[i]);
        ASSERT_MSG(opener[i].err == DHOLE_OK, "side %d: %s", i, opener[i].message);
        tls[i] = opener[i].tls;
        dhole_identity_free(identity[i]);
    }
}

void close_both(struct dhole__conn *conn[static 2])
{
    dhole__conn_close(conn[0]);
    dhole__conn_close(conn[1]);
}
