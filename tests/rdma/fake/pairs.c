/* Queue pairs: how they are made and brought up, and what is posted to them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fabric.h"

#define EXPORT __attribute__((visibility("default")))

struct pair *pairs;
static uint32_t last_number = 0x10;

static void *no(int error)
{
    pthread_mutex_unlock(&fabric);
    errno = error;
    return NULL;
}

static int refusal(const struct device *device, const struct ibv_qp_init_attr *init)
{
    const struct settings *settings = &device->settings;
    const struct ibv_qp_cap *cap = &init->cap;
    bool rc = init->qp_type == IBV_QPT_RC, uc = init->qp_type == IBV_QPT_UC;

    if ((rc && settings->qp == UC) || (uc && settings->qp == RC) || (!rc && !uc))
        return settings->qp_errno;
    if (device->counts.queue_pairs >= settings->qp_max)
        return EBUSY;
    if (init->send_cq == NULL || init->recv_cq == NULL || init->srq != NULL)
        return EINVAL;
    if ((int)cap->max_send_wr > settings->wr_max || (int)cap->max_recv_wr > settings->wr_max ||
        (int)cap->max_send_sge > settings->sge_max || (int)cap->max_recv_sge > settings->sge_max ||
        cap->max_send_sge > sge_room || cap->max_recv_sge > sge_room ||
        (int)cap->max_inline_data > settings->inline_max || cap->max_inline_data > inline_room)
        return EINVAL;
    return 0;
}

static struct pair *make(struct ibv_pd *pd, const struct ibv_qp_init_attr *init)
{
    struct pair *pair = calloc(1, sizeof *pair);

    last_number++;
    pair->device = device_of(pd->context);
    pair->call = -1;
    pair->init = *init;
    pair->sends = calloc(init->cap.max_send_wr + 1, sizeof *pair->sends);
    pair->recvs = calloc(init->cap.max_recv_wr + 1, sizeof *pair->recvs);
    pair->qp = (struct ibv_qp){.context = pd->context,
                               .qp_context = init->qp_context,
                               .pd = pd,
                               .send_cq = init->send_cq,
                               .recv_cq = init->recv_cq,
                               .handle = last_number,
                               .qp_num = last_number,
                               .state = IBV_QPS_RESET,
                               .qp_type = init->qp_type};
    return pair;
}

static void enter(struct pair *pair)
{
    struct fake_counts *counts = &pair->device->counts;

    pair->next = pairs;
    pairs = pair;
    ((struct queue *)pair->qp.send_cq)->pairs++;
    ((struct queue *)pair->qp.recv_cq)->pairs++;
    if (++counts->queue_pairs > counts->queue_pairs_most)
        counts->queue_pairs_most = counts->queue_pairs;
    count_live(pair->device, 1);
}

EXPORT struct ibv_qp *ibv_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *init)
{
    struct pair *pair;
    int error;

    pthread_mutex_lock(&fabric);
    error = planned("ibv_create_qp");
    if (error == 0)
        error = refusal(device_of(pd->context), init);
    if (error != 0)
        return no(error);
    pair = make(pd, init);
    enter(pair);
    pthread_mutex_unlock(&fabric);
    return &pair->qp;
}

EXPORT int ibv_destroy_qp(struct ibv_qp *qp)
{
    struct pair *pair = (struct pair *)qp, **link = &pairs;

    pthread_mutex_lock(&fabric);
    while (*link != pair)
        link = &(*link)->next;
    *link = pair->next;
    forget_completions(qp->send_cq, pair);
    forget_completions(qp->recv_cq, pair);
    ((struct queue *)qp->send_cq)->pairs--;
    ((struct queue *)qp->recv_cq)->pairs--;
    pair->device->counts.queue_pairs--;
    count_live(pair->device, -1);
    abroad_hang_up(pair);
    deliver(); /* who still sends to it learns that it is gone */
    pthread_mutex_unlock(&fabric);
    free(pair->sends);
    free(pair->recvs);
    free(pair);
    return 0;
}

/* What a step of the state machine needs and what else it allows, as the kernel has it. */
struct step {
    enum ibv_qp_state from, to;
    enum ibv_qp_type type;
    int needs, allows;
};

enum {
    rtr_needs = IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN,
    rtr_allows = IBV_QP_ALT_PATH | IBV_QP_ACCESS_FLAGS | IBV_QP_PKEY_INDEX,
    rts_allows = IBV_QP_CUR_STATE | IBV_QP_ALT_PATH | IBV_QP_ACCESS_FLAGS | IBV_QP_PATH_MIG_STATE,
    init_needs = IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS,
};

