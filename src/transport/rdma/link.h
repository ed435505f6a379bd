/* What the rails to one peer share: the connection below them. Once the rails are open, all that it
 * carries is how many messages each of them has sent in all, when its side closes it. */
#ifndef DHOLE_TRANSPORT_RDMA_LINK_H
#define DHOLE_TRANSPORT_RDMA_LINK_H

#include "transport/conn.h"
#include "transport/rdma/rdma.h"

struct dhole__link {
    struct dhole__conn *lower;
    int peer;
    int rails;
    bool open;          /* the lower connection carries no more than that */
    atomic_bool broken; /* shut down on this side */
    bool ended;         /* the other side is gone */
    int64_t ended_at;
    size_t got; /* of its last word */
    uint8_t last[4 * dhole__rdma_devices_max];
};

/* Takes what has come over the lower connection. */
void dhole__link_look(struct dhole__link *link);

/* Whether the other side has said, and how many messages it had sent over that rail. */
bool dhole__link_last(const struct dhole__link *link, int rail, uint32_t *messages);

/* Says so to the other side: messages of each rail. */
void dhole__link_say_last(struct dhole__link *link, const uint32_t *messages);

#endif
