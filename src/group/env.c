#include "group/env.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "coll/comm.h"
#include "group/launcher.h"

/* A kind of group that an environment can name. The kinds are tried in order, and the
 * first that is claimed stands, whole or not. */
struct kind {
    const char *backend; /* NULL: our own transports */
    const char *claims[6];
    const char *needs[4][2]; /* each, or what it falls back to */
    dhole_err (*read)(struct dhole__env *env);
};

const char *dhole__env_value(const char *name)
{
    const char *value = getenv(name);

    return value != NULL && *value != '\0' ? value : NULL;
}

dhole_err dhole__env_number(const char *name, long min, long max, long *out)
{
    const char *text = dhole__env_value(name);
    char *rest;
    long number;

    errno = 0;
    number = strtol(text, &rest, 10);
    if (errno || *rest != '\0' || number < min || number > max)
        return dhole__fail(DHOLE_ERR_CONFIG, "%s is \"%s\": expected a number from %ld to %ld",
                           name, text, min, max);
    *out = number;
    return DHOLE_OK;
}

dhole_err dhole__env_rank(const char *rank, const char *size, struct dhole__env *env)
{
    long r = 0, n;
    dhole_err err = dhole__env_number(size, 1, dhole__rank_max, &n);

    if (!err)
        err = dhole__env_number(rank, 0, dhole__rank_max - 1, &r);
    if (err)
        return err;
    if (r >= n)
        return dhole__fail(DHOLE_ERR_CONFIG, "%s is %ld, but %s is %ld", rank, r, size, n);
    env->rank = (int)r;
    env->size = (int)n;
    return DHOLE_OK;
}

static dhole_err read_hostfile(const char *rank_variable, const char *file_variable,
                               struct dhole__env *env)
{
    long rank = 0;
    dhole_err err = DHOLE_OK;

    if (dhole__env_value("DHOLE_COORDINATOR") != NULL)
        return dhole__fail(DHOLE_ERR_CONFIG, "%s and DHOLE_COORDINATOR are both set: unset one",
                           file_variable);
    err = dhole__env_number(rank_variable, 0, dhole__rank_max - 1, &rank);
    if (err)
        return err;
    err = dhole__hostfile_read(dhole__env_value(file_variable), &env->hosts);
    if (err)
        return dhole__fail_in(err, "%s", file_variable);
    if (rank >= env->hosts.size)
        return dhole__fail(DHOLE_ERR_CONFIG, "%s is %ld, but %s lists %d ranks", rank_variable,
                           rank, dhole__env_value(file_variable), env->hosts.size);
    env->rank = (int)rank;
    env->size = env->hosts.size;
    return DHOLE_OK;
}

static dhole_err set_coordinator(const char *variable, struct dhole__env *env)
{
    const char *coordinator = dhole__env_value(variable);

    if (strlen(coordinator) >= sizeof env->coordinator)
        return dhole__fail(DHOLE_ERR_CONFIG, "%s is too long: \"%.60s...\"", variable, coordinator);
    strcpy(env->coordinator, coordinator);
    return DHOLE_OK;
}

static dhole_err read_coordinator(struct dhole__env *env)
{
    dhole_err err;

    if (dhole__env_value("DHOLE_SIZE") == NULL)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "DHOLE_COORDINATOR is set but DHOLE_SIZE is not: set it to the number "
                           "of ranks");
    err = set_coordinator("DHOLE_COORDINATOR", env);
    return err ? err : dhole__env_rank("DHOLE_RANK", "DHOLE_SIZE", env);
}

static dhole_err read_dhole(struct dhole__env *env)
{
    long size;
    dhole_err err;

    if (dhole__env_value("DHOLE_HOSTFILE") == NULL)
        return read_coordinator(env);
    err = read_hostfile("DHOLE_RANK", "DHOLE_HOSTFILE", env);
    if (err || dhole__env_value("DHOLE_SIZE") == NULL)
        return err;
    err = dhole__env_number("DHOLE_SIZE", 1, dhole__rank_max, &size);
    if (!err && size != env->size)
        err = dhole__fail(DHOLE_ERR_CONFIG, "DHOLE_SIZE is %ld, but %s lists %d ranks", size,
                          dhole__env_value("DHOLE_HOSTFILE"), env->size);
    return err;
}

static dhole_err read_mlx_ring(struct dhole__env *env)
{
    return read_hostfile("MLX_RANK", "MLX_HOSTFILE", env);
}

static const char *set_one(const char *first, const char *fallback)
{
    return dhole__env_value(first) != NULL ? first : fallback;
}

/* In MLX any value turns it on, 0 too. */
static bool is_on(const char *variable)
{
    static const char *const off[] = {"0", "false", "off", "no"};
    const char *value = dhole__env_value(variable);

    for (size_t i = 0; value != NULL && i < sizeof off / sizeof off[0]; i++)
        if (strcasecmp(value, off[i]) == 0)
            return false;
    return value != NULL;
}

static dhole_err read_jaccl(struct dhole__env *env)
{
    const char *rank_variable = set_one("JACCL_RANK", "MLX_RANK");
    const char *file_variable = set_one("JACCL_IBV_DEVICES", "MLX_IBV_DEVICES");
    long rank = 0;
    dhole_err err = dhole__env_number(rank_variable, 0, dhole__rank_max - 1, &rank);

    if (err)
        return err;
    env->ring = is_on(set_one("JACCL_RING", "MLX_JACCL_RING"));
    err = dhole__devices_read(dhole__env_value(file_variable), env->ring, &env->devices);
    if (err)
        return dhole__fail_in(err, "%s", file_variable);
    if (rank >= env->devices.size)
        return dhole__fail(DHOLE_ERR_CONFIG, "%s is %ld, but %s has %d rows", rank_variable, rank,
                           dhole__env_value(file_variable), env->devices.size);
    env->rank = (int)rank;
    env->size = env->devices.size;
    return set_coordinator(set_one("JACCL_COORDINATOR", "MLX_JACCL_COORDINATOR"), env);
}

