/* The agreement of two sides about their rails. */
#ifndef DHOLE_TRANSPORT_RDMA_AGREE_H
#define DHOLE_TRANSPORT_RDMA_AGREE_H

#include "base/clock.h"
#include "transport/rdma/rail.h"

/* What this side has for it. The link, the blocks and the devices outlive the agreement and the
 * rails. */
struct dhole__agree_with {
    struct dhole__link *link;
    struct dhole__blocks *blocks;
    int side; /* 0 or 1 */
    int n;
    struct dhole__device *device[dhole__rdma_devices_max];
    int device_number[dhole__rdma_devices_max]; /* among all of this rank */
};

struct dhole__agreement;

DHOLE__MUST_CHECK dhole_err dhole__agree_start(const struct dhole__agree_with *with,
                                               struct dhole__agreement **out);

/* Goes on without waiting, until *done. DHOLE_ERR_UNSUPPORTED: there is no rail, as the other side
 * knows too. */
DHOLE__MUST_CHECK dhole_err dhole__agree_step(struct dhole__agreement *agreement, bool *done);

/* What to poll for to step it, and when to step it in any case. */
bool dhole__agree_arm(struct dhole__agreement *agreement, struct pollfd *pfd);
dhole__deadline dhole__agree_wake(const struct dhole__agreement *agreement);

/* Of one that is done: hands over the rails, in the same order on both sides; the caller frees each
 * with dhole__rail_free and free(). Returns how many. */
int dhole__agree_take(struct dhole__agreement *agreement,
                      struct dhole__rail *out[static dhole__rdma_devices_max]);

/* NULL is allowed. */
void dhole__agree_free(struct dhole__agreement *agreement);

#endif
