/* Messages on their way. What a device does with a message that finds no receive, no peer or no
 * right to the memory depends on the kind of queue pair: RC waits or fails on both sides, UC says
 * that all is well and loses it. A wait for the peer has no end here, as no test could tell it from
 * a long one; a peer that is gone is noticed at once. */
#include <stdlib.h>
#include <string.h>

#include "fabric.h"

enum { rnr_for_ever = 7 };

static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static pthread_t thread;
static bool background, running;
static unsigned generation; /* of the thread: an older one is to end */
static int users;
static unsigned long long seed;

/* splitmix64 */
static unsigned long long next_random(unsigned long long *state)
{
    unsigned long long z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static size_t total(const struct ibv_sge *sge, int n)
{
    size_t size = 0;

    for (int i = 0; i < n; i++)
        size += sge[i].length;
    return size;
}

/* Whether a region of this domain holds it, with that right. */
static bool may_touch(const struct pair *pair, const struct ibv_sge *sge, int access)
{
    for (const struct region *r = regions; r != NULL; r = r->next) {
        uint64_t start = (uintptr_t)r->mr.addr;
        if (r->mr.lkey == sge->lkey && r->mr.pd == pair->qp.pd && (r->access & access) == access &&
            sge->addr >= start && sge->length <= r->mr.length &&
            sge->addr - start <= r->mr.length - sge->length)
            return true;
    }
    return false;
}

static bool may_touch_all(const struct pair *pair, const struct ibv_sge *sge, int n, int access)
{
    for (int i = 0; i < n; i++)
        if (sge[i].length > 0 && !may_touch(pair, &sge[i], access))
            return false;
    return true;
}

static bool is_now(int *countdown)
{
    return *countdown > 0 && --*countdown == 0;
}

/* The status of this completion, if it was planned to fail. */
static enum ibv_wc_status spoil(struct pair *pair, int *countdown, enum ibv_wc_status status)
{
    if (status == IBV_WC_SUCCESS && is_now(countdown))
        return (enum ibv_wc_status)pair->device->settings.fail_status;
    return status;
}

static void complete_send(struct pair *pair, const struct send *send, enum ibv_wc_status status)
{
    struct completion completion = {
        .pair = pair,
        .frees = pair->unsignaled + 1,
        .wc = {.wr_id = send->wr.wr_id,
               .status = status,
               .opcode = status == IBV_WC_SUCCESS ? IBV_WC_SEND : (enum ibv_wc_opcode)0xdead,
               .qp_num = pair->qp.qp_num}};

    if (status == IBV_WC_SUCCESS && !pair->init.sq_sig_all &&
        !(send->wr.send_flags & IBV_SEND_SIGNALED)) {
        pair->unsignaled++;
        return;
    }
    pair->unsignaled = 0;
    complete(pair->qp.send_cq, &completion, false);
}

static void complete_recv(struct pair *pair, const struct recv *recv, enum ibv_wc_status status,
                          size_t size, const struct ibv_send_wr *wr)
{
    struct completion completion = {
        .pair = pair,
        .is_recv = true,
        .wc = {.wr_id = recv->id, .status = status, .qp_num = pair->qp.qp_num}};

    if (status == IBV_WC_SUCCESS) {
        completion.wc.opcode = IBV_WC_RECV;
        completion.wc.byte_len = (uint32_t)size;
        completion.wc.src_qp = pair->attr.dest_qp_num;
        if (wr->opcode == IBV_WR_SEND_WITH_IMM) {
            completion.wc.wc_flags = IBV_WC_WITH_IMM;
            completion.wc.imm_data = wr->imm_data;
        }
    } else {
        /* The manual says that only these and the id count then. */
        completion.wc.opcode = (enum ibv_wc_opcode)0xdead;
        completion.wc.byte_len = 0xdeadbeef;
    }
    complete(pair->qp.recv_cq, &completion, wr != NULL && (wr->send_flags & IBV_SEND_SOLICITED));
}

static struct recv take_recv(struct pair *pair)
{
    struct recv recv = pair->recvs[pair->recv_first];

    pair->recv_first = (pair->recv_first + 1) % (int)pair->init.cap.max_recv_wr;
    pair->recv_count--;
    return recv;
}

static struct send *first_send(struct pair *pair)
{
    return &pair->sends[pair->send_first];
}

static void drop_send(struct pair *pair)
{
    pair->send_first = (pair->send_first + 1) % (int)pair->init.cap.max_send_wr;
    pair->send_count--;
}

void flush(struct pair *pair)
{
    while (pair->send_count > 0) {
        complete_send(pair, first_send(pair), IBV_WC_WR_FLUSH_ERR);
        drop_send(pair);
    }
    while (pair->recv_count > 0) {
        struct recv recv = take_recv(pair);
        complete_recv(pair, &recv, IBV_WC_WR_FLUSH_ERR, 0, NULL);
    }
}

void fail_pair(struct pair *pair)
{
    pair->qp.state = IBV_QPS_ERR;
    flush(pair);
}

static struct gid own_gid(const struct pair *pair)
{
    return gid_at(pair->device, pair->attr.ah_attr.grh.sgid_index);
}

/* Whether what is sent to this pair comes from that one, by an address that it has. */
static bool hears(const struct pair *pair, const struct pair *from)
{
    struct gid here = own_gid(pair), there = own_gid(from);
    const union ibv_gid *named = &from->attr.ah_attr.grh.dgid;

    return pair->qp.qp_type == from->qp.qp_type && here.type == there.type &&
           device_with(named) == pair->device && pair->attr.dest_qp_num == from->qp.qp_num &&
           (pair->qp.qp_type == IBV_QPT_UC || pair->attr.rq_psn == from->attr.sq_psn);
}

static bool passes(const struct device *from, const struct device *to)
{
    return from->settings.net == to->settings.net && to->settings.seen &&
           !from->settings.unplugged && !to->settings.unplugged;
}

static struct pair *peer_of(const struct pair *pair)
{
    struct pair *peer = pairs;

    while (peer != NULL && peer->qp.qp_num != pair->attr.dest_qp_num)
        peer = peer->next;
    return peer != NULL && passes(pair->device, peer->device) ? peer : NULL;
}

/* How a message fares on the way. */
enum fate { ARRIVES, WAITS, LOST, CUT, TWICE, UNANSWERED };

static bool is_dropped(struct device *device)
{
    struct settings *settings = &device->settings;
    bool drop = is_now(&settings->drop);

    drop |= next_random(&device->random) % 1000 < (unsigned long long)settings->drop_rate;
    device->counts.dropped += drop;
    return drop;
}

static enum fate fate_of(struct pair *pair, const struct pair *peer)
{
    bool rc = pair->qp.qp_type == IBV_QPT_RC;

    if (peer == NULL || peer->qp.state == IBV_QPS_ERR)
        return !rc ? LOST : pair->device->settings.quiet ? WAITS : UNANSWERED;
    if (peer->qp.state != IBV_QPS_RTR && peer->qp.state != IBV_QPS_RTS)
        return rc ? WAITS : LOST;
    if (!hears(peer, pair))
        return rc ? UNANSWERED : LOST;
    if (!rc && is_dropped(pair->device))
        return LOST;
    if (!rc && is_now(&pair->device->settings.cut))
        return CUT;
    return !rc && is_now(&pair->device->settings.twice) ? TWICE : ARRIVES;
}

static void copy_to(const struct ibv_sge **to, size_t *at, const uint8_t *from, size_t size)
{
    while (size > 0) {
        size_t room = (*to)->length - *at, n = size < room ? size : room;
        memcpy((void *)(uintptr_t)((*to)->addr + *at), from, n);
        from += n;
        size -= n;
        *at += n;
        if (*at == (*to)->length) {
            ++*to;
            *at = 0;
        }
    }
}

/* At most `most` bytes of it, behind the first `at`. */
static void copy(const struct send *send, const struct recv *recv, size_t at, size_t most)
{
    const struct ibv_sge *to = recv->sge;
    bool is_inline = (send->wr.send_flags & IBV_SEND_INLINE) != 0;
    const uint8_t *next = send->bytes;

    for (; to < recv->sge + recv->sges && at >= to->length; to++)
        at -= to->length;
    for (int i = 0; i < send->wr.num_sge && most > 0; i++) {
        size_t size = send->sge[i].length < most ? send->sge[i].length : most;
        const uint8_t *from = (const uint8_t *)(uintptr_t)send->sge[i].addr;
        copy_to(&to, &at, is_inline ? next : from, size);
        next += size;
        most -= size;
    }
}

/* The rest is lost, and the receive stays the next one's. */
static void cut(struct device *device, struct pair *peer, const struct send *send)
{
    size_t most = (size_t)device->settings.cut_after, size = total(send->sge, send->wr.num_sge);
    const struct recv *recv = &peer->recvs[peer->recv_first];

    if (size < most)
        most = size;
    if (peer->recv_count == 0 || peer->filled + most > total(recv->sge, recv->sges))
        return;
    device->counts.dropped++;
    copy(send, recv, peer->filled, most);
    peer->filled += most;
}

enum ibv_wc_status place(struct pair *peer, const struct send *send)
{
    struct recv recv = take_recv(peer);
    size_t filled = peer->filled, size = filled + total(send->sge, send->wr.num_sge);
    enum ibv_wc_status status = IBV_WC_SUCCESS, reply = IBV_WC_SUCCESS;

    peer->filled = 0;
    if (size > total(recv.sge, recv.sges)) {
        status = IBV_WC_LOC_LEN_ERR;
        reply = IBV_WC_REM_INV_REQ_ERR;
    } else if (!may_touch_all(peer, recv.sge, recv.sges, IBV_ACCESS_LOCAL_WRITE)) {
        status = IBV_WC_LOC_PROT_ERR;
        reply = IBV_WC_REM_OP_ERR;
    }
    status = spoil(peer, &peer->device->settings.fail_recv, status);
    if (status == IBV_WC_SUCCESS)
        copy(send, &recv, filled, SIZE_MAX);
    else if (reply == IBV_WC_SUCCESS)
        reply = IBV_WC_REM_OP_ERR;
    complete_recv(peer, &recv, status, size, &send->wr);
    if (status != IBV_WC_SUCCESS)
        fail_pair(peer);
    return peer->qp.qp_type == IBV_QPT_RC ? reply : IBV_WC_SUCCESS;
}

/* False: it must wait. */
static bool arrive(struct pair *pair, struct pair *peer, struct send *send,
                   enum ibv_wc_status *status)
{
    bool rc = pair->qp.qp_type == IBV_QPT_RC;

    if (peer->recv_count > 0) {
        *status = place(peer, send);
        return true;
    }
    peer->device->counts.unmatched += !send->waited;
    send->waited = true;
    if (rc && pair->attr.rnr_retry == rnr_for_ever)
        return false;
    *status = rc ? IBV_WC_RNR_RETRY_EXC_ERR : IBV_WC_SUCCESS;
    return true;
}

/* What is wrong with it on this side. */
static enum ibv_wc_status check_local(const struct pair *pair, const struct send *send)
{
    if (total(send->sge, send->wr.num_sge) > (size_t)pair->device->settings.msg_max)
        return IBV_WC_LOC_LEN_ERR;
    if (!(send->wr.send_flags & IBV_SEND_INLINE) &&
        !may_touch_all(pair, send->sge, send->wr.num_sge, 0))
        return IBV_WC_LOC_PROT_ERR;
    return IBV_WC_SUCCESS;
}

/* False: it must wait. */
static bool send_abroad(struct pair *pair, const struct send *send, enum ibv_wc_status *status)
{
    bool rc = pair->qp.qp_type == IBV_QPT_RC;

    if (!rc && is_dropped(pair->device))
        return true;
    switch (abroad_send(pair, send)) {
    case NOT_YET: return false;
    case GONE: *status = rc ? IBV_WC_RETRY_EXC_ERR : IBV_WC_SUCCESS; break;
    case SENT: break;
    }
    return true;
}

/* False: the first message must wait. */
static bool move_one(struct pair *pair)
{
    struct send *send = first_send(pair);
    struct pair *peer = peer_of(pair);
    enum ibv_wc_status status = check_local(pair, send);

    if (status == IBV_WC_SUCCESS && pair->call >= 0) {
        if (!send_abroad(pair, send, &status))
            return false;
    } else if (status == IBV_WC_SUCCESS) {
        switch (fate_of(pair, peer)) {
        case TWICE: arrive(pair, peer, send, &status); /* fallthrough */
        case ARRIVES:
            if (!arrive(pair, peer, send, &status))
                return false;
            break;
        case WAITS: return false;
        case LOST: break;
        case CUT: cut(pair->device, peer, send); break;
        case UNANSWERED: status = IBV_WC_RETRY_EXC_ERR; break;
        }
    }
    status = spoil(pair, &pair->device->settings.fail_send, status);
    complete_send(pair, send, status);
    drop_send(pair);
    if (status != IBV_WC_SUCCESS)
        fail_pair(pair);
    return true;
}

static void move_all(void)
{
    bool moved;

    do {
        moved = false;
        for (struct pair *pair = pairs; pair != NULL; pair = pair->next)
            while (pair->qp.state == IBV_QPS_RTS && pair->send_count > 0 && move_one(pair))
                moved = true;
    } while (moved);
}

/* Moves one message, of a queue pair that is chosen by chance; false: there is none that can. */
static bool move_any(void)
{
    int n = 0, skip;

    for (struct pair *pair = pairs; pair != NULL; pair = pair->next)
        n++;
    skip = n > 0 ? (int)(next_random(&seed) % (unsigned)n) : 0;
    for (int turn = 0; turn < 2; turn++)
        for (struct pair *pair = pairs; pair != NULL; pair = pair->next)
            if ((turn > 0 || skip-- <= 0) && pair->qp.state == IBV_QPS_RTS &&
                pair->send_count > 0 && move_one(pair))
                return true;
    return false;
}

static void *run(void *arg)
{
    unsigned own = (unsigned)(uintptr_t)arg;

    pthread_mutex_lock(&fabric);
    while (own == generation) {
        if (!move_any())
            pthread_cond_wait(&work, &fabric);
        pthread_mutex_unlock(&fabric);
        pthread_mutex_lock(&fabric);
    }
    pthread_mutex_unlock(&fabric);
    return NULL;
}

void deliver(void)
{
    if (running)
        pthread_cond_broadcast(&work);
    else
        move_all();
}

void background_start(void)
{
    users++;
    if (!background || running)
        return;
    running = pthread_create(&thread, NULL, run, (void *)(uintptr_t)generation) == 0;
}

void background_stop(void)
{
    pthread_t ending = thread;

    if (--users > 0 || !running)
        return;
    generation++;
    running = false;
    pthread_cond_broadcast(&work);
    pthread_mutex_unlock(&fabric);
    pthread_join(ending, NULL);
    pthread_mutex_lock(&fabric);
}

__attribute__((visibility("default"))) void fake_in_background(bool yes)
{
    pthread_mutex_lock(&fabric);
    background = yes;
    pthread_mutex_unlock(&fabric);
}