/* The launchers come innermost first: torchrun may run under the others, mpirun and mpiexec under
 * Slurm. MLX_RANK is common to MLX's backends, and on its own it names none of them. */
static const struct kind kinds[] = {
    {NULL,
     {"DHOLE_RANK", "DHOLE_HOSTFILE", "DHOLE_SIZE"},
     {{"DHOLE_RANK"}, {"DHOLE_HOSTFILE", "DHOLE_COORDINATOR"}},
     read_dhole},
    {NULL, {"MLX_HOSTFILE"}, {{"MLX_RANK"}}, read_mlx_ring},
    {"jaccl",
     {"JACCL_IBV_DEVICES", "JACCL_COORDINATOR", "JACCL_RANK", "MLX_IBV_DEVICES",
      "MLX_JACCL_COORDINATOR"},
     {{"JACCL_RANK", "MLX_RANK"},
      {"JACCL_IBV_DEVICES", "MLX_IBV_DEVICES"},
      {"JACCL_COORDINATOR", "MLX_JACCL_COORDINATOR"}},
     read_jaccl},
    {"nccl",
     {"NCCL_HOST_IP", "NCCL_PORT", "MLX_WORLD_SIZE"},
     {{"MLX_RANK"}, {"MLX_WORLD_SIZE"}, {"NCCL_HOST_IP"}, {"NCCL_PORT"}},
     NULL},
    {NULL, {"MLX_RANK"}, {{"MLX_HOSTFILE"}}, read_mlx_ring},
    {NULL,
     {"TORCHELASTIC_RUN_ID"},
     {{"RANK"}, {"WORLD_SIZE"}, {"MASTER_ADDR"}, {"MASTER_PORT"}},
     dhole__launcher_torchrun},
    {NULL,
     {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
     {{"OMPI_COMM_WORLD_RANK"}, {"OMPI_COMM_WORLD_SIZE"}},
     dhole__launcher_openmpi},
    {NULL, {"MPI_LOCALNRANKS"}, {{"PMI_RANK"}, {"PMI_SIZE"}}, dhole__launcher_hydra},
    {NULL,
     {"SLURM_STEP_ID"},
     {{"SLURM_PROCID"}, {"SLURM_STEP_NUM_TASKS"}, {"SLURM_JOB_ID"}, {"SLURM_STEP_NODELIST"}},
     dhole__launcher_slurm},
    {NULL, {"PMI_RANK", "PMI_SIZE"}, {{"PMI_RANK"}, {"PMI_SIZE"}}, dhole__launcher_pmi},
    {NULL, {"DHOLE_COORDINATOR"}, {{"DHOLE_RANK"}}, read_dhole},
};

static const char *claim_of(const struct kind *kind)
{
    for (size_t i = 0; i < sizeof kind->claims / sizeof kind->claims[0]; i++)
        if (kind->claims[i] != NULL && dhole__env_value(kind->claims[i]) != NULL)
            return kind->claims[i];
    return NULL;
}

static dhole_err check_needs(const struct kind *kind, const char *claim)
{
    for (size_t i = 0; i < sizeof kind->needs / sizeof kind->needs[0]; i++) {
        const char *first = kind->needs[i][0], *fallback = kind->needs[i][1];
        if (first == NULL || dhole__env_value(first) != NULL)
            continue;
        if (fallback == NULL)
            return dhole__fail(DHOLE_ERR_CONFIG,
                               "%s is set but %s is not: set it, or unset %s to run alone", claim,
                               first, claim);
        if (dhole__env_value(fallback) == NULL)
            return dhole__fail(DHOLE_ERR_CONFIG,
                               "%s is set but neither %s nor %s is: set one, or unset %s to run "
                               "alone",
                               claim, first, fallback, claim);
    }
    return DHOLE_OK;
}

static dhole_err read_kind(const struct kind *kind, const char *claim, struct dhole__env *env)
{
    dhole_err err = check_needs(kind, claim);

    if (err)
        return err;
    if (kind->read == NULL)
        return dhole__fail(DHOLE_ERR_UNSUPPORTED,
                           "%s names a %s cluster, and this build has no %s backend: set "
                           "DHOLE_RANK and DHOLE_HOSTFILE for TCP, or unset %s to run alone",
                           claim, kind->backend, kind->backend, claim);
    env->named_by = claim;
    env->backend = kind->backend;
    return kind->read(env);
}

/* Whether a group of that kind can have this backend: "jaccl", also with "-ring", or one of those
 * that need addresses only. */
static bool suits(const struct kind *kind, const char *backend)
{
    if (backend == NULL || strcmp(backend, "any") == 0)
        return true;
    if (strncmp(backend, "jaccl", 5) == 0)
        return kind->read == read_jaccl;
    return kind->backend == NULL;
}

dhole_err dhole__env_read(const char *backend, struct dhole__env *out)
{
    struct dhole__env env = {.size = 1};
    dhole_err err = DHOLE_OK;

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        const char *claim = claim_of(&kinds[i]);
        if (claim == NULL || !suits(&kinds[i], backend))
            continue;
        err = read_kind(&kinds[i], claim, &env);
        break;
    }
    if (err)
        dhole__env_free(&env);
    else
        *out = env;
    return err;
}

void dhole__env_free(struct dhole__env *env)
{
    dhole__hostfile_free(&env->hosts);
    dhole__devices_free(&env->devices);
    *env = (struct dhole__env){0};
}
