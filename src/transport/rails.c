#include "transport/rails.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/sys.h"

enum { address_max = 80, pieces_max = 8 };

/* One direction. The rail with the least offset is the one that the stream waits for; the others
 * may be ahead, in memory that the caller has offered and was not told about yet. */
struct way {
    uint64_t next[dhole__rails_max]; /* where in the stream each rail's next byte is */
};

struct rails {
    struct dhole__conn base;
    int n;
    size_t chunk;
    bool in_turn; /* when receiving */
    struct dhole__conn *rail[dhole__rails_max];
    char address[dhole__rails_max][address_max];
    struct way send, recv;
};

typedef dhole_err move_fn(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved);

/* The rail that the stream waits for. */
static int foremost(const struct rails *rails, const struct way *way)
{
    int first = 0;

    for (int i = 1; i < rails->n; i++)
        if (way->next[i] < way->next[first])
            first = i;
    return first;
}

static size_t left_of_chunk(const struct rails *rails, uint64_t at)
{
    return rails->chunk - (size_t)(at % rails->chunk);
}

/* Bytes [from, from + length) of iov; fewer when they lie in too many pieces. */
static int slice(const struct iovec *iov, int n, size_t from, size_t length,
                 struct iovec out[static pieces_max])
{
    int count = 0;

    for (int i = 0; i < n && length > 0 && count < pieces_max; i++) {
        size_t have = iov[i].iov_len, take;
        if (from >= have) {
            from -= have;
            continue;
        }
        take = have - from < length ? have - from : length;
        out[count++] = (struct iovec){(char *)iov[i].iov_base + from, take};
        length -= take;
        from = 0;
    }
    return count;
}

/* Moves what `rail` can of iov, which does not go beyond its chunk. */
static dhole_err move_on(struct rails *rails, struct way *way, move_fn *move, int rail,
                         const struct iovec *iov, int n)
{
    uint64_t *next = &way->next[rail];
    size_t moved;
    dhole_err err = move(rails->rail[rail], iov, n, &moved);

    *next += moved;
    if (moved > 0 && *next % rails->chunk == 0)
        *next += (uint64_t)rails->chunk * (uint64_t)(rails->n - 1);
    if (err)
        return dhole__fail_in(err, "rail %d of %d, %s", rail, rails->n, rails->address[rail]);
    return DHOLE_OK;
}

/* Moves what each rail can of its next chunk. */
static dhole_err move_all(struct rails *rails, struct way *way, move_fn *move, int first,
                          const struct iovec *iov, int n, size_t offered)
{
    uint64_t begin = way->next[first], end = begin + offered;
    struct iovec piece[pieces_max];

    for (int i = 0; i < rails->n; i++) {
        int rail = (first + i) % rails->n, count;
        uint64_t at = way->next[rail];
        size_t length;
        dhole_err err;
        if (at >= end)
            continue;
        length = left_of_chunk(rails, at);
        if (length > end - at)
            length = (size_t)(end - at);
        count = slice(iov, n, (size_t)(at - begin), length, piece);
        err = move_on(rails, way, move, rail, piece, count);
        if (err)
            return err;
    }
    return DHOLE_OK;
}

static dhole_err move_stream(struct rails *rails, struct way *way, move_fn *move,
                             const struct iovec *iov, int n, size_t *moved)
{
    int first = foremost(rails, way);
    uint64_t begin = way->next[first], progress;
    size_t offered = 0;
    dhole_err err;

    *moved = 0;
    for (int i = 0; i < n; i++)
        offered += iov[i].iov_len;
    if (offered <= left_of_chunk(rails, begin))
        err = move_on(rails, way, move, first, iov, n);
    else
        err = move_all(rails, way, move, first, iov, n, offered);
    progress = way->next[foremost(rails, way)] - begin;
    if (progress > offered)
        return dhole__fail(DHOLE_ERR_INVALID, "%zu bytes are fewer than were offered before",
                           offered);
    *moved = (size_t)progress;
    return err;
}

static dhole_err rails_send(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    struct rails *rails = (struct rails *)conn;

    return move_stream(rails, &rails->send, dhole__conn_send, iov, n, moved);
}

/* Chunk after chunk, while each is there to its end. An error after some bytes have moved comes
 * with the next call. */
static dhole_err recv_in_turn(struct rails *rails, const struct iovec *iov, int n, size_t *moved)
{
    struct way *way = &rails->recv;
    struct iovec piece[pieces_max];
    size_t got, left;

    *moved = 0;
    do {
        int rail = foremost(rails, way), count;
        uint64_t at = way->next[rail];
        dhole_err err;
        left = left_of_chunk(rails, at);
        count = slice(iov, n, *moved, left, piece);
        err = move_on(rails, way, dhole__conn_recv, rail, piece, count);
        got = (size_t)(way->next[foremost(rails, way)] - at);
        *moved += got;
        if (err)
            return *moved > 0 ? DHOLE_OK : err;
    } while (got == left);
    return DHOLE_OK;
}

static dhole_err rails_recv(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    struct rails *rails = (struct rails *)conn;

    if (rails->in_turn)
        return recv_in_turn(rails, iov, n, moved);
    return move_stream(rails, &rails->recv, dhole__conn_recv, iov, n, moved);
}

/* Polls for the rail that the stream waits for, as nothing is told to the caller before that one
 * moves. For both directions on different rails there is one descriptor too few. */
static bool rails_arm(struct dhole__conn *conn, bool want_send, bool want_recv, struct pollfd *pfd)
{
    struct rails *rails = (struct rails *)conn;
    /* Of the direction that is not wanted nothing is read: it may be another thread's. */
    int first = foremost(rails, want_send ? &rails->send : &rails->recv);
    struct dhole__conn *rail = rails->rail[first];

    if (want_send && want_recv && first != foremost(rails, &rails->recv))
        return false;
    return rail->ops->arm(rail, want_send, want_recv, pfd);
}

static void rails_shutdown(struct dhole__conn *conn)
{
    struct rails *rails = (struct rails *)conn;

    for (int i = 0; i < rails->n; i++)
        rails->rail[i]->ops->shutdown(rails->rail[i]);
}

static void rails_close(struct dhole__conn *conn)
{
    struct rails *rails = (struct rails *)conn;

    for (int i = 0; i < rails->n; i++)
        dhole__conn_close(rails->rail[i]);
    free(rails);
}

static const struct dhole__conn_ops rails_ops = {
    .name = "rails",
    .send = rails_send,
    .recv = rails_recv,
    .arm = rails_arm,
    .shutdown = rails_shutdown,
    .close = rails_close,
};

dhole_err dhole__rails_open(struct dhole__conn *const *rail, const char *const *address, int n,
                            size_t chunk, struct dhole__conn **out)
{
    struct rails *rails = dhole__sys.calloc(1, sizeof *rails);

    if (rails == NULL)
        return dhole__fail_nomem(sizeof *rails, "joining rails");
    rails->base.ops = &rails_ops;
    rails->n = n;
    rails->chunk = chunk;
    for (int i = 0; i < n; i++) {
        rails->rail[i] = rail[i];
        rails->send.next[i] = rails->recv.next[i] = (uint64_t)i * chunk;
        snprintf(rails->address[i], address_max, "%s", address[i]);
    }
    *out = &rails->base;
    return DHOLE_OK;
}

void dhole__rails_receive_in_turn(struct dhole__conn *rails)
{
    ((struct rails *)rails)->in_turn = true;
}