static const struct step steps[] = {
    {IBV_QPS_RESET, IBV_QPS_INIT, IBV_QPT_RC, init_needs, 0},
    {IBV_QPS_RESET, IBV_QPS_INIT, IBV_QPT_UC, init_needs, 0},
    {IBV_QPS_INIT, IBV_QPS_INIT, IBV_QPT_RC, 0, init_needs},
    {IBV_QPS_INIT, IBV_QPS_INIT, IBV_QPT_UC, 0, init_needs},
    {IBV_QPS_INIT, IBV_QPS_RTR, IBV_QPT_RC,
     rtr_needs | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER, rtr_allows},
    {IBV_QPS_INIT, IBV_QPS_RTR, IBV_QPT_UC, rtr_needs, rtr_allows},
    {IBV_QPS_RTR, IBV_QPS_RTS, IBV_QPT_RC,
     IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC,
     rts_allows | IBV_QP_MIN_RNR_TIMER},
    {IBV_QPS_RTR, IBV_QPS_RTS, IBV_QPT_UC, IBV_QP_SQ_PSN, rts_allows},
};

static bool allowed(const struct pair *pair, enum ibv_qp_state to, int mask)
{
    mask &= ~IBV_QP_STATE;
    if (to == IBV_QPS_ERR || to == IBV_QPS_RESET)
        return mask == 0;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        const struct step *step = &steps[i];
        if (step->from == pair->qp.state && step->to == to && step->type == pair->qp.qp_type)
            return (step->needs & ~mask) == 0 && (mask & ~(step->needs | step->allows)) == 0;
    }
    return false;
}

/* What the driver says to the peer's address. */
static int check_address(struct pair *pair, const struct ibv_qp_attr *attr)
{
    const struct settings *settings = &pair->device->settings;
    const struct ibv_global_route *route = &attr->ah_attr.grh;
    struct gid own = gid_at(pair->device, route->sgid_index);
    const struct device *peer = device_with(&route->dgid);

    if (!attr->ah_attr.is_global || attr->ah_attr.port_num != 1)
        return EINVAL;
    if (settings->gid_errno != 0 && settings->gid_at == route->sgid_index)
        return settings->gid_errno;
    if (!gids_alike(&own.gid, &route->dgid))
        return EINVAL;
    if (128 << attr->path_mtu > settings->mtu)
        return EINVAL;
    if (peer == NULL && abroad_call(pair, &route->dgid))
        return 0;
    if (peer == NULL || peer->settings.net != settings->net)
        return settings->unreachable;
    return 0;
}

static void keep(struct pair *pair, const struct ibv_qp_attr *attr, int mask)
{
    struct ibv_qp_attr *own = &pair->attr;

    if (mask & IBV_QP_AV)
        own->ah_attr = attr->ah_attr;
    if (mask & IBV_QP_PATH_MTU)
        own->path_mtu = attr->path_mtu;
    if (mask & IBV_QP_DEST_QPN)
        own->dest_qp_num = attr->dest_qp_num;
    if (mask & IBV_QP_RQ_PSN)
        own->rq_psn = attr->rq_psn & 0xffffff;
    if (mask & IBV_QP_SQ_PSN)
        own->sq_psn = attr->sq_psn & 0xffffff;
    if (mask & IBV_QP_RNR_RETRY)
        own->rnr_retry = attr->rnr_retry;
    if (mask & IBV_QP_ACCESS_FLAGS)
        own->qp_access_flags = attr->qp_access_flags;
}

static void reset(struct pair *pair)
{
    forget_completions(pair->qp.send_cq, pair);
    forget_completions(pair->qp.recv_cq, pair);
    pair->send_count = pair->send_places = pair->unsignaled = 0;
    pair->recv_count = pair->recv_places = 0;
    pair->filled = 0;
}

static int modify(struct pair *pair, const struct ibv_qp_attr *attr, int mask)
{
    enum ibv_qp_state to = mask & IBV_QP_STATE ? attr->qp_state : pair->qp.state;
    int error = 0;

    if (!allowed(pair, to, mask) || ((mask & IBV_QP_PORT) && attr->port_num != 1))
        return EINVAL;
    if (mask & IBV_QP_AV)
        error = check_address(pair, attr);
    if (error != 0)
        return error;
    keep(pair, attr, mask);
    if (to == IBV_QPS_RESET)
        reset(pair);
    pair->qp.state = to;
    if (to == IBV_QPS_ERR)
        flush(pair);
    deliver();
    abroad_look();
    return 0;
}

