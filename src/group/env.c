#include "group/env.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/sys.h"
#include "coll/comm.h"

/* The variables of one naming scheme. */
struct scheme {
    const char *rank, *hostfile;
};

static const struct scheme schemes[] = {
    {"DHOLE_RANK", "DHOLE_HOSTFILE"},
    {"MLX_RANK", "MLX_HOSTFILE"},
};

/* Variables that name a cluster of a backend that this build does not have. */
static const char *const foreign[] = {
    "JACCL_RANK",      "JACCL_IBV_DEVICES",     "JACCL_COORDINATOR",
    "MLX_IBV_DEVICES", "MLX_JACCL_COORDINATOR", "MLX_WORLD_SIZE",
    "NCCL_HOST_IP",
};

static const char *value_of(const char *name)
{
    const char *value = getenv(name);

    return value != NULL && *value != '\0' ? value : NULL;
}

static dhole_err read_rank(const char *name, int *out)
{
    const char *text = value_of(name);
    char *rest;
    long rank;

    errno = 0;
    rank = strtol(text, &rest, 10);
    if (errno || *rest != '\0' || rank < 0 || rank >= dhole__rank_max)
        return dhole__fail(DHOLE_ERR_CONFIG, "%s is \"%s\": expected a rank from 0 to %d", name,
                           text, dhole__rank_max - 1);
    *out = (int)rank;
    return DHOLE_OK;
}

/* The address of one rank: a string, or the first of a list of strings. */
static const char *address_of(const json_t *entry)
{
    return json_string_value(json_is_array(entry) ? json_array_get(entry, 0) : entry);
}

static dhole_err copy_hosts(const json_t *root, const char *path, struct dhole__env_ring *ring)
{
    size_t n = json_array_size(root);

    if (!json_is_array(root) || n == 0 || n > dhole__rank_max)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "%s: expected a list with an entry for each of 1 to %d ranks", path,
                           dhole__rank_max);
    ring->hosts = dhole__sys.calloc(n, sizeof *ring->hosts);
    if (ring->hosts == NULL)
        return dhole__fail_nomem(n * sizeof *ring->hosts, "a list of hosts");
    ring->size = (int)n;
    for (size_t i = 0; i < n; i++) {
        const char *address = address_of(json_array_get(root, i));
        char *copy;
        if (address == NULL)
            return dhole__fail(DHOLE_ERR_CONFIG,
                               "%s: entry %zu: expected \"host:port\" or a list of them", path, i);
        copy = dhole__sys.malloc(strlen(address) + 1);
        if (copy == NULL)
            return dhole__fail_nomem(strlen(address) + 1, "an address");
        ring->hosts[i] = strcpy(copy, address);
    }
    return DHOLE_OK;
}

static dhole_err read_hostfile(const char *path, struct dhole__env_ring *ring)
{
    json_t *root;
    dhole_err err = dhole__json_load(path, &root);

    if (err)
        return err;
    err = copy_hosts(root, path, ring);
    json_decref(root);
    return err;
}

static dhole_err read_scheme(const struct scheme *scheme, struct dhole__env_ring *ring)
{
    dhole_err err;

    if (value_of(scheme->rank) == NULL)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "%s is set but %s is not: set it to this process's rank",
                           scheme->hostfile, scheme->rank);
    if (value_of(scheme->hostfile) == NULL)
        return dhole__fail(
            DHOLE_ERR_CONFIG,
            "%s is set but %s is not: set it to a file that lists the ranks' addresses",
            scheme->rank, scheme->hostfile);
    err = read_rank(scheme->rank, &ring->rank);
    if (err == DHOLE_OK)
        err = read_hostfile(value_of(scheme->hostfile), ring);
    if (err)
        return dhole__fail_in(err, "%s", scheme->hostfile);
    if (ring->rank >= ring->size)
        return dhole__fail(DHOLE_ERR_CONFIG, "%s is %d, but %s lists %d ranks", scheme->rank,
                           ring->rank, value_of(scheme->hostfile), ring->size);
    return DHOLE_OK;
}

dhole_err dhole__env_ring_read(struct dhole__env_ring *out)
{
    *out = (struct dhole__env_ring){0};
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        dhole_err err;
        if (value_of(schemes[i].rank) == NULL && value_of(schemes[i].hostfile) == NULL)
            continue;
        err = read_scheme(&schemes[i], out);
        if (err)
            dhole__env_ring_free(out);
        return err;
    }
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
        if (value_of(foreign[i]) != NULL)
            return dhole__fail(DHOLE_ERR_CONFIG,
                               "%s names a cluster of a backend that this build does not have: "
                               "unset it, or set DHOLE_RANK and DHOLE_HOSTFILE for TCP",
                               foreign[i]);
    return DHOLE_OK;
}

void dhole__env_ring_free(struct dhole__env_ring *ring)
{
    for (int i = 0; ring->hosts != NULL && i < ring->size; i++)
        free((char *)ring->hosts[i]);
    free(ring->hosts);
    *ring = (struct dhole__env_ring){0};
}
