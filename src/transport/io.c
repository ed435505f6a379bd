#include "transport/io.h"

#include <errno.h>
#include <sched.h>

#include "base/os.h"
#include "base/sys.h"

/* How long to spin before sleeping, and how often meanwhile to look at the clock and to give the
 * processor away.
 *
 * A wake-up costs 30 us, and several times that where a virtual processor has gone idle, which a
 * pipeline would pay twice a token; so the spin outlasts what a stage of a small model computes. A
 * longer wait costs these 5 ms of processor, once. Where ranks outnumber the processors, what a
 * rank waits for is often a rank that waits for its processor. */
struct pace {
    int64_t spin_ns, yield_ns;
    unsigned tries_per_look, relax_max;
};

static const struct pace alone = {5000000, 1000, 8, 64};
static const struct pace crowded_pace = {200000, 0, 3, 1};

enum { slow_ns = 250000000, cancel_ns = 50000000 };

/* A wait, as its caller described it. */
struct wait {
    dhole__deadline deadline;
    const struct dhole__idle *idle;
    int cancel_fd;
    const struct pace *pace;
};

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

/* One pass over all transfers; *open counts those that it leaves unfinished. */
static dhole_err pass(struct dhole__io *io, int n, bool *moved, int *open)
{
    *moved = false;
    *open = 0;
    for (int i = 0; i < n; i++) {
        size_t bytes;
        if (dhole__io_left(&io[i]) == 0)
            continue;
        io[i].err = step_one(&io[i], &bytes);
        if (io[i].err)
            return io[i].err;
        *moved |= bytes > 0;
        *open += dhole__io_left(&io[i]) > 0;
    }
    return DHOLE_OK;
}

dhole_err dhole__io_step(struct dhole__io *io, int n, bool *moved)
{
    int open;

    return pass(io, n, moved, &open);
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

dhole_err dhole__io_check_cancelled(int cancel_fd)
{
    struct pollfd pfd = {.fd = cancel_fd, .events = POLLIN};

    if (cancel_fd >= 0 && dhole__sys.poll(&pfd, 1, 0) > 0)
        return dhole__fail(DHOLE_ERR_CANCELLED, "cancelled");
    return DHOLE_OK;
}

static dhole_err sleep_for(struct dhole__io *io, int n, const struct wait *wait,
                           dhole__deadline until)
{
    struct pollfd pfds[dhole__io_max + 1] = {{.fd = wait->cancel_fd, .events = POLLIN}};
    int count = 1; /* poll ignores a descriptor that is -1 */
    dhole_err err;

    for (int i = 0; i < n; i++)
        if (dhole__io_left(&io[i]) > 0 && !dhole__io_arm(&io[i], &pfds[count++]))
            return DHOLE_OK;
    err = dhole__io_poll(pfds, count, until);
    if (!err && pfds[0].revents != 0)
        err = dhole__fail(DHOLE_ERR_CANCELLED, "cancelled");
    return err;
}

dhole__deadline dhole__io_slow_at(int64_t now, dhole__deadline deadline)
{
    return now + ((deadline - now) / 4 < slow_ns ? (deadline - now) / 4 : slow_ns);
}

/* Sleeps; says once that it takes long: at *slow_at, 0 when that is yet to be set. */
static dhole_err sleep_or_say(struct dhole__io *io, int n, const struct wait *wait,
                              dhole__deadline *slow_at, int64_t now)
{
    const struct dhole__idle *idle = wait->idle;
    dhole__deadline deadline = wait->deadline;
    dhole_err err;

    if (*slow_at == 0 && idle->slow != NULL)
        *slow_at = dhole__io_slow_at(now, deadline);
    else if (*slow_at == 0)
        *slow_at = deadline;
    err = sleep_for(io, n, wait, *slow_at);
    if (err != DHOLE_ERR_TIMEOUT || *slow_at == deadline)
        return err;
    idle->slow(idle->slow_arg);
    *slow_at = deadline;
    return DHOLE_OK;
}

struct spin {
    const struct pace *pace;
    unsigned tries;
    int64_t yielded, until;
};

/* Passes the time until the next try; returns the time now, or 0 when it did not look. */
static int64_t spin_once(struct spin *spin)
{
    unsigned relax = 1 + spin->tries / 16;
    int64_t now;

    /* The longer the wait, the less it may take from whoever shares this core's units. */
    for (unsigned i = 0; i < relax && i < spin->pace->relax_max; i++)
        dhole__cpu_relax();
    if (++spin->tries % spin->pace->tries_per_look != 0)
        return 0;
    now = dhole__now();
    if (spin->until == 0)
        spin->until = now + spin->pace->spin_ns;
    if (spin->yielded == 0 && spin->pace->yield_ns > 0)
        spin->yielded = now; /* the first wait is often the only one */
    if (now - spin->yielded >= spin->pace->yield_ns) {
        sched_yield();
        spin->yielded = now;
    }
    return now;
}

/* Looks for cancellation also where bytes trickle in and nobody sleeps. */
static dhole_err look_around(const struct wait *wait, int64_t now, int64_t *cancel_at)
{
    if (now >= wait->deadline)
        return dhole__fail(DHOLE_ERR_TIMEOUT, "the deadline passed");
    if (*cancel_at > now)
        return DHOLE_OK;
    if (*cancel_at > 0) {
        dhole_err err = dhole__io_check_cancelled(wait->cancel_fd);
        if (err)
            return err;
    }
    *cancel_at = now + cancel_ns;
    return DHOLE_OK;
}

static dhole_err run(struct dhole__io *io, int n, const struct wait *wait)
{
    struct spin spin = {.pace = wait->pace};
    dhole__deadline slow_at = 0, cancel_at = 0;
    bool more = wait->idle->run != NULL;

    for (;;) {
        int64_t now;
        bool moved;
        int open;
        dhole_err err = pass(io, n, &moved, &open);
        if (err || open == 0)
            return err;
        if (!moved && more) {
            more = wait->idle->run(wait->idle->arg) != 0;
            continue;
        }
        if (moved)
            slow_at = spin.until = spin.tries = 0;
        now = spin_once(&spin);
        if (now == 0)
            continue;
        err = look_around(wait, now, &cancel_at);
        if (!err && now >= spin.until)
            err = sleep_or_say(io, n, wait, &slow_at, now);
        if (err)
            return err;
    }
}

dhole_err dhole__io_run_idle(struct dhole__io *io, int n, dhole__deadline deadline,
                             const struct dhole__idle *idle, bool crowded)
{
    return run(io, n, &(struct wait){deadline, idle, -1, crowded ? &crowded_pace : &alone});
}

dhole_err dhole__io_run(struct dhole__io *io, int n, dhole__deadline deadline)
{
    return dhole__io_run_idle(io, n, deadline, &(struct dhole__idle){.run = NULL}, false);
}

dhole_err dhole__io_run_until(struct dhole__io *io, int n, dhole__deadline deadline, int cancel_fd,
                              bool hurried)
{
    const struct dhole__idle idle = {.run = NULL};

    return run(io, n, &(struct wait){deadline, &idle, cancel_fd, hurried ? &alone : &crowded_pace});
}

dhole_err dhole__io_run_one(struct dhole__io io, dhole__deadline deadline)
{
    return dhole__io_run(&io, 1, deadline);
}
