#include "transport/io.h"

#include <errno.h>
#include <sched.h>

#include "base/os.h"
#include "base/sys.h"

/* How long to spin before sleeping. A wake-up costs 30 us, and several times that where a virtual
 * processor has gone idle, which a pipeline would pay twice a token; so the spin
 * outlasts what a stage of a small model computes. A longer wait costs these 5 ms of
 * processor, once. */
enum { spin_ns = 5000000 };

static void advance(struct dhole__io *io, size_t moved)
{
    for (int i = 0; i < 2 && moved > 0; i++) {
        size_t n = moved < io->iov[i].iov_len ? moved : io->iov[i].iov_len;
        if (n == 0)
            continue; /* an empty buffer may have no address */
        io->iov[i].iov_base = (char *)io->iov[i].iov_base + n;
        io->iov[i].iov_len -= n;
        moved -= n;
    }
}

static dhole_err step_one(struct dhole__io *io, size_t *moved)
{
    bool head_was_open = io->iov[0].iov_len > 0;
    const struct iovec *iov = head_was_open ? io->iov : io->iov + 1;
    int n = head_was_open ? 2 : 1;
    dhole_err err;

    *moved = 0;
    if (io->kind == DHOLE__SEND)
        err = dhole__conn_send(io->conn, iov, n, moved);
    else
        err = dhole__conn_recv(io->conn, iov, n, moved);
    advance(io, *moved);
    if (err)
        return err;
    if (io->on_head != NULL && head_was_open && io->iov[0].iov_len == 0)
        return io->on_head(io, io->arg);
    return DHOLE_OK;
}

dhole_err dhole__io_step(struct dhole__io *io, int n, bool *moved)
{
    *moved = false;
    for (int i = 0; i < n; i++) {
        size_t bytes;
        if (dhole__io_left(&io[i]) == 0)
            continue;
        io[i].err = step_one(&io[i], &bytes);
        if (io[i].err)
            return io[i].err;
        *moved |= bytes > 0;
    }
    return DHOLE_OK;
}

bool dhole__io_arm(const struct dhole__io *io, struct pollfd *pfd)
{
    return io->conn->ops->arm(io->conn, io->kind == DHOLE__SEND, io->kind == DHOLE__RECV, pfd);
}

dhole_err dhole__io_poll(struct pollfd *pfds, int n, dhole__deadline deadline)
{
    int ready = dhole__sys.poll(pfds, (nfds_t)n, dhole__deadline_ms(deadline));

    if (ready < 0 && errno != EINTR)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "poll on %d descriptors", n);
    if (ready == 0)
        return dhole__fail(DHOLE_ERR_TIMEOUT, "the deadline passed");
    return DHOLE_OK;
}

static dhole_err sleep_for(struct dhole__io *io, int n, dhole__deadline deadline)
{
    struct pollfd pfds[dhole__io_max];
    int count = 0;

    for (int i = 0; i < n; i++)
        if (dhole__io_left(&io[i]) > 0 && !dhole__io_arm(&io[i], &pfds[count++]))
            return DHOLE_OK;
    return dhole__io_poll(pfds, count, deadline);
}

static bool all_done(const struct dhole__io *io, int n)
{
    for (int i = 0; i < n; i++)
        if (dhole__io_left(&io[i]) > 0)
            return false;
    return true;
}

dhole_err dhole__io_run(struct dhole__io *io, int n, dhole__deadline deadline)
{
    return dhole__io_run_idle(io, n, deadline, &(struct dhole__idle){NULL, NULL});
}

dhole_err dhole__io_run_idle(struct dhole__io *io, int n, dhole__deadline deadline,
                             const struct dhole__idle *idle)
{
    bool more = idle->run != NULL;
    int64_t spin_end = 0;

    for (;;) {
        int64_t now;
        bool moved;
        dhole_err err = dhole__io_step(io, n, &moved);
        if (err)
            return err;
        if (all_done(io, n))
            return DHOLE_OK;
        if (!moved && more) {
            more = idle->run(idle->arg) != 0;
            continue;
        }
        now = dhole__now();
        if (moved || spin_end == 0)
            spin_end = now + spin_ns;
        if (now >= deadline)
            return dhole__fail(DHOLE_ERR_TIMEOUT, "the deadline passed");
        if (now < spin_end) {
            sched_yield(); /* ranks may share a core */
            continue;
        }
        err = sleep_for(io, n, deadline);
        if (err)
            return err;
    }
}

dhole_err dhole__io_run_one(struct dhole__io io, dhole__deadline deadline)
{
    return dhole__io_run(&io, 1, deadline);
}
