/* One direction of a shared memory connection: a stream of bytes from one process to another.
 *
 * It has lines and bulk. A line is a cache line: a word that says what is there, and up to 56 bytes
 * of the stream, so that a small message is one cache line that changes hands. What is larger
 * lies in the bulk, a ring of bytes, and its line says how many: such a piece is the line's
 * bytes, then the bulk's. The word holds the line's number, so the receiver polls the very line
 * that it will read, and nothing else.
 *
 * The receiver counts the lines that it is through with where the sender sees it, and not at
 * once but in batches: the sender looks there only when it runs out of room. It remembers itself
 * how much bulk each line held.
 *
 * The other side may be hostile: each number is read once and bounded before it is used. */
#ifndef DHOLE_TRANSPORT_SHM_RING_H
#define DHOLE_TRANSPORT_SHM_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "transport/walk.h"

enum {
    dhole__line_bytes = 56,
    dhole__line_count = 256,     /* a power of two, as are the others */
    dhole__bulk_grain = 64,      /* pieces begin on cache lines */
    dhole__piece_max = 32 << 10, /* of bulk: small enough for the receiver to begin early */
    dhole__ring_batch = 8        /* the receiver reports an eighth of the ring at a time */
};

/* The word: the line's number from 1 on, modulo 2^32; 24 bits, bytes in the bulk; a bit that says
 * that these are at the bulk's beginning; 7 bits, bytes in the line. */
enum { dhole__line_restarts = 0x80 };

struct dhole__line {
    _Alignas(64) _Atomic uint64_t word;
    uint8_t bytes[dhole__line_bytes];
};

struct dhole__ring_out {
    struct dhole__line *lines;
    uint8_t *bulk;
    const _Atomic uint64_t *consumed;     /* lines the receiver is through with */
    uint64_t sent, freed;                 /* lines */
    size_t bulk_size, bulk_at, bulk_free; /* of what is used of the bulk, a power of two */
    uint32_t held[dhole__line_count];     /* bulk of each line */
};

struct dhole__ring_in {
    const struct dhole__line *lines;
    const uint8_t *bulk;
    _Atomic uint64_t *consumed;
    uint64_t taken, reported; /* lines */
    size_t bulk_size, bulk_at, bulk_unreported;
    size_t bulk_batch;           /* to report at a time */
    uint32_t line_at, line_left; /* what is left of the piece that has been begun */
    size_t bulk_left, piece_end; /* its bulk ends here, and the next one's begins */
};

static inline size_t dhole__bulk_round(size_t n)
{
    return (n + dhole__bulk_grain - 1) & ~(size_t)(dhole__bulk_grain - 1);
}

/* Takes back what the receiver is through with. False: its count is impossible. */
static inline bool dhole__ring_reclaim(struct dhole__ring_out *ring)
{
    uint64_t consumed = atomic_load(ring->consumed);

    if (consumed - ring->freed > ring->sent - ring->freed)
        return false;
    for (; ring->freed < consumed; ring->freed++)
        ring->bulk_free += ring->held[ring->freed % dhole__line_count];
    return true;
}

/* As far as is known without looking. */
static inline bool dhole__ring_has_room(const struct dhole__ring_out *ring)
{
    return ring->sent - ring->freed < dhole__line_count && ring->bulk_free > 0;
}

/* How much of `left` bytes goes into the line: all if it fits, or else what comes apart from the
 * rest, a message's header, so that the body is copied along its own alignment. */
static inline size_t dhole__ring_line_share(const struct dhole__walk *walk, size_t left)
{
    struct dhole__walk here = *walk;
    size_t first;

    if (left <= dhole__line_bytes)
        return left;
    dhole__walk_piece(&here, SIZE_MAX, &first);
    return first <= dhole__line_bytes ? first : 0;
}

