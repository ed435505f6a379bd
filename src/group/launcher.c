#include "group/launcher.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "group/runtime_dir.h"

/* A job, as its launcher tells of it. */
struct job {
    const char *launcher;
    char id[256]; /* the same on all of its ranks, and on those of no other job of this host */
    bool one_host;
    char coordinator[300]; /* of several hosts; "" when the launcher tells nothing */
    const char *advice;    /* how it passes a variable on, for the error that asks for one */
};

static uint64_t hash_text(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */

    for (; *text != '\0'; text++)
        hash = (hash ^ (uint8_t)*text) * 0x100000001b3;
    return hash;
}

/* Where the ranks of one host meet. */
static dhole_err local_coordinator(const struct job *job, char *out, size_t size)
{
    char name[64];

    snprintf(name, sizeof name, "%s-%016llx", job->launcher,
             (unsigned long long)hash_text(job->id));
    return dhole__runtime_path(name, out, size);
}

static dhole_err meet(const struct job *job, struct dhole__env *env)
{
    const char *given = dhole__env_value("DHOLE_COORDINATOR");
    const char *coordinator = given != NULL ? given : job->coordinator;

    snprintf(env->session, sizeof env->session, "%s %016llx", job->launcher,
             (unsigned long long)hash_text(job->id));
    if (env->size == 1)
        return DHOLE_OK;
    if (given == NULL && job->one_host && job->id[0] != '\0')
        return local_coordinator(job, env->coordinator, sizeof env->coordinator);
    if (coordinator[0] == '\0')
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "%s started rank %d of %d and does not tell where the others are: set "
                           "DHOLE_COORDINATOR to host:port, with the host of rank 0 and a free "
                           "port of it%s",
                           job->launcher, env->rank, env->size, job->advice);
    if (strlen(coordinator) >= sizeof env->coordinator)
        return dhole__fail(DHOLE_ERR_CONFIG, "the coordinator's address is too long: \"%.60s...\"",
                           coordinator);
    strcpy(env->coordinator, coordinator);
    return DHOLE_OK;
}

/* Whether a variable says that all ranks run on this host. */
static dhole_err is_one_host(const char *local_size, const struct dhole__env *env, bool *out)
{
    long n = 0;
    dhole_err err = DHOLE_OK;

    if (dhole__env_value(local_size) != NULL)
        err = dhole__env_number(local_size, 1, env->size, &n);
    *out = n == env->size;
    return err;
}

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

dhole_err dhole__launcher_torchrun(struct dhole__env *env)
{
    struct job job = {.launcher = "torchrun", .advice = ""};
    long port;
    dhole_err err = dhole__env_rank("RANK", "WORLD_SIZE", env);

    if (!err)
        err = is_one_host("LOCAL_WORLD_SIZE", env, &job.one_host);
    /* torch's own store listens at MASTER_PORT. */
    if (!err)
        err = dhole__env_number("MASTER_PORT", 1, 65534, &port);
    if (err)
        return err;
    snprintf(job.id, sizeof job.id, "%s %s:%ld %s", dhole__env_value("TORCHELASTIC_RUN_ID"),
             dhole__env_value("MASTER_ADDR"), port,
             or_empty(dhole__env_value("TORCHELASTIC_RESTART_COUNT")));
    snprintf(job.coordinator, sizeof job.coordinator,
             strchr(dhole__env_value("MASTER_ADDR"), ':') != NULL ? "[%s]:%ld" : "%s:%ld",
             dhole__env_value("MASTER_ADDR"), port + 1);
    return meet(&job, env);
}

