/* Waiting, written once: runs sends and receives over any connections until they
 * are done, with a deadline. Spins briefly, then sleeps in the kernel. */
#ifndef DHOLE_TRANSPORT_IO_H
#define DHOLE_TRANSPORT_IO_H

#include "base/clock.h"
#include "transport/conn.h"

enum dhole__io_kind { DHOLE__SEND, DHOLE__RECV };

enum { dhole__iov_max = 2, dhole__io_max = 256 };

/* One transfer: fill in with dhole__io_send or dhole__io_recv. Buffers belong to
 * the caller and stay put until the transfer is done. */
struct dhole__io {
    struct dhole__conn *conn;
    enum dhole__io_kind kind;
    struct iovec iov[dhole__iov_max]; /* what is left */
    int count;
    dhole_err err; /* set when this transfer is the one that failed */
};

static inline struct dhole__io dhole__io_make(struct dhole__conn *conn, enum dhole__io_kind kind,
                                              const void *a, size_t an, const void *b, size_t bn)
{
    return (struct dhole__io){.conn = conn,
                              .kind = kind,
                              .iov = {{(void *)a, an}, {(void *)b, bn}},
                              .count = dhole__iov_max};
}

/* Sends or receives a[0..an) followed by b[0..bn). */
static inline struct dhole__io dhole__io_send(struct dhole__conn *conn, const void *a, size_t an,
                                              const void *b, size_t bn)
{
    return dhole__io_make(conn, DHOLE__SEND, a, an, b, bn);
}

static inline struct dhole__io dhole__io_recv(struct dhole__conn *conn, void *a, size_t an, void *b,
                                              size_t bn)
{
    return dhole__io_make(conn, DHOLE__RECV, a, an, b, bn);
}

/* Bytes not moved yet. */
size_t dhole__io_left(const struct dhole__io *io);

/* Runs n <= dhole__io_max transfers side by side; those on one connection and of
 * one kind must not overlap in time, so give them to separate calls. Returns when all are done, at
 * the first failure, or at the deadline (DHOLE_ERR_TIMEOUT); dhole__io_left tells which are
 * unfinished. */
DHOLE__MUST_CHECK dhole_err dhole__io_run(struct dhole__io *io, int n, dhole__deadline deadline);

/* One pass over all of them without waiting; *moved says whether any byte went. */
DHOLE__MUST_CHECK dhole_err dhole__io_step(struct dhole__io *io, int n, bool *moved);

/* Sleeps until one of the unfinished transfers can go on; DHOLE_ERR_TIMEOUT at the deadline. */
DHOLE__MUST_CHECK dhole_err dhole__io_wait(struct dhole__io *io, int n, dhole__deadline deadline);

#endif
