/* What the environment says about the cluster this process belongs to. */
#ifndef DHOLE_GROUP_ENV_H
#define DHOLE_GROUP_ENV_H

#include <stdbool.h>

#include "base/error.h"
#include "dhole/group.h"

/* Rank, size and hosts of a ring, from DHOLE_RANK and DHOLE_HOSTFILE, or MLX_RANK and MLX_HOSTFILE
 * (JSON: a list of addresses, or a list with a list of addresses for each rank, of which the first
 * is used). */
struct dhole__env_ring {
    int rank, size;
    const char **hosts; /* [size]; NULL when the environment names no cluster */
};

/* DHOLE_ERR_CONFIG names the variable or the file that is wrong: a rank without host file,
 * a host file without rank, or variables of a backend that cannot be joined. */
DHOLE__MUST_CHECK dhole_err dhole__env_ring_read(struct dhole__env_ring *out);
void dhole__env_ring_free(struct dhole__env_ring *ring);

#endif
