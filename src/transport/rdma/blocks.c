#include "transport/rdma/blocks.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"

bool dhole__blocks_find(struct dhole__blocks *blocks, int device, const uint8_t *at, size_t size,
                        uint32_t *key)
{
    bool found = false;

    pthread_mutex_lock(&blocks->lock);
    for (int i = 0; i < dhole__blocks_max && !found; i++) {
        const struct dhole__block *block = &blocks->block[i];
        uintptr_t offset = (uintptr_t)at - (uintptr_t)block->at;
        found = block->at != NULL && offset < block->size && size <= block->size - offset;
        if (found)
            *key = block->region[device]->lkey;
    }
    pthread_mutex_unlock(&blocks->lock);
    return found;
}

static void deregister(const struct dhole__block *block, struct dhole__device *const *device, int n)
{
    for (int i = 0; i < n; i++)
        if (block->region[i] != NULL && device[i]->verbs->dereg_mr(block->region[i]) != 0)
            dhole__log(DHOLE__LOG_WARN, "RDMA device %s: deregistering %zu bytes failed",
                       device[i]->name, block->size);
}

static dhole_err add(struct dhole__block *block, struct dhole__device *const *device, int n,
                     void *memory, size_t size)
{
    struct dhole__block made = {.at = memory, .size = size};

    for (int i = 0; i < n; i++) {
        errno = 0;
        made.region[i] =
            device[i]->verbs->reg_mr(device[i]->pd, memory, size, IBV_ACCESS_LOCAL_WRITE);
        if (made.region[i] == NULL) {
            int error = errno;
            deregister(&made, device, n);
            return dhole__device_fail(device[i], DHOLE_ERR_LIMIT, error,
                                      "it is sent with a copy instead",
                                      "registering %zu bytes failed", size);
        }
    }
    *block = made;
    return DHOLE_OK;
}

dhole_err dhole__blocks_add(struct dhole__blocks *blocks, struct dhole__device *const *device,
                            int n, void *memory, size_t size)
{
    struct dhole__block *free_one = NULL;
    dhole_err err;

    pthread_mutex_lock(&blocks->lock);
    for (int i = 0; i < dhole__blocks_max && free_one == NULL; i++)
        if (blocks->block[i].at == NULL)
            free_one = &blocks->block[i];
    if (free_one != NULL)
        err = add(free_one, device, n, memory, size);
    else
        err = dhole__fail(DHOLE_ERR_LIMIT, "%d blocks of memory are registered already",
                          dhole__blocks_max);
    pthread_mutex_unlock(&blocks->lock);
    return err;
}

void dhole__blocks_clear(struct dhole__blocks *blocks, struct dhole__device *const *device, int n)
{
    for (int i = 0; i < dhole__blocks_max; i++)
        if (blocks->block[i].at != NULL)
            dhole__blocks_remove(blocks, device, n, blocks->block[i].at);
}

void dhole__blocks_remove(struct dhole__blocks *blocks, struct dhole__device *const *device, int n,
                          const void *memory)
{
    pthread_mutex_lock(&blocks->lock);
    for (int i = 0; i < dhole__blocks_max; i++)
        if (memory != NULL && blocks->block[i].at == memory) {
            deregister(&blocks->block[i], device, n);
            blocks->block[i].at = NULL;
        }
    pthread_mutex_unlock(&blocks->lock);
}
