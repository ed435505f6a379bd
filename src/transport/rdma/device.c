#include "transport/rdma/device.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/os.h"
#include "base/sys.h"
#include "transport/rdma/events.h"
#include "transport/rdma/qp.h"

/* In flight each way, and of one device altogether. */
enum { window_bytes = 2 << 20, arena_max = 64 << 20, page = 16 << 10 };

static const char port_hint[] =
    "check the cable and that the interface is up (ip link set DEV up, or System Settings)";
static const char memlock_hint[] =
    "the limit on locked memory may be too low: ulimit -l unlimited, or LimitMEMLOCK=infinity";

int dhole__verbs_error(int result)
{
    return result == -1 ? errno : abs(result);
}

dhole_err dhole__device_fail(const struct dhole__device *device, dhole_err err, int error,
                             const char *hint, const char *format, ...)
{
    char what[512], port[16] = "", reason[128] = "no reason is given";
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (device->port != 0)
        snprintf(port, sizeof port, " port %u", device->port);
    if (error != 0)
        snprintf(reason, sizeof reason, "%s (errno %d)", strerror(error), error);
    return dhole__fail(err, "RDMA device %s%s: %s: %s%s%s", device->name, port, what, reason,
                       hint ? "; " : "", hint ? hint : "");
}

/* Splits "device:port". */
static dhole_err parse_name(struct dhole__device *device, const char *name)
{
    size_t length = strcspn(name, ":");
    char rest = '\0';
    unsigned port = 0;

    if (length == 0 || length >= sizeof device->name ||
        (name[length] == ':' &&
         (sscanf(name + length, ":%3u%c", &port, &rest) != 1 || port == 0 || port > UINT8_MAX)))
        return dhole__fail(DHOLE_ERR_CONFIG, "\"%s\" is no RDMA device: expected NAME or NAME:PORT",
                           name);
    memcpy(device->name, name, length);
    device->port = (uint8_t)port;
    return DHOLE_OK;
}

static dhole_err no_such_device(const struct dhole__device *device, struct ibv_device **list,
                                int count)
{
    char names[256] = "";
    size_t used = 0;

    for (int i = 0; i < count && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "",
                                 device->verbs->get_device_name(list[i]));
    return dhole__fail(DHOLE_ERR_CONFIG, "there is no RDMA device %s here; there %s %s",
                       device->name, count == 1 ? "is" : "are", count > 0 ? names : "none");
}

static dhole_err open_context(struct dhole__device *device)
{
    const struct dhole__verbs *verbs = device->verbs;
    struct ibv_device **list;
    int count = 0, i = 0;
    dhole_err err = DHOLE_OK;

    errno = 0;
    list = verbs->get_device_list(&count);
    if (list == NULL)
        return dhole__device_fail(device, DHOLE_ERR_CONFIG, errno,
                                  "load its kernel module (Linux: modprobe ib_uverbs)",
                                  "listing the RDMA devices failed");
    while (i < count && strcmp(verbs->get_device_name(list[i]), device->name) != 0)
        i++;
    errno = 0;
    if (i == count)
        err = no_such_device(device, list, count);
    else if ((device->context = verbs->open_device(list[i])) == NULL)
        err = dhole__device_fail(device, DHOLE_ERR_CONFIG, errno,
                                 "is /dev/infiniband/uverbs* open to this user?",
                                 "it cannot be opened");
    verbs->free_device_list(list);
    return err;
}

static dhole_err query_port(struct dhole__device *device, unsigned port)
{
    int result;

    device->port = (uint8_t)port;
    device->attr = (struct ibv_port_attr){.state = IBV_PORT_NOP};
    result = device->verbs->query_port(device->context, device->port, &device->attr);
    if (result != 0)
        return dhole__device_fail(device, DHOLE_ERR_CONFIG, dhole__verbs_error(result), NULL,
                                  "the port cannot be queried");
    return DHOLE_OK;
}

