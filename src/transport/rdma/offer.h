/* What each side tells the other of its devices before they try which of them reach each other, and
 * the order of trying, which both find on their own. */
#ifndef DHOLE_TRANSPORT_RDMA_OFFER_H
#define DHOLE_TRANSPORT_RDMA_OFFER_H

#include "transport/rdma/device.h"
#include "transport/rdma/rdma.h"

enum {
    dhole__offer_name = 32,
    dhole__offer_device = dhole__offer_name + 12 + dhole__gids_max * (dhole__gid_bytes + 1),
    dhole__rdma_offer_size = 8 + dhole__rdma_devices_max * dhole__offer_device,
    dhole__attempts_max = 128
};

struct dhole__offered {
    char name[dhole__offer_name];
    struct dhole__rdma_shape shape;
    uint8_t mtu; /* enum ibv_mtu */
    bool by_lid; /* InfiniBand: reached by its LID instead of a GID */
    uint16_t lid;
    int gids;
    struct dhole__gid gid[dhole__gids_max]; /* without the index, which is its owner's business */
};

struct dhole__rdma_offer {
    int n;
    struct dhole__offered device[dhole__rdma_devices_max];
};

void dhole__rdma_offer_encode(const struct dhole__rdma_offer *offer,
                              uint8_t out[static dhole__rdma_offer_size]);

/* DHOLE_ERR_PROTOCOL: these bytes are no offer. */
DHOLE__MUST_CHECK dhole_err dhole__rdma_offer_decode(
    const uint8_t in[static dhole__rdma_offer_size], struct dhole__rdma_offer *out);

/* A device and a GID of each side, by number; GID -1: by LID. */
struct dhole__attempt {
    int device[2], gid[2];
    int cost;
};

/* The pairs that may reach each other, the likeliest first; returns how many. */
int dhole__attempts_list(const struct dhole__rdma_offer *side0,
                         const struct dhole__rdma_offer *side1,
                         struct dhole__attempt out[static dhole__attempts_max]);

/* What two devices have in common. */
struct dhole__rdma_shape dhole__shape_common(const struct dhole__rdma_shape *a,
                                             const struct dhole__rdma_shape *b);

#endif
