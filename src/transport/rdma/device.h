/* An opened device: one port, one protection domain, one arena, one registered region over it,
 * however many peers are reached through it. */
#ifndef DHOLE_TRANSPORT_RDMA_DEVICE_H
#define DHOLE_TRANSPORT_RDMA_DEVICE_H

#include <stdbool.h>

#include "transport/rdma/gid.h"

enum { dhole__device_name_max = 64, dhole__leases_max = 64 };

/* What all queue pairs of a device have in common; two sides take the lesser of each. */
struct dhole__rdma_shape {
    uint32_t message; /* bytes of the longest message, its header included */
    uint32_t window;  /* messages that may be under way each way: a power of two, so that the slots
                       * to send from keep their order when counters wrap */
    bool reliable;    /* RC, else UC */
};

enum {
    dhole__message_least = 512,
    dhole__message_safe = 4096, /* every system takes that */
    dhole__message_most = 64 << 10,
    dhole__window_least = 8,
    dhole__window_most = 128
};

struct dhole__device {
    const struct dhole__verbs *verbs;
    char name[dhole__device_name_max];
    uint8_t port;
    struct ibv_context *context;
    int events;          /* a descriptor (events.h), or -1 */
    const char *failure; /* that the device has reported */
    struct ibv_device_attr limits;
    struct ibv_port_attr attr;
    struct dhole__gid gid[dhole__gids_max];
    int gids;
    struct ibv_pd *pd;
    struct dhole__rdma_shape shape;
    int leases; /* places in the arena, one a queue pair */
    bool leased[dhole__leases_max];
    uint8_t *arena;
    struct ibv_mr *region;
};

/* A sender has a window of messages under way, and beside them at most one for each quarter of a
 * window that it has received, some probes and a last one. */
static inline uint32_t dhole__shape_receives(const struct dhole__rdma_shape *shape)
{
    return shape->window + 12;
}

static inline uint32_t dhole__shape_sends(const struct dhole__rdma_shape *shape)
{
    return 2 * shape->window + 16;
}

/* Slots to send from; short messages need none. */
static inline uint32_t dhole__shape_send_slots(const struct dhole__rdma_shape *shape)
{
    return shape->window / 2;
}

/* Opens `name`, "device" or "device:port", with room for that many queue pairs. */
DHOLE__MUST_CHECK dhole_err dhole__device_open(const struct dhole__verbs *verbs, const char *name,
                                               int queue_pairs, struct dhole__device **out);

/* NULL is allowed. */
void dhole__device_close(struct dhole__device *device);

/* A place in the arena for one queue pair: dhole__shape_receives slots of shape.message bytes to
 * receive into, then those to send from. NULL: all are taken. */
uint8_t *dhole__device_lease(struct dhole__device *device);
void dhole__device_return(struct dhole__device *device, const uint8_t *lease);

/* The errno that a verb's result means; 0: it went well, or was not told. */
int dhole__verbs_error(int result);

/* Fails with "rxe0 port 1: <what>: <text of error>; <what to do>". Error 0 is one that was not
 * told; `hint` may be NULL. */
dhole_err dhole__device_fail(const struct dhole__device *device, dhole_err err, int error,
                             const char *hint, const char *format, ...) DHOLE__PRINTF(5, 6);

#endif
