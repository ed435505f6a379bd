/* What the RDMA devices of this machine say about themselves, without a group: for `dhole doctor`.
 * Each device is opened as a group would open it, nothing is sent, and all is closed again. */
#ifndef DHOLE_TRANSPORT_RDMA_PROBE_H
#define DHOLE_TRANSPORT_RDMA_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { dhole__probe_ports_max = 4, dhole__probe_gids_max = 8, dhole__probe_name_max = 64 };

struct dhole__probe_gid {
    int index; /* in the port's table */
    uint8_t bytes[16];
    const char *type; /* "RoCE v2" and the like; "" where it is not told */
};

struct dhole__probe_port {
    int number;
    bool active;
    const char *state, *link;              /* in words */
    char interface[dhole__probe_name_max]; /* of the network under it; "" where it is not told */
    int mtu;                               /* bytes */
    uint32_t message_max;                  /* bytes */
    int gids;                              /* that a group would try, in this order */
    struct dhole__probe_gid gid[dhole__probe_gids_max];
};

struct dhole__probe_device {
    char name[dhole__probe_name_max];
    char why[dhole__message_max]; /* a group could not use it; "": it could */
    bool reliable;                /* then: it has RC queue pairs, else UC only */
    int queue_pairs, regions;     /* that it may have */
    uint64_t region_max;          /* bytes */
    int ports;                    /* that answer */
    struct dhole__probe_port port[dhole__probe_ports_max];
};

/* A list of all devices, which the caller frees; of one that cannot be asked numbers are 0.
 * DHOLE_ERR_UNSUPPORTED: there is no libibverbs. */
DHOLE__MUST_CHECK dhole_err dhole__rdma_probe(struct dhole__probe_device **out, int *count);

#endif
