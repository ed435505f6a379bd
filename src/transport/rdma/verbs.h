/* libibverbs, opened at run time, so that one build runs where there is none too. Data is moved
 * through the context's own table (ibv_post_send and the like are inline). */
#ifndef DHOLE_TRANSPORT_RDMA_VERBS_H
#define DHOLE_TRANSPORT_RDMA_VERBS_H

#include <infiniband/verbs.h>

#include "base/error.h"

/* The functions, as in libibverbs without "ibv_". Optional ones are NULL where the library has
 * them not. */
struct dhole__verbs {
    struct ibv_device **(*get_device_list)(int *count);
    void (*free_device_list)(struct ibv_device **list);
    const char *(*get_device_name)(struct ibv_device *device);
    struct ibv_context *(*open_device)(struct ibv_device *device);
    int (*close_device)(struct ibv_context *context);
    int (*query_device)(struct ibv_context *context, struct ibv_device_attr *attr);
    int (*query_port)(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attr);
    int (*query_gid)(struct ibv_context *context, uint8_t port, int index, union ibv_gid *gid);
    struct ibv_pd *(*alloc_pd)(struct ibv_context *context);
    int (*dealloc_pd)(struct ibv_pd *pd);
    struct ibv_mr *(*reg_mr)(struct ibv_pd *pd, void *addr, size_t length, int access);
    int (*dereg_mr)(struct ibv_mr *mr);
    struct ibv_cq *(*create_cq)(struct ibv_context *context, int entries, void *cq_context,
                                struct ibv_comp_channel *channel, int vector);
    int (*destroy_cq)(struct ibv_cq *cq);
    struct ibv_qp *(*create_qp)(struct ibv_pd *pd, struct ibv_qp_init_attr *attr);
    int (*modify_qp)(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask);
    int (*destroy_qp)(struct ibv_qp *qp);

    /* Optional. Without a channel a waiting rank naps instead of sleeping until it is woken. */
    struct ibv_comp_channel *(*create_comp_channel)(struct ibv_context *context);
    int (*destroy_comp_channel)(struct ibv_comp_channel *channel);
    int (*get_cq_event)(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **cq_context);
    void (*ack_cq_events)(struct ibv_cq *cq, unsigned count);

    /* Optional. Without them it is not heard at once that a port went down. */
    int (*get_async_event)(struct ibv_context *context, struct ibv_async_event *event);
    void (*ack_async_event)(struct ibv_async_event *event);

    /* Optional. Without it a GID's type is not known. */
    ssize_t (*query_gid_table)(struct ibv_context *context, struct ibv_gid_entry *entries,
                               size_t max, uint32_t flags, size_t entry_size);
    /* Optional. */
    const char *(*wc_status_str)(enum ibv_wc_status status);
};

/* The library that DHOLE_VERBS_LIBRARY names, or else the system's; it is opened once and stays so.
 * Any thread. DHOLE_ERR_UNSUPPORTED says what is missing and what to install. */
DHOLE__MUST_CHECK dhole_err dhole__verbs_get(const struct dhole__verbs **out);

#endif
