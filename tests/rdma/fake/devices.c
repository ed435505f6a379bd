/* Devices, and all that is made on them but queue pairs. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fabric.h"

/* The header wraps these in macros. */
#undef ibv_get_device_list
#undef ibv_query_port
#undef ibv_reg_mr
#undef ibv_reg_mr_iova

#define EXPORT __attribute__((visibility("default")))

pthread_mutex_t fabric = PTHREAD_MUTEX_INITIALIZER;
struct region *regions;
static struct queue *queues;
static int lists;
static const char *first_misuse;
static char plan_verb[64];
static int plan_left, plan_error;
static uint32_t last_handle;

EXPORT const char *const fake_failing_verbs[] = {"ibv_get_device_list",
                                                 "ibv_open_device",
                                                 "ibv_query_device",
                                                 "ibv_query_port",
                                                 "ibv_query_gid",
                                                 "_ibv_query_gid_ex",
                                                 "_ibv_query_gid_table",
                                                 "ibv_alloc_pd",
                                                 "ibv_reg_mr",
                                                 "ibv_create_comp_channel",
                                                 "ibv_create_cq",
                                                 "ibv_create_qp",
                                                 "ibv_modify_qp",
                                                 "ibv_post_recv",
                                                 "ibv_post_send",
                                                 "ibv_poll_cq",
                                                 "ibv_req_notify_cq",
                                                 "ibv_get_cq_event",
                                                 NULL};

static void lock(void)
{
    pthread_mutex_lock(&fabric);
}

static void unlock(void)
{
    pthread_mutex_unlock(&fabric);
}

EXPORT void fake_fail(const char *verb, int nth, int error)
{
    lock();
    snprintf(plan_verb, sizeof plan_verb, "%s", verb);
    plan_left = nth;
    plan_error = error;
    unlock();
}

EXPORT bool fake_fail_pending(void)
{
    bool pending;

    lock();
    pending = plan_left > 0;
    unlock();
    return pending;
}

int planned(const char *verb)
{
    if (plan_left == 0 || strcmp(plan_verb, verb) != 0 || --plan_left > 0)
        return 0;
    return plan_error;
}

void misuse(const char *what)
{
    if (first_misuse == NULL)
        first_misuse = what;
}

EXPORT const char *fake_misuse(void)
{
    const char *what;

    lock();
    what = first_misuse;
    unlock();
    return what;
}

EXPORT int fake_live(void)
{
    int live;

    lock();
    live = lists;
    for (int i = 0; i < device_count; i++)
        live += devices[i].counts.live;
    unlock();
    return live;
}

static struct context *context_of(struct ibv_context *context)
{
    return (struct context *)(void *)verbs_get_ctx(context);
}

struct device *device_of(struct ibv_context *context)
{
    return context_of(context)->device;
}

void count_live(struct device *device, int more)
{
    device->counts.live += more;
}

/* With errno set and the lock released. */
static void *no(int error)
{
    unlock();
    errno = error;
    return NULL;
}

EXPORT struct ibv_device **ibv_get_device_list(int *n)
{
    struct ibv_device **list;
    int error;

    lock();
    devices_settle();
    if ((error = planned("ibv_get_device_list")) != 0)
        return no(error);
    list = calloc((size_t)device_count + 1, sizeof(struct ibv_device *));
    for (int i = 0; i < device_count; i++)
        list[i] = &devices[i].base;
    if (n != NULL)
        *n = device_count;
    lists++;
    unlock();
    return list;
}

EXPORT void ibv_free_device_list(struct ibv_device **list)
{
    lock();
    lists--;
    unlock();
    free(list);
}

EXPORT const char *ibv_get_device_name(struct ibv_device *device)
{
    return device->name;
}

static enum ibv_mtu mtu_word(int bytes)
{
    return bytes >= 4096   ? IBV_MTU_4096
           : bytes >= 2048 ? IBV_MTU_2048
           : bytes >= 1024 ? IBV_MTU_1024
           : bytes >= 512  ? IBV_MTU_512
                           : IBV_MTU_256;
}

