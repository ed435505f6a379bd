#include <stdio.h>

#include "base/json.h"
#include "cli/doctor.h"
#include "cli/launch_addresses.h"

/* The devices in one entry of a host's "rdma": null, a name, or a list of names. */
static void add_names(json_t *names, const json_t *entry)
{
    size_t i;
    const json_t *name;

    if (json_is_string(entry))
        json_array_append(names, (json_t *)entry);
    json_array_foreach(entry, i, name) json_array_append(names, (json_t *)name);
}

static void take_devices(struct dhole__doctor *d, const struct dhole__launch_hosts *hosts)
{
    for (int r = 0; r < hosts->count; r++) {
        const json_t *rdma = hosts->rank[r].rdma, *entry;
        size_t i;
        if (rdma == NULL || !hosts->rank[r].local)
            continue;
        if (d->wanted == NULL)
            d->wanted = json_array();
        json_array_foreach(rdma, i, entry) add_names(d->wanted, entry);
    }
}

static dhole_err read_launch_hosts(struct dhole__doctor *d, struct dhole__hostfile *out)
{
    struct dhole__launch_options options = {.hostfile = d->hostfile};
    struct dhole__launch_hosts hosts;
    json_t *addresses = NULL;
    dhole_err err = dhole__launch_hosts_read(&options, &hosts);

    if (err)
        return err;
    if (d->backend[0] == '\0' && hosts.backend != NULL)
        snprintf(d->backend, sizeof d->backend, "%s", hosts.backend);
    take_devices(d, &hosts);
    err = dhole__launch_addresses(&hosts, &options, &addresses);
    if (err == DHOLE_OK)
        err = dhole__hostfile_parse(addresses, d->hostfile, out);
    json_decref(addresses);
    dhole__launch_hosts_free(&hosts);
    return err;
}

dhole_err dhole__doctor_read_hosts(struct dhole__doctor *d, struct dhole__hostfile *out)
{
    json_t *root;
    bool hosts;
    dhole_err err = dhole__json_load(d->hostfile, &root);

    if (err)
        return err;
    hosts = json_is_object(root) || json_is_object(json_array_get(root, 0));
    if (!hosts)
        err = dhole__hostfile_parse(root, d->hostfile, out);
    json_decref(root);
    return hosts ? read_launch_hosts(d, out) : err;
}