/* The port that was named, or else the first one that is active. */
static dhole_err choose_port(struct dhole__device *device)
{
    unsigned first = device->port, last = device->port;
    dhole_err err = DHOLE_OK;

    if (first == 0) {
        first = 1;
        last = device->limits.phys_port_cnt;
    }
    for (unsigned port = first; !err && port <= last; port++) {
        err = query_port(device, port);
        if (!err && device->attr.state == IBV_PORT_ACTIVE)
            return DHOLE_OK;
    }
    if (err)
        return err;
    return dhole__fail(DHOLE_ERR_CONFIG, "RDMA device %s port %u is not active (state %d); %s",
                       device->name, device->port, (int)device->attr.state, port_hint);
}

static dhole_err query(struct dhole__device *device)
{
    int result = device->verbs->query_device(device->context, &device->limits);
    dhole_err err;

    if (result != 0)
        return dhole__device_fail(device, DHOLE_ERR_CONFIG, dhole__verbs_error(result), NULL,
                                  "it cannot be queried");
    err = choose_port(device);
    if (err)
        return err;
    device->gids = dhole__gids_read(device->verbs, device->context, device->port,
                                    device->attr.gid_tbl_len, device->gid);
    if (device->gids == 0 && device->attr.link_layer != IBV_LINK_LAYER_INFINIBAND)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "RDMA device %s port %u: none of its %d GIDs can be used; give its "
                           "interface an IPv4 address",
                           device->name, device->port, device->attr.gid_tbl_len);
    return DHOLE_OK;
}

static dhole_err check_queue_pairs(const struct dhole__device *device)
{
    if (device->leases < 1 || device->leases > dhole__leases_max)
        return dhole__fail(DHOLE_ERR_LIMIT, "%d queue pairs of RDMA device %s: 1 to %d can be made",
                           device->leases, device->name, dhole__leases_max);
    if (device->limits.max_qp > 0 && device->leases > device->limits.max_qp)
        return dhole__fail(DHOLE_ERR_LIMIT,
                           "RDMA device %s has %d queue pairs, and %d peers are to be reached "
                           "through it, with one each; use more devices, fewer ranks, or a ring "
                           "(JACCL_RING=1)",
                           device->name, device->limits.max_qp, device->leases);
    return DHOLE_OK;
}

static size_t lease_size(const struct dhole__rdma_shape *shape)
{
    return (size_t)shape->message * (dhole__shape_receives(shape) + dhole__shape_send_slots(shape));
}

static size_t arena_size(const struct dhole__device *device)
{
    size_t size = lease_size(&device->shape) * (size_t)device->leases;

    return (size + page - 1) / page * page;
}

/* Makes it take less memory; false: it takes the least there is. */
static bool shrink(struct dhole__rdma_shape *shape)
{
    if (shape->window > 2 * dhole__window_least)
        shape->window /= 2;
    else if (shape->message > dhole__message_safe)
        shape->message /= 2;
    else if (shape->window > dhole__window_least)
        shape->window /= 2;
    else
        return false;
    return true;
}

static bool fits(const struct dhole__rdma_shape *shape, const struct ibv_device_attr *limits)
{
    int sends = (int)dhole__shape_sends(shape), receives = (int)dhole__shape_receives(shape);

    return (limits->max_qp_wr <= 0 || sends <= limits->max_qp_wr) &&
           (limits->max_cqe <= 0 || sends + receives <= limits->max_cqe);
}

/* As large as the device's limits and decency allow. */
static void choose_shape(struct dhole__device *device)
{
    struct dhole__rdma_shape *shape = &device->shape;
    uint32_t most = device->attr.max_msg_sz;

    shape->message = dhole__message_most;
    if (most >= dhole__message_least && most < shape->message)
        shape->message = most & ~63U;
    shape->window = dhole__window_most;
    while (shape->window > window_bytes / shape->message)
        shape->window /= 2;
    while (shape->window > dhole__window_least && !fits(shape, &device->limits))
        shape->window /= 2;
    while (arena_size(device) > arena_max && shrink(shape))
        ;
}