static int query_port(struct ibv_context *context, uint8_t number, struct ibv_port_attr *out)
{
    const struct settings *settings = &device_of(context)->settings;
    int error;

    lock();
    error = planned("ibv_query_port");
    if (error == 0 && number != 1)
        error = EINVAL;
    if (error == 0) {
        out->state = (enum ibv_port_state)settings->port;
        out->max_mtu = IBV_MTU_4096;
        out->active_mtu = mtu_word(settings->mtu);
        out->gid_tbl_len = gid_table_length(device_of(context));
        out->max_msg_sz = (uint32_t)settings->msg_max;
        out->pkey_tbl_len = 1;
        out->active_width = 2;
        out->active_speed = 32;
        out->phys_state = settings->port == IBV_PORT_ACTIVE ? 5 : 3;
        out->link_layer = IBV_LINK_LAYER_ETHERNET;
    }
    unlock();
    return error;
}

static int query_port_sized(struct ibv_context *context, uint8_t number, struct ibv_port_attr *out,
                            size_t size)
{
    struct ibv_port_attr all = {.state = IBV_PORT_NOP};
    int error = query_port(context, number, &all);

    if (error == 0)
        memcpy(out, &all, size < sizeof all ? size : sizeof all);
    return error;
}

/* For who calls past the header: the part of the struct that has always been there. */
EXPORT int ibv_query_port(struct ibv_context *context, uint8_t number,
                          struct _compat_ibv_port_attr *out)
{
    return query_port_sized(context, number, (struct ibv_port_attr *)out,
                            offsetof(struct ibv_port_attr, port_cap_flags2));
}

EXPORT struct ibv_context *ibv_open_device(struct ibv_device *device)
{
    struct context *context;
    int error;

    lock();
    if ((error = planned("ibv_open_device")) != 0)
        return no(error);
    context = calloc(1, sizeof *context);
    context->device = (struct device *)device;
    context->verbs.sz = sizeof context->verbs;
    context->verbs.query_port = query_port_sized;
    context->verbs.context = (struct ibv_context){.device = device,
                                                  .cmd_fd = -1,
                                                  .num_comp_vectors = 1,
                                                  .abi_compat = __VERBS_ABI_IS_EXTENDED};
    context->verbs.context.ops.poll_cq = do_poll_cq;
    context->verbs.context.ops.req_notify_cq = do_req_notify_cq;
    context->verbs.context.ops.post_send = do_post_send;
    context->verbs.context.ops.post_recv = do_post_recv;
    if (!events_open(context)) {
        free(context);
        return no(errno);
    }
    pthread_mutex_init(&context->verbs.context.mutex, NULL);
    count_live(context->device, 1);
    abroad_open(context->device);
    background_start();
    unlock();
    return &context->verbs.context;
}

EXPORT int ibv_close_device(struct ibv_context *context)
{
    struct context *whole = context_of(context);

    lock();
    count_live(whole->device, -1);
    events_close(whole);
    abroad_close(whole->device);
    background_stop();
    unlock();
    pthread_mutex_destroy(&context->mutex);
    free(whole);
    return 0;
}

EXPORT int ibv_query_device(struct ibv_context *context, struct ibv_device_attr *out)
{
    const struct settings *settings = &device_of(context)->settings;
    int error;

    lock();
    error = planned("ibv_query_device");
    memset(out, 0, sizeof *out);
    strcpy(out->fw_ver, "fake");
    out->max_mr_size = UINT64_MAX;
    out->max_qp = settings->qp_told < 0 ? settings->qp_max : settings->qp_told;
    out->max_mr = settings->mr_told < 0 ? settings->mr_max : settings->mr_told;
    out->max_qp_wr = settings->wr_max;
    out->max_sge = settings->sge_max;
    out->max_cq = 1024;
    out->max_cqe = settings->cqe_max;
    out->max_pd = 256;
    out->max_qp_rd_atom = out->max_qp_init_rd_atom = 16;
    out->phys_port_cnt = 1;
    unlock();
    return error;
}

static int query_gid(struct ibv_context *context, const char *verb, uint32_t port, uint32_t index,
                     struct ibv_gid_entry *out)
{
    struct device *device = device_of(context);
    struct gid gid;
    int error;

