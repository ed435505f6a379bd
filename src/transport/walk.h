/* A place in the bytes of an iovec array. Copying the struct remembers the place. */
#ifndef DHOLE_TRANSPORT_WALK_H
#define DHOLE_TRANSPORT_WALK_H

#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

struct dhole__walk {
    const struct iovec *iov;
    int n;
    size_t at; /* in iov[0] */
};

/* The bytes here that lie side by side, at most `max`; *length is 0 at the end. */
static inline uint8_t *dhole__walk_piece(struct dhole__walk *walk, size_t max, size_t *length)
{
    while (walk->n > 0 && walk->at == walk->iov->iov_len) {
        walk->iov++;
        walk->n--;
        walk->at = 0;
    }
    if (walk->n == 0) {
        *length = 0;
        return NULL;
    }
    *length = walk->iov->iov_len - walk->at;
    if (*length > max)
        *length = max;
    return (uint8_t *)walk->iov->iov_base + walk->at;
}

/* The same, and steps over them. */
static inline uint8_t *dhole__walk_take(struct dhole__walk *walk, size_t max, size_t *length)
{
    uint8_t *piece = dhole__walk_piece(walk, max, length);

    walk->at += *length;
    return piece;
}

/* Steps over n bytes; what is beyond the end is ignored. */
static inline void dhole__walk_skip(struct dhole__walk *walk, size_t n)
{
    size_t length;

    while (n > 0 && dhole__walk_take(walk, n, &length) != NULL)
        n -= length;
}

/* Steps over n bytes, which must be there, and leaves a copy of them. */
static inline void dhole__walk_copy_out(struct dhole__walk *walk, uint8_t *dst, size_t n)
{
    size_t length;

    for (; n > 0; n -= length, dst += length) {
        const uint8_t *src = dhole__walk_take(walk, n, &length);
        memcpy(dst, src, length);
    }
}

/* Bytes from here to the end, saturating at SIZE_MAX. */
static inline size_t dhole__walk_left(struct dhole__walk walk)
{
    size_t left = 0, length;

    while (dhole__walk_take(&walk, SIZE_MAX, &length) != NULL)
        left = length > SIZE_MAX - left ? SIZE_MAX : left + length;
    return left;
}

#endif