/* Registers an arena of the present shape; errno in *error. */
static bool try_arena(struct dhole__device *device, int *error)
{
    size_t size = arena_size(device);

    *error = ENOMEM;
    device->arena = dhole__sys.aligned_alloc(page, size);
    if (device->arena == NULL)
        return false;
    errno = 0;
    device->region = device->verbs->reg_mr(device->pd, device->arena, size, IBV_ACCESS_LOCAL_WRITE);
    if (device->region != NULL)
        return true;
    *error = errno;
    free(device->arena);
    device->arena = NULL;
    return false;
}

/* Where little memory may be locked, a smaller one is better than none. */
static dhole_err make_arena(struct dhole__device *device)
{
    size_t wanted = arena_size(device);
    int error;

    while (!try_arena(device, &error))
        if (error != ENOMEM || !shrink(&device->shape))
            return dhole__device_fail(device, DHOLE_ERR_NOMEM, error, memlock_hint,
                                      "registering %zu bytes of memory failed", arena_size(device));
    if (arena_size(device) < wanted)
        dhole__log(DHOLE__LOG_WARN,
                   "RDMA device %s: only %zu bytes of memory could be registered instead of %zu, "
                   "so it will be slower; %s",
                   device->name, arena_size(device), wanted, memlock_hint);
    return DHOLE_OK;
}

static dhole_err set_up(struct dhole__device *device)
{
    dhole_err err = open_context(device);

    if (err)
        return err;
    dhole__events_open(device);
    err = query(device);
    if (!err)
        err = check_queue_pairs(device);
    if (err)
        return err;
    errno = 0;
    device->pd = device->verbs->alloc_pd(device->context);
    if (device->pd == NULL)
        return dhole__device_fail(device, DHOLE_ERR_CONFIG, errno, port_hint,
                                  "it gives no protection domain");
    choose_shape(device);
    err = dhole__qp_choose_kind(device);
    return err ? err : make_arena(device);
}

dhole_err dhole__device_open(const struct dhole__verbs *verbs, const char *name, int queue_pairs,
                             struct dhole__device **out)
{
    struct dhole__device *device = dhole__sys.calloc(1, sizeof *device);
    dhole_err err;

    if (device == NULL)
        return dhole__fail_nomem(sizeof *device, "an RDMA device");
    device->verbs = verbs;
    device->leases = queue_pairs;
    err = parse_name(device, name);
    if (!err)
        err = set_up(device);
    if (err)
        dhole__device_close(device);
    else
        *out = device;
    return err;
}

/* What cannot be freed is the system's when the process ends; there is nothing better to do. */
static void note(const struct dhole__device *device, const char *what, int result)
{
    if (result != 0)
        dhole__log(DHOLE__LOG_WARN, "RDMA device %s: %s failed: %s", device->name, what,
                   strerror(dhole__verbs_error(result)));
}

void dhole__device_close(struct dhole__device *device)
{
    const struct dhole__verbs *verbs;

    if (device == NULL)
        return;
    verbs = device->verbs;
    if (device->region != NULL)
        note(device, "deregistering memory", verbs->dereg_mr(device->region));
    if (device->pd != NULL)
        note(device, "freeing the protection domain", verbs->dealloc_pd(device->pd));
    if (device->context != NULL)
        note(device, "closing it", verbs->close_device(device->context));
    free(device->arena);
    free(device);
}

uint8_t *dhole__device_lease(struct dhole__device *device)
{
    for (int i = 0; i < device->leases; i++)
        if (!device->leased[i]) {
            device->leased[i] = true;
            return device->arena + (size_t)i * lease_size(&device->shape);
        }
    return NULL;
}

void dhole__device_return(struct dhole__device *device, const uint8_t *lease)
{
    device->leased[(size_t)(lease - device->arena) / lease_size(&device->shape)] = false;
}
