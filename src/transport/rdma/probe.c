#include "transport/rdma/probe.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "base/sys.h"
#include "transport/rdma/device.h"

_Static_assert((int)dhole__probe_gids_max >= (int)dhole__gids_max,
               "a list holds all that are tried");

struct source {
    const struct dhole__verbs *verbs;
    struct ibv_context *context;
};

static const char *state_name(enum ibv_port_state state)
{
    switch (state) {
    case IBV_PORT_DOWN: return "down";
    case IBV_PORT_INIT: return "initialising";
    case IBV_PORT_ARMED: return "armed";
    case IBV_PORT_ACTIVE: return "active";
    case IBV_PORT_ACTIVE_DEFER: return "active, deferred";
    default: return "unknown";
    }
}

static const char *link_name(uint8_t layer)
{
    switch (layer) {
    case IBV_LINK_LAYER_INFINIBAND: return "InfiniBand";
    case IBV_LINK_LAYER_ETHERNET: return "Ethernet";
    default: return "other";
    }
}

static const char *type_name(uint8_t type)
{
    switch (type) {
    case DHOLE__GID_IB: return "InfiniBand";
    case DHOLE__GID_ROCE_V1: return "RoCE v1";
    case DHOLE__GID_ROCE_V2: return "RoCE v2";
    default: return "";
    }
}

static void find_interface(const struct source *from, struct dhole__probe_port *port)
{
    enum { table_max = 256 };
    struct ibv_gid_entry table[table_max];
    ssize_t n = 0;

    if (from->verbs->query_gid_table != NULL)
        n = from->verbs->query_gid_table(from->context, table, table_max, 0, sizeof table[0]);
    for (ssize_t i = 0; i < n && port->interface[0] == '\0'; i++) {
        char name[IF_NAMESIZE];
        if ((int)table[i].port_num == port->number && table[i].ndev_ifindex != 0 &&
            if_indextoname(table[i].ndev_ifindex, name) != NULL)
            snprintf(port->interface, sizeof port->interface, "%s", name);
    }
}

static void list_gids(const struct source *from, int table_length, struct dhole__probe_port *port)
{
    struct dhole__gid gids[dhole__gids_max];

    port->gids =
        dhole__gids_read(from->verbs, from->context, (uint8_t)port->number, table_length, gids);
    for (int i = 0; i < port->gids; i++) {
        port->gid[i].index = gids[i].index;
        port->gid[i].type = type_name(gids[i].type);
        memcpy(port->gid[i].bytes, gids[i].bytes, sizeof port->gid[i].bytes);
    }
}

static bool read_port(const struct source *from, int number, struct dhole__probe_port *port)
{
    struct ibv_port_attr attr = {0};

    if (from->verbs->query_port(from->context, (uint8_t)number, &attr) != 0)
        return false;
    *port = (struct dhole__probe_port){.number = number,
                                       .active = attr.state == IBV_PORT_ACTIVE,
                                       .state = state_name(attr.state),
                                       .link = link_name(attr.link_layer),
                                       .mtu = 128 << attr.active_mtu,
                                       .message_max = attr.max_msg_sz};
    list_gids(from, attr.gid_tbl_len, port);
    find_interface(from, port);
    return true;
}

static void read_device(const struct source *from, struct dhole__probe_device *device)
{
    struct ibv_device_attr attr = {0};

    if (from->verbs->query_device(from->context, &attr) != 0)
        return;
    device->queue_pairs = attr.max_qp;
    device->regions = attr.max_mr;
    device->region_max = attr.max_mr_size;
    for (int i = 1; i <= attr.phys_port_cnt && device->ports < dhole__probe_ports_max; i++)
        device->ports += read_port(from, i, &device->port[device->ports]);
}

/* By doing what a group with one peer does. */
static void try_device(const struct dhole__verbs *verbs, struct dhole__probe_device *out)
{
    struct dhole__device *device = NULL;

    if (dhole__device_open(verbs, out->name, 1, &device) == DHOLE_OK)
        out->reliable = device->shape.reliable;
    else
        dhole__message_save(out->why);
    dhole__device_close(device);
}

static void probe(const struct dhole__verbs *verbs, struct ibv_device *device,
                  struct dhole__probe_device *out)
{
    struct source from = {verbs, verbs->open_device(device)};

    snprintf(out->name, sizeof out->name, "%s", verbs->get_device_name(device));
    if (from.context != NULL) {
        read_device(&from, out);
        verbs->close_device(from.context);
    }
    try_device(verbs, out);
}

dhole_err dhole__rdma_probe(struct dhole__probe_device **out, int *count)
{
    const struct dhole__verbs *verbs;
    struct ibv_device **list;
    struct dhole__probe_device *devices;
    dhole_err err = dhole__verbs_get(&verbs);
    int n = 0;

    if (err)
        return err;
    list = verbs->get_device_list(&n);
    if (list == NULL && errno != ENOSYS) /* which says that the kernel knows of no such devices */
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot list the RDMA devices");
    devices = dhole__sys.calloc((size_t)n + 1, sizeof *devices);
    for (int i = 0; i < n && devices != NULL; i++)
        probe(verbs, list[i], &devices[i]);
    if (list != NULL)
        verbs->free_device_list(list);
    if (devices == NULL)
        return dhole__fail_nomem(((size_t)n + 1) * sizeof *devices, "a list of devices");
    *out = devices;
    *count = n;
    return DHOLE_OK;
}
