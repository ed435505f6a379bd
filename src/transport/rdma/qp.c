#include "transport/rdma/qp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/rdma/events.h"

/* RC: a packet is sent again after 268 ms, seven times, so that a peer which does not answer is
 * lost after two to nine seconds. Not sooner, as an answer that is only late does harm: soft-RoCE
 * of Linux 6.1 that gets it while it sends again may send a packet too many. Nor later: where
 * packets overtake each other it waits for this often. Receives are always there; it waits 0.6 ms
 * if the peer says they are not. */
enum { ack_timeout = 16, retries = 7, not_ready_timer = 12, not_ready_retries = 6, hops = 64 };

static const char full_hint[] =
    "its queue pairs may all be in use (Apple's devices have 10): end other programs that use it, "
    "use fewer ranks, or a ring (JACCL_RING=1)";

static const char *kind_name(bool reliable)
{
    return reliable ? "RC" : "UC";
}

static dhole_err open_completions(struct dhole__qp *qp)
{
    const struct dhole__device *device = qp->device;
    const struct dhole__verbs *verbs = device->verbs;
    int entries = (int)(dhole__shape_sends(&qp->shape) + dhole__shape_receives(&qp->shape));

    errno = 0;
    if (verbs->create_comp_channel != NULL) {
        qp->channel = verbs->create_comp_channel(device->context);
        if (qp->channel == NULL)
            return dhole__device_fail(device, DHOLE_ERR_SYSTEM, errno, NULL,
                                      "creating a completion channel failed");
        if (fcntl(qp->channel->fd, F_SETFL, fcntl(qp->channel->fd, F_GETFL) | O_NONBLOCK) < 0)
            return dhole__fail_errno(DHOLE_ERR_SYSTEM, "fcntl on a completion channel");
    }
    errno = 0;
    qp->cq = verbs->create_cq(device->context, entries, NULL, qp->channel, 0);
    if (qp->cq == NULL)
        return dhole__device_fail(device, DHOLE_ERR_SYSTEM, errno, NULL,
                                  "creating a completion queue of %d entries failed", entries);
    return DHOLE_OK;
}

static struct ibv_qp_init_attr wanted(const struct dhole__qp *qp, uint32_t inline_max)
{
    return (struct ibv_qp_init_attr){
        .send_cq = qp->cq,
        .recv_cq = qp->cq,
        .qp_type = qp->shape.reliable ? IBV_QPT_RC : IBV_QPT_UC,
        .cap = {.max_send_wr = dhole__shape_sends(&qp->shape),
                .max_recv_wr = dhole__shape_receives(&qp->shape),
                .max_send_sge = dhole__qp_gathers(qp) ? (uint32_t)dhole__qp_pieces(qp) : 1,
                .max_recv_sge = 1,
                .max_inline_data = inline_max},
    };
}

/* Devices refuse to send more inline than they can, so it asks for less and less. */
static dhole_err create(struct dhole__qp *qp)
{
    const struct dhole__device *device = qp->device;
    uint32_t inline_max = 2 * dhole__inline_most;
    int error;

    do {
        struct ibv_qp_init_attr attr;
        inline_max = inline_max > 32 ? inline_max / 2 : 0;
        attr = wanted(qp, inline_max);
        errno = 0;
        qp->ibv = device->verbs->create_qp(device->pd, &attr);
        error = errno;
        if (qp->ibv != NULL) {
            qp->inline_max =
                attr.cap.max_inline_data < inline_max ? attr.cap.max_inline_data : inline_max;
            return DHOLE_OK;
        }
    } while (error == EINVAL && inline_max > 0);
    return dhole__device_fail(device, error == EBUSY ? DHOLE_ERR_LIMIT : DHOLE_ERR_CONFIG, error,
                              error == EBUSY || error == ENOMEM ? full_hint : NULL,
                              "creating a queue pair (%s) failed", kind_name(qp->shape.reliable));
}

static dhole_err modify(struct dhole__qp *qp, struct ibv_qp_attr *attr, int mask, const char *state,
                        int *error)
{
    int result;

    errno = 0;
    result = qp->device->verbs->modify_qp(qp->ibv, attr, mask);
    *error = result == 0 ? 0 : dhole__verbs_error(result);
    if (result == 0)
        return DHOLE_OK;
    return dhole__device_fail(qp->device, DHOLE_ERR_CONFIG, *error, NULL,
                              "bringing the queue pair to rank %d to %s failed", qp->peer, state);
}

dhole_err dhole__qp_open(struct dhole__qp *qp, struct dhole__device *device,
                         const struct dhole__rdma_shape *shape, int peer)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT, .port_num = device->port};
    dhole_err err;
    int error;

    *qp = (struct dhole__qp){.device = device, .peer = peer, .shape = *shape};
    err = open_completions(qp);
    if (!err)
        err = create(qp);
    if (!err)
        err =
            modify(qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS,
                   "INIT", &error);
    return err;
}

static struct ibv_ah_attr address_of(const struct dhole__qp *qp, const struct dhole__path *path)
{
    struct ibv_ah_attr ah = {.dlid = path->lid, .port_num = qp->device->port};

    if (path->own == NULL)
        return ah;
    ah.is_global = 1;
    ah.grh.hop_limit = hops;
    ah.grh.sgid_index = (uint8_t)path->own->index;
    memcpy(ah.grh.dgid.raw, path->peer->bytes, sizeof ah.grh.dgid.raw);
    return ah;
}

