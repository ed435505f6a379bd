/* Who watches the peers is not kept from it by one of them. */
#include "group/liveness.h"

#include <string.h>

#include "test.h"

/* A connection on which heartbeats come for ever, faster than they can be taken. */

static dhole_err take_all(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    (void)conn;
    *moved = 0;
    for (int i = 0; i < n; i++)
        *moved += iov[i].iov_len;
    return DHOLE_OK;
}

static dhole_err beat(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    static const uint8_t note[8] = {1};

    (void)conn, (void)n;
    ASSERT_EQ(iov[0].iov_len, sizeof note);
    memcpy(iov[0].iov_base, note, sizeof note);
    *moved = sizeof note;
    return DHOLE_OK;
}

static bool is_ready(struct dhole__conn *conn, bool want_send, bool want_recv, struct pollfd *pfd)
{
    (void)conn, (void)want_send, (void)want_recv, (void)pfd;
    return false;
}

static void shut(struct dhole__conn *conn)
{
    (void)conn;
}

static const struct dhole__conn_ops flood_ops = {
    .name = "flood", .send = take_all, .recv = beat, .arm = is_ready, .shutdown = shut};

TEST_LIMIT(a_peer_that_never_ends_is_heard_in_turns, 20)
{
    struct dhole__conn flood = {.ops = &flood_ops};
    struct dhole__mesh mesh = {.size = 2, .control = {[1] = &flood}};
    struct dhole__liveness *liveness;

    ASSERT_OK(dhole__liveness_start(&mesh, 60000, 60000, &liveness));
    while (atomic_load(&flood.received) == 0)
        ;
    ASSERT_OK(dhole__liveness_check(liveness));
    dhole__liveness_stop(liveness);
}
