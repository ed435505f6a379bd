/* This machine's RDMA devices, for a group. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/session.h"
#include "group/devices.h"
#include "transport/rdma/probe.h"
#include "transport/rdma/rdma.h"

/* Why none of them can be used. */
static dhole_err fail_unusable(const struct dhole__probe_device *device, int count)
{
    if (count == 0)
        return dhole__rdma_available();
    return dhole__fail(DHOLE_ERR_CONFIG, "no RDMA device here can be used: %s", device[0].why);
}

/* All that a group could use. */
static dhole_err find_usable(char out[static dhole__devices_list_max])
{
    struct dhole__probe_device *device;
    int count, usable = 0;
    size_t used = 0;
    dhole_err err = dhole__rdma_probe(&device, &count);

    if (err)
        return err;
    for (int i = 0; i < count; i++)
        if (device[i].why[0] == '\0' && usable++ < dhole__devices_max)
            used += (size_t)snprintf(out + used, dhole__devices_list_max - used, "%s%s",
                                     used > 0 ? "," : "", device[i].name);
    if (usable == 0)
        err = fail_unusable(device, count);
    else if (usable > dhole__devices_max)
        err = dhole__fail(DHOLE_ERR_CONFIG,
                          "%d RDMA devices can be used here, and a group takes at most %d: name "
                          "those that it is to take (--devices)",
                          usable, (int)dhole__devices_max);
    free(device);
    return err;
}

/* As a group does it. */
static dhole_err try_devices(const char *list, int peers)
{
    char name[dhole__devices_max][dhole__devices_name_max + 1];
    struct dhole__rdma_wish wish[dhole__devices_max];
    struct dhole__rdma *rdma = NULL;
    int n = dhole__devices_split(list, name);
    dhole_err err;

    for (int i = 0; i < n; i++)
        wish[i] = (struct dhole__rdma_wish){name[i], peers};
    err = dhole__rdma_open(wish, n, &rdma);
    dhole__rdma_close(rdma);
    return err;
}

dhole_err dhole__session_devices(const char *named, int peers,
                                 char out[static dhole__devices_list_max])
{
    dhole_err err = DHOLE_OK;

    if (named[0] != '\0')
        snprintf(out, dhole__devices_list_max, "%s", named);
    else
        err = find_usable(out);
    return err ? err : try_devices(out, peers);
}