static dhole_err ready_to_receive(struct dhole__qp *qp, const struct dhole__path *path, int *error)
{
    int mask = IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN;
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTR,
                               .path_mtu = path->mtu,
                               .dest_qp_num = path->number,
                               .rq_psn = path->first,
                               .ah_attr = address_of(qp, path),
                               .max_dest_rd_atomic = 1,
                               .min_rnr_timer = not_ready_timer};

    if (qp->shape.reliable)
        mask |= IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
    return modify(qp, &attr, mask, "RTR", error);
}

static dhole_err ready_to_send(struct dhole__qp *qp, const struct dhole__path *path, int *error)
{
    int mask = IBV_QP_STATE | IBV_QP_SQ_PSN;
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTS,
                               .sq_psn = path->own_first,
                               .timeout = ack_timeout,
                               .retry_cnt = retries,
                               .rnr_retry = not_ready_retries,
                               .max_rd_atomic = 1};

    if (qp->shape.reliable)
        mask |= IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC;
    return modify(qp, &attr, mask, "RTS", error);
}

dhole_err dhole__qp_connect(struct dhole__qp *qp, const struct dhole__path *path, int *error)
{
    dhole_err err = ready_to_receive(qp, path, error);

    return err ? err : ready_to_send(qp, path, error);
}

void dhole__qp_close(struct dhole__qp *qp)
{
    const struct dhole__verbs *verbs = qp->device->verbs;

    if (qp->ibv != NULL)
        verbs->destroy_qp(qp->ibv);
    if (qp->events > 0)
        verbs->ack_cq_events(qp->cq, qp->events);
    if (qp->cq != NULL)
        verbs->destroy_cq(qp->cq);
    if (qp->channel != NULL)
        verbs->destroy_comp_channel(qp->channel);
    qp->ibv = NULL;
    qp->cq = NULL;
    qp->channel = NULL;
    qp->events = 0;
}

static dhole_err try_kind(struct dhole__device *device, bool reliable)
{
    struct dhole__qp qp;
    dhole_err err;

    device->shape.reliable = reliable;
    err = dhole__qp_open(&qp, device, &device->shape, -1);
    dhole__qp_close(&qp);
    return err;
}

dhole_err dhole__qp_choose_kind(struct dhole__device *device)
{
    const char *asked = getenv("DHOLE_RDMA_QP");
    char why[dhole__message_max];
    dhole_err err;

    if (asked == NULL || asked[0] == '\0') {
        if (try_kind(device, true) == DHOLE_OK)
            return DHOLE_OK;
        dhole__message_save(why);
        err = try_kind(device, false);
        return err ? dhole__fail_in(err, "%s", why) : DHOLE_OK;
    }
    if (strcmp(asked, "rc") != 0 && strcmp(asked, "uc") != 0)
        return dhole__fail(DHOLE_ERR_CONFIG, "DHOLE_RDMA_QP=\"%s\": expected rc or uc", asked);
    err = try_kind(device, strcmp(asked, "rc") == 0);
    return err ? dhole__fail_in(err, "DHOLE_RDMA_QP=%s", asked) : DHOLE_OK;
}

dhole_err dhole__qp_request(struct dhole__qp *qp)
{
    const struct dhole__verbs *verbs = qp->device->verbs;
    struct ibv_cq *cq;
    void *context;
    int result;

    while (verbs->get_cq_event(qp->channel, &cq, &context) == 0)
        qp->events++;
    result = ibv_req_notify_cq(qp->cq, 0);
    if (result != 0)
        return dhole__device_fail(qp->device, DHOLE_ERR_SYSTEM, dhole__verbs_error(result), NULL,
                                  "asking to be woken by rank %d failed", qp->peer);
    return DHOLE_OK;
}

struct meaning {
    enum ibv_wc_status status;
    dhole_err err;
    const char *advice;
};

static const struct meaning meanings[] = {
    {IBV_WC_RETRY_EXC_ERR, DHOLE_ERR_PEER_LOST,
     "the peer does not answer: check that it runs, its cable and its link"},
    {IBV_WC_RNR_RETRY_EXC_ERR, DHOLE_ERR_PEER_LOST, "the peer takes nothing: check that it runs"},
    {IBV_WC_WR_FLUSH_ERR, DHOLE_ERR_PEER_LOST, "the queue pair had failed or was shut down"},
    {IBV_WC_REM_ACCESS_ERR, DHOLE_ERR_PEER_LOST, "the peer refused it: look at its log"},
    {IBV_WC_REM_INV_REQ_ERR, DHOLE_ERR_PEER_LOST, "the peer refused it: look at its log"},
    {IBV_WC_REM_OP_ERR, DHOLE_ERR_PEER_LOST, "the peer's device failed: look at its log"},
    {IBV_WC_REM_ABORT_ERR, DHOLE_ERR_PEER_LOST, "the peer's device failed: look at its log"},
};

dhole_err dhole__qp_fail_completion(const struct dhole__qp *qp, const struct ibv_wc *wc,
                                    const char *what)
{
    const struct dhole__device *device = qp->device;
    const char *status = "unknown status";
    struct meaning meaning = {wc->status, DHOLE_ERR_SYSTEM,
                              "look at the system's log (dmesg) and try another device or port"};
    dhole_err err = dhole__events_look(qp->device);

    if (err) /* which says why */
        return err;
    if (device->verbs->wc_status_str != NULL)
        status = device->verbs->wc_status_str(wc->status);
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++)
        if (meanings[i].status == wc->status)
            meaning = meanings[i];
    return dhole__fail(meaning.err,
                       "RDMA device %s port %u: the %s rank %d failed: %s (status %d, vendor's "
                       "0x%x); %s",
                       device->name, device->port, what, qp->peer, status, (int)wc->status,
                       wc->vendor_err, meaning.advice);
}