    lock();
    error = planned(verb);
    if (error == 0 && (port != 1 || (int)index >= gid_table_length(device)))
        error = EINVAL;
    gid = gid_at(device, (int)index);
    unlock();
    *out = (struct ibv_gid_entry){.gid = gid.gid,
                                  .gid_index = index,
                                  .port_num = port,
                                  .gid_type = gid.type,
                                  .ndev_ifindex = (uint32_t)device->number + 1};
    return error;
}

static bool is_empty(const struct ibv_gid_entry *entry)
{
    static const uint8_t zeroes[16];

    return memcmp(entry->gid.raw, zeroes, 16) == 0;
}

EXPORT int ibv_query_gid(struct ibv_context *context, uint8_t port, int index, union ibv_gid *gid)
{
    struct ibv_gid_entry entry;
    int error = query_gid(context, "ibv_query_gid", port, (uint32_t)index, &entry);

    if (error != 0) {
        errno = error;
        return -1;
    }
    *gid = entry.gid;
    return 0;
}

EXPORT int _ibv_query_gid_ex(struct ibv_context *context, uint32_t port, uint32_t index,
                             struct ibv_gid_entry *out, uint32_t flags, size_t size)
{
    struct ibv_gid_entry entry;
    int error = query_gid(context, "_ibv_query_gid_ex", port, index, &entry);

    if (error == 0 && flags != 0)
        return EINVAL;
    if (error == 0 && is_empty(&entry))
        return ENODATA;
    if (error == 0)
        memcpy(out, &entry, size < sizeof entry ? size : sizeof entry);
    return error;
}

EXPORT ssize_t _ibv_query_gid_table(struct ibv_context *context, struct ibv_gid_entry *out,
                                    size_t max, uint32_t flags, size_t size)
{
    ssize_t n = 0;
    int error;

    lock();
    error = planned("_ibv_query_gid_table");
    unlock();
    if (error != 0 || flags != 0 || size != sizeof *out)
        return -(error != 0 ? error : EINVAL);
    for (uint32_t i = 0; i < gid_max; i++) {
        struct ibv_gid_entry entry;
        if (query_gid(context, "", 1, i, &entry) != 0 || is_empty(&entry))
            continue;
        if ((size_t)n == max)
            return -EINVAL;
        out[n++] = entry;
    }
    return n;
}

EXPORT struct ibv_pd *ibv_alloc_pd(struct ibv_context *context)
{
    struct device *device = device_of(context);
    struct ibv_pd *pd;
    int error;

    lock();
    if ((error = planned("ibv_alloc_pd")) != 0)
        return no(error);
    if (!device->settings.pd)
        return no(errno);
    pd = calloc(1, sizeof *pd);
    pd->context = context;
    pd->handle = ++last_handle;
    count_live(device, 1);
    unlock();
    return pd;
}

EXPORT int ibv_dealloc_pd(struct ibv_pd *pd)
{
    bool used = false;

    lock();
    for (struct region *r = regions; r != NULL; r = r->next)
        used |= r->mr.pd == pd;
    for (struct pair *p = pairs; p != NULL; p = p->next)
        used |= p->qp.pd == pd;
    if (used)
        misuse("ibv_dealloc_pd of one that has regions or queue pairs");
    else
        count_live(device_of(pd->context), -1);
    unlock();
    if (used)
        return EBUSY;
    free(pd);
    return 0;
}

EXPORT struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *memory, size_t size, int access)
{
    struct device *device = device_of(pd->context);
    struct fake_counts *counts = &device->counts;
    struct region *region;
    int error;

    lock();
    if ((error = planned("ibv_reg_mr")) != 0)
        return no(error);
    if (counts->regions >= device->settings.mr_max)
        return no(ENOMEM);
    if (size == 0 || ((access & (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)) != 0 &&
                      !(access & IBV_ACCESS_LOCAL_WRITE)))
        return no(EINVAL);
    region = calloc(1, sizeof *region);
    last_handle++;
    region->mr = (struct ibv_mr){.context = pd->context,
                                 .pd = pd,
                                 .addr = memory,
                                 .length = size,
                                 .handle = last_handle,
                                 .lkey = last_handle * 256 + 1,
                                 .rkey = last_handle * 256 + 2};
    region->access = access;
    region->next = regions;
    regions = region;
    counts->regions++;
    if (counts->regions > counts->regions_most)
        counts->regions_most = counts->regions;
    count_live(device, 1);
    unlock();
    return &region->mr;
}

