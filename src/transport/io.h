/* Waiting, written once: runs sends and receives over any connections until they
 * are done, with a deadline. Spins briefly, then sleeps in the kernel. */
#ifndef DHOLE_TRANSPORT_IO_H
#define DHOLE_TRANSPORT_IO_H

#include "base/clock.h"
#include "transport/conn.h"

enum dhole__io_kind { DHOLE__SEND, DHOLE__RECV };

enum { dhole__io_max = 256 };

/* One transfer of two buffers, a head and a body; make it with dhole__io_send or
 * dhole__io_recv. The buffers belong to the caller and stay put until it is done. */
struct dhole__io {
    struct dhole__conn *conn;
    enum dhole__io_kind kind;
    struct iovec iov[2]; /* what is left */
    dhole_err err;       /* set in the transfer that failed */

    /* When set, called once as soon as the head has been received, though the body may
     * not have been: what it returns is the transfer's result if it is an error. */
    dhole_err (*on_head)(struct dhole__io *io, void *arg);
    void *arg;
};

/* Sends head[0..head_size), then body[0..body_size). */
static inline struct dhole__io dhole__io_send(struct dhole__conn *conn, const void *head,
                                              size_t head_size, const void *body, size_t body_size)
{
    return (struct dhole__io){.conn = conn,
                              .kind = DHOLE__SEND,
                              .iov = {{(void *)head, head_size}, {(void *)body, body_size}}};
}

static inline struct dhole__io dhole__io_recv(struct dhole__conn *conn, void *head,
                                              size_t head_size, void *body, size_t body_size)
{
    return (struct dhole__io){
        .conn = conn, .kind = DHOLE__RECV, .iov = {{head, head_size}, {body, body_size}}};
}

/* Bytes not moved yet. */
static inline size_t dhole__io_left(const struct dhole__io *io)
{
    return io->iov[0].iov_len + io->iov[1].iov_len;
}

/* What else happens while nothing moves. Both may be NULL. */
struct dhole__idle {
    /* Something useful, a microsecond's worth a call; returns whether there is more. */
    int (*run)(void *arg);
    void *arg;
    /* Called once at dhole__io_slow_at, when nothing has moved. */
    void (*slow)(void *arg);
    void *slow_arg;
};

/* Runs n <= dhole__io_max transfers side by side; two of one kind on one connection belong
 * into separate calls. Returns when all are done, at the first failure, or at the
 * deadline (DHOLE_ERR_TIMEOUT); dhole__io_left tells which are unfinished. */
DHOLE__MUST_CHECK dhole_err dhole__io_run(struct dhole__io *io, int n, dhole__deadline deadline);

/* The same, calling *idle before it begins to spin. Where more ranks than processors are at work
 * (`crowded`) it spins less, and gives the processor away with every try. */
DHOLE__MUST_CHECK dhole_err dhole__io_run_idle(struct dhole__io *io, int n,
                                               dhole__deadline deadline,
                                               const struct dhole__idle *idle, bool crowded);

/* dhole__io_run for someone in another's hands: ends with DHOLE_ERR_CANCELLED when cancel_fd
 * becomes readable; -1 is none. Where nothing hurries it spins no longer than when crowded. */
DHOLE__MUST_CHECK dhole_err dhole__io_run_until(struct dhole__io *io, int n,
                                                dhole__deadline deadline, int cancel_fd,
                                                bool hurried);

/* The same for a single transfer. */
DHOLE__MUST_CHECK dhole_err dhole__io_run_one(struct dhole__io io, dhole__deadline deadline);

/* One pass over all of them without waiting; *moved says whether any byte went. */
DHOLE__MUST_CHECK dhole_err dhole__io_step(struct dhole__io *io, int n, bool *moved);

/* Asks for `io` to be polled for: fills *pfd. False: do not sleep, step again. */
bool dhole__io_arm(const struct dhole__io *io, struct pollfd *pfd);

/* DHOLE_ERR_CANCELLED when cancel_fd is readable; -1 is none. */
DHOLE__MUST_CHECK dhole_err dhole__io_check_cancelled(int cancel_fd);

/* When a wait that began now has taken long: after a quarter of a second, or of its time. */
dhole__deadline dhole__io_slow_at(int64_t now, dhole__deadline deadline);

/* poll() until one of n descriptors is ready, a signal comes, or the deadline, which is
 * DHOLE_ERR_TIMEOUT. */
DHOLE__MUST_CHECK dhole_err dhole__io_poll(struct pollfd *pfds, int n, dhole__deadline deadline);

#endif
