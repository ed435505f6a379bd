/* All devices of a rank, opened for one group. */
#ifndef DHOLE_TRANSPORT_RDMA_DEVICES_H
#define DHOLE_TRANSPORT_RDMA_DEVICES_H

#include "transport/rdma/blocks.h"

enum { dhole__wish_max = dhole__device_name_max + sizeof ":255" - 1 };

struct dhole__rdma {
    int n;
    struct dhole__device *device[dhole__rdma_devices_max];
    char wish[dhole__rdma_devices_max][dhole__wish_max]; /* as it was asked for */
    struct dhole__blocks blocks;
};

/* The number of the device that was asked for so; -1: none was. */
int dhole__rdma_find(const struct dhole__rdma *rdma, const char *wish);

#endif