EXPORT struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *memory, size_t size, uint64_t iova,
                                       unsigned int access)
{
    if (iova != (uintptr_t)memory) {
        errno = EOPNOTSUPP;
        return NULL;
    }
    return ibv_reg_mr(pd, memory, size, (int)access);
}

EXPORT int ibv_dereg_mr(struct ibv_mr *mr)
{
    struct region **link = &regions;

    lock();
    while (*link != NULL && &(*link)->mr != mr)
        link = &(*link)->next;
    if (*link == NULL)
        misuse("ibv_dereg_mr of what is no region");
    else
        *link = (*link)->next;
    device_of(mr->context)->counts.regions--;
    count_live(device_of(mr->context), -1);
    unlock();
    free(mr);
    return 0;
}

/* The writing end is kept in what the header calls refcnt. */
EXPORT struct ibv_comp_channel *ibv_create_comp_channel(struct ibv_context *context)
{
    struct ibv_comp_channel *channel;
    int fds[2], error;

    lock();
    if ((error = planned("ibv_create_comp_channel")) != 0)
        return no(error);
    if (pipe(fds) != 0)
        return no(errno);
    for (int i = 0; i < 2; i++)
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    channel = calloc(1, sizeof *channel);
    channel->context = context;
    channel->fd = fds[0];
    channel->refcnt = fds[1];
    count_live(device_of(context), 1);
    unlock();
    return channel;
}

EXPORT int ibv_destroy_comp_channel(struct ibv_comp_channel *channel)
{
    bool used = false;

    lock();
    for (struct queue *q = queues; q != NULL; q = q->next)
        used |= q->cq.channel == channel;
    if (used)
        misuse("ibv_destroy_comp_channel of one that has completion queues");
    else
        count_live(device_of(channel->context), -1);
    unlock();
    if (used)
        return EBUSY;
    close(channel->fd);
    close(channel->refcnt);
    free(channel);
    return 0;
}

EXPORT struct ibv_cq *ibv_create_cq(struct ibv_context *context, int size, void *cq_context,
                                    struct ibv_comp_channel *channel, int vector)
{
    struct device *device = device_of(context);
    struct queue *queue;
    int error;

    lock();
    if ((error = planned("ibv_create_cq")) != 0)
        return no(error);
    if (size < 1 || size > device->settings.cqe_max || vector != 0)
        return no(EINVAL);
    queue = calloc(1, sizeof *queue);
    queue->ring = calloc((size_t)size, sizeof *queue->ring);
    queue->cq = (struct ibv_cq){.context = context,
                                .channel = channel,
                                .cq_context = cq_context,
                                .handle = ++last_handle,
                                .cqe = size};
    queue->next = queues;
    queues = queue;
    count_live(device, 1);
    unlock();
    return &queue->cq;
}

EXPORT int ibv_destroy_cq(struct ibv_cq *cq)
{
    struct queue *queue = (struct queue *)cq, **link = &queues;
    bool used;

    lock();
    used = queue->pairs > 0;
    if (used)
        misuse("ibv_destroy_cq of one that has queue pairs");
    if (queue->events != queue->acked)
        misuse("ibv_destroy_cq while events are not acknowledged, which would wait for ever");
    if (!used) {
        while (*link != queue)
            link = &(*link)->next;
        *link = queue->next;
        count_live(device_of(cq->context), -1);
    }
    unlock();
    if (used)
        return EBUSY;
    free(queue->ring);
    free(queue);
    return 0;
}

/* Counts an event of a queue that is still there. */
static bool take_event(struct queue *queue)
{
    struct queue *known;

    lock();
    for (known = queues; known != NULL && known != queue; known = known->next)
        continue;
    if (known != NULL)
        known->events++;
    unlock();
    return known != NULL;
}

EXPORT int ibv_get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **context)
{
    struct queue *queue;
    int error;

    lock();
    error = planned("ibv_get_cq_event");
    unlock();
    if (error != 0) {
        errno = error;
        return -1;
    }
    do
        if (read(channel->fd, &queue, sizeof queue) != (ssize_t)sizeof queue)
            return -1;
    while (!take_event(queue));
    *cq = &queue->cq;
    *context = queue->cq.cq_context;
    return 0;
}