/* Fewer than 64 bytes, without a call. */
static inline void dhole__copy_few(uint8_t *dst, const uint8_t *src, size_t n)
{
#define DHOLE__COPY_PART(part)  \
    if (n & (part)) {           \
        memcpy(dst, src, part); \
        dst += (part);          \
        src += (part);          \
    }
    DHOLE__COPY_PART(32)
    DHOLE__COPY_PART(16)
    DHOLE__COPY_PART(8)
    DHOLE__COPY_PART(4)
    DHOLE__COPY_PART(2)
    DHOLE__COPY_PART(1)
#undef DHOLE__COPY_PART
}

/* Shows the receiver the next line. It is seen before whatever is loaded after this, as the store
 * is sequentially consistent. */
static inline void dhole__ring_publish(struct dhole__ring_out *ring, struct dhole__line *line,
                                       size_t in_line, size_t in_bulk)
{
    uint32_t held = (uint32_t)dhole__bulk_round(in_bulk);

    if (in_bulk > 0 && ring->bulk_at == 0)
        in_line |= dhole__line_restarts;
    ring->held[ring->sent % dhole__line_count] = held;
    ring->bulk_free -= held;
    ring->bulk_at = (ring->bulk_at + held) & (ring->bulk_size - 1);
    ring->sent++;
    atomic_store(&line->word, (ring->sent & UINT32_MAX) << 32 | in_bulk << 8 | in_line);
}

/* Bytes in the buffers if they are some and fit into a line, else 0. */
static inline size_t dhole__line_size(const struct iovec *iov, int n)
{
    size_t size = 0;

    for (int i = 0; i < n; size += iov[i++].iov_len)
        if (iov[i].iov_len > dhole__line_bytes - size)
            return 0;
    return size;
}

/* The short way for what fits into a line; the ring has room. */
static inline void dhole__ring_put_line(struct dhole__ring_out *ring, const struct iovec *iov,
                                        size_t size)
{
    struct dhole__line *line = &ring->lines[ring->sent % dhole__line_count];

    for (size_t at = 0; at < size; at += iov++->iov_len)
        dhole__copy_few(line->bytes + at, iov->iov_base, iov->iov_len);
    dhole__ring_publish(ring, line, size, 0);
}

/* Puts a piece of the `left` bytes at *walk into the ring, which has room, and steps over it.
 * Returns its size. */
static inline size_t dhole__ring_put(struct dhole__ring_out *ring, struct dhole__walk *walk,
                                     size_t left)
{
    struct dhole__line *line = &ring->lines[ring->sent % dhole__line_count];
    size_t in_line = dhole__ring_line_share(walk, left), in_bulk = left - in_line;

    if (in_bulk > dhole__piece_max)
        in_bulk = dhole__piece_max;
    if (in_bulk > ring->bulk_free)
        in_bulk = ring->bulk_free;
    if (in_bulk > ring->bulk_size - ring->bulk_at)
        in_bulk = ring->bulk_size - ring->bulk_at;
    dhole__walk_copy_out(walk, line->bytes, in_line);
    dhole__walk_copy_out(walk, ring->bulk + ring->bulk_at, in_bulk);
    dhole__ring_publish(ring, line, in_line, in_bulk);
    return in_line + in_bulk;
}

/* Uses no more than the first `size` bytes of bulk from here on, if what is under way allows it. */
static inline void dhole__ring_narrow(struct dhole__ring_out *ring, size_t size)
{
    size_t held = ring->bulk_size - ring->bulk_free;

    if (size >= ring->bulk_size || ring->bulk_at >= size || held > ring->bulk_at)
        return;
    ring->bulk_size = size;
    ring->bulk_free = size - held;
}

/* Whether the next line is there; the load is sequentially consistent. */
static inline bool dhole__ring_has_line(const struct dhole__ring_in *ring)
{
    const struct dhole__line *line = &ring->lines[ring->taken % dhole__line_count];

    return (uint32_t)(atomic_load(&line->word) >> 32) == (uint32_t)(ring->taken + 1);
}