dhole_err dhole__launcher_openmpi(struct dhole__env *env)
{
    struct job job = {.launcher = "openmpi", .advice = ", and run mpirun -x DHOLE_COORDINATOR"};
    const char *id = dhole__env_value("PMIX_NAMESPACE");
    dhole_err err = dhole__env_rank("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", env);

    if (!err)
        err = is_one_host("OMPI_COMM_WORLD_LOCAL_SIZE", env, &job.one_host);
    if (err)
        return err;
    if (id == NULL)
        id = or_empty(dhole__env_value("OMPI_MCA_ess_base_jobid"));
    snprintf(job.id, sizeof job.id, "%s", id);
    return meet(&job, env);
}

/* Hydra tells no job id. The ranks of one host have the same proxy for a parent, though, or for a
 * grandparent when a script is between, and it holds the other end of the socket PMI_FD. */
static void hydra_proxy(char *out, size_t size)
{
    long fd;
    uid_t user;
    pid_t proxy;

    out[0] = '\0';
    if (dhole__env_value("PMI_FD") != NULL && !dhole__env_number("PMI_FD", 0, 65535, &fd) &&
        dhole__socket_peer((int)fd, &user, &proxy) == 0)
        snprintf(out, size, "%ld", (long)proxy);
}

dhole_err dhole__launcher_hydra(struct dhole__env *env)
{
    struct job job = {.launcher = "mpiexec",
                      .advice = ", and run mpiexec -genvlist DHOLE_COORDINATOR"};
    dhole_err err = dhole__env_rank("PMI_RANK", "PMI_SIZE", env);

    if (!err)
        err = is_one_host("MPI_LOCALNRANKS", env, &job.one_host);
    if (err)
        return err;
    if (job.one_host)
        hydra_proxy(job.id, sizeof job.id);
    return meet(&job, env);
}

/* Some launcher with the process management interface of MPICH. */
dhole_err dhole__launcher_pmi(struct dhole__env *env)
{
    struct job job = {.launcher = "pmi", .advice = ""};
    dhole_err err = dhole__env_rank("PMI_RANK", "PMI_SIZE", env);

    return err ? err : meet(&job, env);
}

dhole_err dhole__slurm_first_host(const char *list, char *out, size_t size)
{
    size_t prefix = strcspn(list, "[,");
    size_t number = list[prefix] == '[' ? strcspn(list + prefix + 1, "],-") : 0;
    const char *end = list[prefix] == '[' ? strchr(list + prefix, ']') : list + prefix;
    size_t suffix;

    if (end == NULL || (list[prefix] == '[' && number == 0))
        return dhole__fail(DHOLE_ERR_CONFIG, "\"%s\" is not a list of hosts", list);
    suffix = list[prefix] == '[' ? strcspn(end + 1, ",") : 0;
    if (prefix + number + suffix == 0 || prefix + number + suffix >= size ||
        (suffix > 0 && memchr(end + 1, '[', suffix) != NULL))
        return dhole__fail(DHOLE_ERR_CONFIG, "cannot tell the first host of \"%s\"", list);
    snprintf(out, size, "%.*s%.*s%.*s", (int)prefix, list, (int)number, list + prefix + 1,
             (int)suffix, suffix > 0 ? end + 1 : "");
    return DHOLE_OK;
}

dhole_err dhole__launcher_slurm(struct dhole__env *env)
{
    enum { first_port = 15000, ports = 15000 }; /* below those that systems give out */
    struct job job = {.launcher = "slurm", .advice = ""};
    const char *nodes = dhole__env_value("SLURM_STEP_NODELIST");
    char host[256];
    dhole_err err = dhole__env_rank("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", env);

    if (!err)
        err = dhole__slurm_first_host(nodes, host, sizeof host);
    if (err)
        return dhole__fail_in(err, "srun");
    snprintf(job.id, sizeof job.id, "%s.%s", dhole__env_value("SLURM_JOB_ID"),
             dhole__env_value("SLURM_STEP_ID"));
    job.one_host = strcmp(nodes, host) == 0;
    snprintf(job.coordinator, sizeof job.coordinator, "%s:%d", host,
             first_port + (int)(hash_text(job.id) % ports));
    return meet(&job, env);
}
