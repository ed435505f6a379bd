/* A connection: one ordered, reliable stream of bytes to one peer, both ways.
 *
 * This is the seam between whoever moves bytes (tcp, shm, mem, later rdma),
 * whoever changes them on the way (the seal, a filter over another connection),
 * and whoever uses them (the collectives). It never waits: send and recv move
 * what can be moved now, and a caller that must wait arms the connection and
 * sleeps in poll(); io.h does that for everyone.
 *
 * One thread at a time may send or receive on a connection; `shutdown` alone may
 * be called from another one. */
#ifndef DHOLE_TRANSPORT_CONN_H
#define DHOLE_TRANSPORT_CONN_H

#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"

struct dhole__conn;

struct dhole__conn_ops {
    const char *name;

    /* Takes bytes from iov[0..n) without waiting; *moved says how many, 0 when
     * none fit now. A caller that was told less than it offered must offer the
     * rest, the same bytes, next: a filter may have begun to work on them.
     * Errors: DHOLE_ERR_PEER_LOST when the stream is broken or shut down, and
     * what a filter adds (DHOLE_ERR_AUTH). */
    dhole_err (*send)(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved);

    /* Fills iov[0..n) with what is there; *moved may be 0. A caller that was told less than it
     * offered must offer the rest, the same memory, next: a filter may have put later bytes there
     * already. The end of the stream is DHOLE_ERR_PEER_LOST. */
    dhole_err (*recv)(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved);

    /* Says what to poll for to learn that send (or recv) can move bytes. False:
     * do not sleep, try again, as bytes can be moved already. */
    bool (*arm)(struct dhole__conn *conn, bool want_send, bool want_recv, struct pollfd *pfd);

    /* Breaks the stream: pending and later calls on both sides fail, a sleeping
     * caller wakes. Any thread. The connection stays allocated until close. */
    void (*shutdown)(struct dhole__conn *conn);

    /* Frees the connection, and what it filters. */
    void (*close)(struct dhole__conn *conn);
};

/* Embedded as the first member of every connection. */
struct dhole__conn {
    const struct dhole__conn_ops *ops;
    _Atomic uint64_t sent; /* bytes that crossed this connection; any thread may look */
    _Atomic uint64_t received;
};

static inline void dhole__conn_count(_Atomic uint64_t *bytes, size_t more)
{
    uint64_t before = atomic_load_explicit(bytes, memory_order_relaxed);

    atomic_store_explicit(bytes, before + more, memory_order_relaxed);
}

static inline dhole_err dhole__conn_send(struct dhole__conn *conn, const struct iovec *iov, int n,
                                         size_t *moved)
{
    dhole_err err = conn->ops->send(conn, iov, n, moved);

    dhole__conn_count(&conn->sent, *moved);
    return err;
}

static inline dhole_err dhole__conn_recv(struct dhole__conn *conn, const struct iovec *iov, int n,
                                         size_t *moved)
{
    dhole_err err = conn->ops->recv(conn, iov, n, moved);

    dhole__conn_count(&conn->received, *moved);
    return err;
}

/* NULL is allowed. Keeps the thread's error message, as closing often follows a failure. */
static inline void dhole__conn_close(struct dhole__conn *conn)
{
    char message[dhole__message_max];

    if (conn == NULL)
        return;
    dhole__message_save(message);
    conn->ops->close(conn);
    dhole__message_restore(message);
}

#endif