/* The short way for a line without bulk: takes it if it is there and fits into the buffers. Returns
 * its size, or 0. */
static inline size_t dhole__ring_take_line(struct dhole__ring_in *ring, const struct iovec *iov,
                                           int n)
{
    const struct dhole__line *line = &ring->lines[ring->taken % dhole__line_count];
    uint64_t word = atomic_load_explicit(&line->word, memory_order_acquire);
    uint64_t size = word ^ (uint64_t)(uint32_t)(ring->taken + 1) << 32, at = 0;

    if (size > dhole__line_bytes)
        return 0;
    for (int i = 0; i < n && at < size; i++) {
        size_t part = iov[i].iov_len < size - at ? iov[i].iov_len : size - at;
        dhole__copy_few(iov[i].iov_base, line->bytes + at, part);
        at += part;
    }
    if (at < size)
        return 0;
    ring->taken += size > 0;
    return size;
}

/* Begins the next piece if it is there. False: its line is impossible. */
static inline bool dhole__ring_begin(struct dhole__ring_in *ring)
{
    const struct dhole__line *line = &ring->lines[ring->taken % dhole__line_count];
    uint64_t word = atomic_load_explicit(&line->word, memory_order_acquire);
    uint32_t in_line = word & (dhole__line_restarts - 1);
    size_t in_bulk = (uint32_t)word >> 8;

    if ((uint32_t)(word >> 32) != (uint32_t)(ring->taken + 1))
        return true;
    if (word & dhole__line_restarts)
        ring->bulk_at = 0;
    if (in_line > dhole__line_bytes || in_bulk > ring->bulk_size - ring->bulk_at ||
        in_line + in_bulk == 0)
        return false;
    ring->line_at = 0;
    ring->line_left = in_line;
    ring->bulk_left = in_bulk;
    ring->piece_end = ring->bulk_at + dhole__bulk_round(in_bulk);
    ring->bulk_unreported += ring->piece_end - ring->bulk_at;
    return true;
}

static inline size_t dhole__walk_copy_in(struct dhole__walk *walk, const uint8_t *src, size_t n)
{
    size_t length, done = 0;
    uint8_t *dst;

    while (done < n && (dst = dhole__walk_take(walk, n - done, &length)) != NULL) {
        memcpy(dst, src + done, length);
        done += length;
    }
    return done;
}

/* Copies what fits of the piece that has been begun. Returns how much that was. */
static inline size_t dhole__ring_take(struct dhole__ring_in *ring, struct dhole__walk *walk)
{
    const struct dhole__line *line = &ring->lines[ring->taken % dhole__line_count];
    size_t from_line = dhole__walk_copy_in(walk, line->bytes + ring->line_at, ring->line_left);
    size_t from_bulk;

    ring->line_at += (uint32_t)from_line;
    ring->line_left -= (uint32_t)from_line;
    if (ring->line_left > 0)
        return from_line;
    from_bulk = dhole__walk_copy_in(walk, ring->bulk + ring->bulk_at, ring->bulk_left);
    ring->bulk_at += from_bulk;
    ring->bulk_left -= from_bulk;
    if (ring->bulk_left == 0) {
        ring->bulk_at = ring->piece_end & (ring->bulk_size - 1);
        ring->taken++;
    }
    return from_line + from_bulk;
}

static inline bool dhole__ring_has_piece(const struct dhole__ring_in *ring)
{
    return ring->line_left + ring->bulk_left > 0;
}

/* At the end of a piece: tells the sender what it can take back, if that is worth it; whether it
 * did. It always does before the sender runs out of room in an empty ring. */
static inline bool dhole__ring_report(struct dhole__ring_in *ring)
{
    if (ring->taken - ring->reported < dhole__line_count / dhole__ring_batch &&
        ring->bulk_unreported < ring->bulk_batch)
        return false;
    ring->reported = ring->taken;
    ring->bulk_unreported = 0;
    atomic_store(ring->consumed, ring->taken);
    return true;
}

#endif
