#include "transport/rdma/devices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"

int dhole__rdma_find(const struct dhole__rdma *rdma, const char *wish)
{
    for (int i = 0; i < rdma->n; i++)
        if (strcmp(rdma->wish[i], wish) == 0)
            return i;
    return -1;
}

static dhole_err open_devices(struct dhole__rdma *rdma, const struct dhole__verbs *verbs,
                              const struct dhole__rdma_wish *wishes, int n)
{
    dhole_err err = DHOLE_OK;

    if (n < 1 || n > dhole__rdma_devices_max)
        return dhole__fail(DHOLE_ERR_CONFIG, "%d RDMA devices, expected 1 to %d", n,
                           dhole__rdma_devices_max);
    for (int i = 0; i < n && !err; i++) {
        if (dhole__rdma_find(rdma, wishes[i].device) >= 0)
            return dhole__fail(DHOLE_ERR_CONFIG, "RDMA device %s is named twice", wishes[i].device);
        err = dhole__device_open(verbs, wishes[i].device, wishes[i].queue_pairs, &rdma->device[i]);
        if (err)
            return err;
        snprintf(rdma->wish[i], sizeof rdma->wish[i], "%s", wishes[i].device);
        rdma->n++;
    }
    return err;
}

dhole_err dhole__rdma_open(const struct dhole__rdma_wish *wishes, int n, struct dhole__rdma **out)
{
    const struct dhole__verbs *verbs;
    struct dhole__rdma *rdma;
    dhole_err err = dhole__verbs_get(&verbs);

    if (err)
        return err;
    rdma = dhole__sys.calloc(1, sizeof *rdma);
    if (rdma == NULL)
        return dhole__fail_nomem(sizeof *rdma, "RDMA devices");
    pthread_mutex_init(&rdma->blocks.lock, NULL);
    err = open_devices(rdma, verbs, wishes, n);
    if (err)
        dhole__rdma_close(rdma);
    else
        *out = rdma;
    return err;
}

void dhole__rdma_close(struct dhole__rdma *rdma)
{
    char message[dhole__message_max];

    if (rdma == NULL)
        return;
    dhole__message_save(message);
    dhole__blocks_clear(&rdma->blocks, rdma->device, rdma->n);
    for (int i = 0; i < rdma->n; i++)
        dhole__device_close(rdma->device[i]);
    pthread_mutex_destroy(&rdma->blocks.lock);
    free(rdma);
    dhole__message_restore(message);
}

dhole_err dhole__rdma_available(void)
{
    const struct dhole__verbs *verbs;
    struct ibv_device **list;
    int count = 0;
    dhole_err err = dhole__verbs_get(&verbs);

    if (err)
        return err;
    list = verbs->get_device_list(&count);
    if (list != NULL)
        verbs->free_device_list(list);
    if (list == NULL || count == 0)
        return dhole__fail(DHOLE_ERR_UNSUPPORTED,
                           "there is no RDMA device here: ibv_devices lists none");
    return DHOLE_OK;
}

dhole_err dhole__rdma_register(struct dhole__rdma *rdma, void *memory, size_t size)
{
    return dhole__blocks_add(&rdma->blocks, rdma->device, rdma->n, memory, size);
}

void dhole__rdma_unregister(struct dhole__rdma *rdma, void *memory)
{
    dhole__blocks_remove(&rdma->blocks, rdma->device, rdma->n, memory);
}
