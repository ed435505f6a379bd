/* Blocks of memory that were registered besides the arenas, so that what lies in them is sent from
 * where it is. Any thread. */
#ifndef DHOLE_TRANSPORT_RDMA_BLOCKS_H
#define DHOLE_TRANSPORT_RDMA_BLOCKS_H

#include <pthread.h>

#include "transport/rdma/device.h"
#include "transport/rdma/rdma.h"

enum { dhole__blocks_max = 64 };

struct dhole__block {
    const uint8_t *at; /* NULL: not in use */
    size_t size;
    struct ibv_mr *region[dhole__rdma_devices_max]; /* NULL: not on that device */
};

struct dhole__blocks {
    pthread_mutex_t lock;
    struct dhole__block block[dhole__blocks_max];
};

/* The key of [at, at + size) on that device; false: it is not in a registered block. */
bool dhole__blocks_find(struct dhole__blocks *blocks, int device, const uint8_t *at, size_t size,
                        uint32_t *key);

/* Registers it on all of n devices, or on none. */
DHOLE__MUST_CHECK dhole_err dhole__blocks_add(struct dhole__blocks *blocks,
                                              struct dhole__device *const *device, int n,
                                              void *memory, size_t size);

void dhole__blocks_remove(struct dhole__blocks *blocks, struct dhole__device *const *device, int n,
                          const void *memory);

/* All that are left. */
void dhole__blocks_clear(struct dhole__blocks *blocks, struct dhole__device *const *device, int n);

#endif