EXPORT void ibv_ack_cq_events(struct ibv_cq *cq, unsigned n)
{
    lock();
    ((struct queue *)cq)->acked += n;
    unlock();
}

void complete(struct ibv_cq *cq, const struct completion *completion, bool solicited)
{
    struct queue *queue = (struct queue *)cq;

    if (queue->count == cq->cqe) {
        queue->overrun = true;
        misuse("a completion queue has overrun");
        return;
    }
    queue->ring[(queue->first + queue->count++) % cq->cqe] = *completion;
    solicited |= completion->wc.status != IBV_WC_SUCCESS;
    if (queue->armed && (solicited || !queue->armed_solicited)) {
        queue->armed = false;
        if (cq->channel != NULL &&
            write(cq->channel->refcnt, &queue, sizeof queue) != (ssize_t)sizeof queue)
            misuse("a completion channel is full");
    }
}

void forget_completions(struct ibv_cq *cq, const struct pair *pair)
{
    struct queue *queue = (struct queue *)cq;
    int kept = 0;

    for (int i = 0; i < queue->count; i++) {
        struct completion *from = &queue->ring[(queue->first + i) % cq->cqe];
        if (from->pair != pair)
            queue->ring[(queue->first + kept++) % cq->cqe] = *from;
    }
    queue->count = kept;
}

static void take_completion(struct queue *queue, struct ibv_wc *out)
{
    const struct completion *completion = &queue->ring[queue->first];

    *out = completion->wc;
    if (completion->is_recv)
        completion->pair->recv_places--;
    else
        completion->pair->send_places -= completion->frees;
    queue->first = (queue->first + 1) % queue->cq.cqe;
    queue->count--;
}

int do_poll_cq(struct ibv_cq *cq, int n, struct ibv_wc *wc)
{
    struct queue *queue = (struct queue *)cq;
    int polled = 0, error;

    lock();
    error = planned("ibv_poll_cq");
    if (queue->overrun)
        error = EIO;
    while (error == 0 && polled < n && queue->count > 0)
        take_completion(queue, &wc[polled++]);
    unlock();
    return error != 0 ? -1 : polled;
}

int do_req_notify_cq(struct ibv_cq *cq, int solicited_only)
{
    struct queue *queue = (struct queue *)cq;
    int error;

    lock();
    error = planned("ibv_req_notify_cq");
    if (error == 0 && cq->channel != NULL) {
        queue->armed_solicited = solicited_only && (queue->armed_solicited || !queue->armed);
        queue->armed = true;
    }
    unlock();
    return error;
}

EXPORT const char *ibv_wc_status_str(enum ibv_wc_status status)
{
    static const char *const words[] = {
        [IBV_WC_SUCCESS] = "success",
        [IBV_WC_LOC_LEN_ERR] = "local length error",
        [IBV_WC_LOC_QP_OP_ERR] = "local QP operation error",
        [IBV_WC_LOC_PROT_ERR] = "local protection error",
        [IBV_WC_WR_FLUSH_ERR] = "Work Request Flushed Error",
        [IBV_WC_REM_INV_REQ_ERR] = "remote invalid request error",
        [IBV_WC_REM_ACCESS_ERR] = "remote access error",
        [IBV_WC_REM_OP_ERR] = "remote operation error",
        [IBV_WC_RETRY_EXC_ERR] = "transport retry counter exceeded",
        [IBV_WC_RNR_RETRY_EXC_ERR] = "RNR retry counter exceeded",
    };

    return (size_t)status < sizeof words / sizeof words[0] && words[status] != NULL ? words[status]
                                                                                    : "unknown";
}

EXPORT const char *ibv_port_state_str(enum ibv_port_state state)
{
    static const char *const words[] = {"PORT_NOP",   "PORT_DOWN",   "PORT_INIT",
                                        "PORT_ARMED", "PORT_ACTIVE", "PORT_ACTIVE_DEFER"};

    return (size_t)state < sizeof words / sizeof words[0] ? words[state] : "invalid state";
}

EXPORT int ibv_fork_init(void)
{
    return 0;
}