EXPORT int ibv_modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
    int error;

    pthread_mutex_lock(&fabric);
    error = planned("ibv_modify_qp");
    if (error == 0)
        error = modify((struct pair *)qp, attr, mask);
    pthread_mutex_unlock(&fabric);
    return error;
}

EXPORT int ibv_query_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask,
                        struct ibv_qp_init_attr *init)
{
    const struct pair *pair = (struct pair *)qp;

    (void)mask;
    pthread_mutex_lock(&fabric);
    *attr = pair->attr;
    attr->qp_state = attr->cur_qp_state = qp->state;
    attr->cap = pair->init.cap;
    *init = pair->init;
    pthread_mutex_unlock(&fabric);
    return 0;
}

static size_t total(const struct ibv_sge *sge, int n)
{
    size_t size = 0;

    for (int i = 0; i < n; i++)
        size += sge[i].length;
    return size;
}

static int check_send(const struct pair *pair, const struct ibv_send_wr *wr)
{
    size_t size = total(wr->sg_list, wr->num_sge);

    if (wr->num_sge < 0 || wr->num_sge > (int)pair->init.cap.max_send_sge)
        return EINVAL;
    if (wr->opcode != IBV_WR_SEND && wr->opcode != IBV_WR_SEND_WITH_IMM)
        return EINVAL;
    if ((wr->send_flags & IBV_SEND_INLINE) && size > pair->init.cap.max_inline_data)
        return EINVAL;
    if (size > (size_t)pair->device->settings.msg_refuse)
        return EINVAL;
    return pair->send_places == (int)pair->init.cap.max_send_wr ? ENOMEM : 0;
}

static void queue_send(struct pair *pair, const struct ibv_send_wr *wr)
{
    int size = (int)pair->init.cap.max_send_wr;
    struct send *send = &pair->sends[(pair->send_first + pair->send_count++) % size];
    uint8_t *to = send->bytes;

    send->wr = *wr;
    send->waited = false;
    for (int i = 0; i < wr->num_sge; i++) {
        send->sge[i] = wr->sg_list[i];
        if (wr->send_flags & IBV_SEND_INLINE) {
            memcpy(to, (const void *)(uintptr_t)wr->sg_list[i].addr, wr->sg_list[i].length);
            to += wr->sg_list[i].length;
        }
    }
    pair->send_places++;
    pair->device->counts.sent++;
}

int do_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
    struct pair *pair = (struct pair *)qp;
    int error = 0;

    pthread_mutex_lock(&fabric);
    for (; wr != NULL; wr = wr->next) {
        error = planned("ibv_post_send");
        if (error == 0 && qp->state != IBV_QPS_RTS && qp->state != IBV_QPS_ERR)
            error = EINVAL;
        if (error == 0)
            error = check_send(pair, wr);
        if (error != 0)
            break;
        queue_send(pair, wr);
    }
    if (qp->state == IBV_QPS_ERR)
        flush(pair);
    *bad = wr;
    deliver();
    pthread_mutex_unlock(&fabric);
    return error;
}

static void queue_recv(struct pair *pair, const struct ibv_recv_wr *wr)
{
    int size = (int)pair->init.cap.max_recv_wr;
    struct recv *recv = &pair->recvs[(pair->recv_first + pair->recv_count++) % size];

    recv->id = wr->wr_id;
    recv->sges = wr->num_sge;
    for (int i = 0; i < wr->num_sge; i++)
        recv->sge[i] = wr->sg_list[i];
    pair->recv_places++;
}

int do_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
    struct pair *pair = (struct pair *)qp;
    int error = 0;

    pthread_mutex_lock(&fabric);
    for (; wr != NULL; wr = wr->next) {
        error = planned("ibv_post_recv");
        if (error == 0 && (qp->state == IBV_QPS_RESET || wr->num_sge < 0 ||
                           wr->num_sge > (int)pair->init.cap.max_recv_sge))
            error = EINVAL;
        if (error == 0 && pair->recv_places == (int)pair->init.cap.max_recv_wr)
            error = ENOMEM;
        if (error != 0)
            break;
        queue_recv(pair, wr);
    }
    if (qp->state == IBV_QPS_ERR)
        flush(pair);
    *bad = wr;
    deliver();
    abroad_look();
    pthread_mutex_unlock(&fabric);
    return error;
}
