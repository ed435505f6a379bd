/* A queue pair to one peer, with a completion queue of its own. */
#ifndef DHOLE_TRANSPORT_RDMA_QP_H
#define DHOLE_TRANSPORT_RDMA_QP_H

#include "transport/rdma/device.h"

enum { dhole__inline_most = 256 };

struct dhole__qp {
    struct dhole__device *device;
    int peer;                         /* its rank, for messages */
    struct dhole__rdma_shape shape;   /* as agreed with the peer */
    struct ibv_comp_channel *channel; /* NULL: the system has none */
    struct ibv_cq *cq;
    struct ibv_qp *ibv;
    uint32_t inline_max;
    unsigned events; /* taken from the channel, not acknowledged */
};

/* Where the other side's queue pair is, and how it is reached. */
struct dhole__path {
    const struct dhole__gid *own, *peer; /* NULL: by LID (InfiniBand) */
    uint16_t lid;
    uint32_t number, first; /* of the queue pair, and of its first packet */
    uint32_t own_first;
    enum ibv_mtu mtu;
};

/* Finds out whether the device makes RC queue pairs, or else UC, or what DHOLE_RDMA_QP asks for:
 * sets its shape.reliable. */
DHOLE__MUST_CHECK dhole_err dhole__qp_choose_kind(struct dhole__device *device);

/* Makes one that may be given receives. `qp` is closed in any case afterwards. */
DHOLE__MUST_CHECK dhole_err dhole__qp_open(struct dhole__qp *qp, struct dhole__device *device,
                                           const struct dhole__rdma_shape *shape, int peer);

/* Connects it: from here on the peer may send. *error is the errno. */
DHOLE__MUST_CHECK dhole_err dhole__qp_connect(struct dhole__qp *qp, const struct dhole__path *path,
                                              int *error);

/* A message whose bytes are not all in one slot: slot, block, and on UC the slot again. */
static inline int dhole__qp_pieces(const struct dhole__qp *qp)
{
    return qp->shape.reliable ? 2 : 3;
}

/* Whether it can send such a message. */
static inline bool dhole__qp_gathers(const struct dhole__qp *qp)
{
    int most = qp->device->limits.max_sge;

    return most <= 0 || most >= dhole__qp_pieces(qp);
}

void dhole__qp_close(struct dhole__qp *qp);

/* Makes the channel's descriptor readable with the next completion. What has completed before must
 * be looked for afterwards. */
DHOLE__MUST_CHECK dhole_err dhole__qp_request(struct dhole__qp *qp);

/* What a completion that failed means; `what` it completes. */
dhole_err dhole__qp_fail_completion(const struct dhole__qp *qp, const struct ibv_wc *wc,
                                    const char *what);

#endif
