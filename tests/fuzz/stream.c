#include "stream.h"

#include <stdlib.h>
#include <string.h>

struct stream {
    struct dhole__conn conn;
    const uint8_t *data;
    size_t left, piece;
};

static dhole_err stream_send(struct dhole__conn *conn, const struct iovec *iov, int n,
                             size_t *moved)
{
    (void)conn;
    *moved = 0;
    for (int i = 0; i < n; i++)
        *moved += iov[i].iov_len;
    return DHOLE_OK;
}

static dhole_err stream_recv(struct dhole__conn *conn, const struct iovec *iov, int n,
                             size_t *moved)
{
    struct stream *stream = (struct stream *)conn;

    *moved = 0;
    if (stream->left == 0)
        return dhole__fail(DHOLE_ERR_PEER_LOST, "the input has ended");
    for (int i = 0; i < n && *moved == 0; i++) {
        size_t most = stream->left < stream->piece ? stream->left : stream->piece;
        *moved = iov[i].iov_len < most ? iov[i].iov_len : most;
        if (*moved > 0)
            memcpy(iov[i].iov_base, stream->data, *moved);
    }
    stream->data += *moved;
    stream->left -= *moved;
    return DHOLE_OK;
}

static bool stream_arm(struct dhole__conn *conn, bool want_send, bool want_recv, struct pollfd *pfd)
{
    (void)conn, (void)want_send, (void)want_recv, (void)pfd;
    return false;
}

static void stream_shutdown(struct dhole__conn *conn)
{
    ((struct stream *)conn)->left = 0;
}

static void stream_close(struct dhole__conn *conn)
{
    free(conn);
}

static const struct dhole__conn_ops stream_ops = {
    .name = "stream",
    .send = stream_send,
    .recv = stream_recv,
    .arm = stream_arm,
    .shutdown = stream_shutdown,
    .close = stream_close,
};

struct dhole__conn *stream_new(const uint8_t *data, size_t size, size_t piece)
{
    struct stream *stream = malloc(sizeof *stream);

    if (stream == NULL)
        return NULL;
    *stream =
        (struct stream){.conn = {.ops = &stream_ops}, .data = data, .left = size, .piece = piece};
    return &stream->conn;
}
