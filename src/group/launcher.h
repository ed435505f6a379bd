/* What the launchers of others tell the ranks that they start: rank and size, but no addresses. The
 * ranks of one host meet at a socket in a directory of this user's; those of several hosts at
 * DHOLE_COORDINATOR, or at an address that follows from what the launcher tells.
 *
 * Each expects that the variables that the table in env.c says it needs are set. */
#ifndef DHOLE_GROUP_LAUNCHER_H
#define DHOLE_GROUP_LAUNCHER_H

#include "group/env.h"

DHOLE__MUST_CHECK dhole_err dhole__launcher_torchrun(struct dhole__env *env);
DHOLE__MUST_CHECK dhole_err dhole__launcher_openmpi(struct dhole__env *env);
DHOLE__MUST_CHECK dhole_err dhole__launcher_hydra(struct dhole__env *env);
DHOLE__MUST_CHECK dhole_err dhole__launcher_slurm(struct dhole__env *env);
DHOLE__MUST_CHECK dhole_err dhole__launcher_pmi(struct dhole__env *env);

/* The first host of a Slurm list such as "gpu[07-09,12],login": "gpu07". DHOLE_ERR_CONFIG when it
 * has none, or no place in out. */
DHOLE__MUST_CHECK dhole_err dhole__slurm_first_host(const char *list, char *out, size_t size);

#endif
