/* GIDs: the addresses of a port. It has several, and which of them a peer's port can be reached
 * from, only trying tells; so all that are usable are candidates, each with its own index. */
#ifndef DHOLE_TRANSPORT_RDMA_GID_H
#define DHOLE_TRANSPORT_RDMA_GID_H

#include <stdint.h>

#include "transport/rdma/verbs.h"

enum { dhole__gids_max = 8, dhole__gid_bytes = 16, dhole__gid_text_max = 64 };

/* Also on the wire. */
enum dhole__gid_type {
    DHOLE__GID_UNTOLD,
    DHOLE__GID_IB,
    DHOLE__GID_ROCE_V1,
    DHOLE__GID_ROCE_V2,
};

struct dhole__gid {
    uint8_t bytes[dhole__gid_bytes];
    uint8_t type;
    uint16_t index; /* in the port's table */
};

/* The usable entries of a port's table of `length` entries, in the order in which they are
 * tried: RoCE v2 before v1, and of each the IPv4-mapped ones, the global ones, the link-local ones.
 * At most dhole__gids_max; returns how many. */
int dhole__gids_read(const struct dhole__verbs *verbs, struct ibv_context *context, uint8_t port,
                     int length, struct dhole__gid out[static dhole__gids_max]);

/* Which of two pairs of GIDs is tried first: the one with the lower cost, which is the same on both
 * sides. Negative: such two cannot reach each other. */
int dhole__gid_pair_cost(const struct dhole__gid *a, const struct dhole__gid *b);

/* "GID 1 (::ffff:10.0.0.1, RoCE v2)" */
void dhole__gid_text(const struct dhole__gid *gid, char out[static dhole__gid_text_max]);

#endif
