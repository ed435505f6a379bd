/* The memory that the two ends of a shared memory connection have in common. */
#ifndef DHOLE_TRANSPORT_SHM_SEGMENT_H
#define DHOLE_TRANSPORT_SHM_SEGMENT_H

#include "base/error.h"
#include "base/os.h"
#include "transport/shm/ring.h"

/* What the side that makes the segment (0) tells the other (1). */
enum {
    dhole__token_size = 16,
    dhole__offer_size = 8 + dhole__token_size + dhole__shared_name_max,
};

struct dhole__segment {
    struct dhole__segment_head *head;
    size_t bulk_size;
};

/* Makes a segment with bulk_size bytes of bulk each way, a power of two of at least
 * 64 KiB, and the offer for the other side. *fd is to stay open until the other side
 * has answered. */
DHOLE__MUST_CHECK dhole_err dhole__segment_make(size_t bulk_size,
                                                uint8_t offer[static dhole__offer_size], int *fd,
                                                struct dhole__segment *out);

/* Once the other side has answered: nobody else can open it from here on, and when both
 * are gone it is too. */
void dhole__segment_hide(const uint8_t offer[static dhole__offer_size], int fd);

/* Opens what was offered; bulk_size is what this side would have made. */
DHOLE__MUST_CHECK dhole_err dhole__segment_open(const uint8_t offer[static dhole__offer_size],
                                                size_t bulk_size, struct dhole__segment *out);

void dhole__segment_close(struct dhole__segment *segment);

/* The two directions, as `side` sees them, at the beginning of the stream. */
void dhole__segment_rings(const struct dhole__segment *segment, int side,
                          struct dhole__ring_out *out, struct dhole__ring_in *in);

/* Whether that side wants its doorbell rung when something changes. */
_Atomic uint32_t *dhole__segment_asleep(const struct dhole__segment *segment, int side);

#endif
