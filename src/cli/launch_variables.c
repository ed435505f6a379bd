#include "cli/launch_variables.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/launch_keys.h"

const char dhole__launch_addresses_file[] = "hosts.json";
const char dhole__launch_devices_file[] = "devices.json";

const char *const dhole__launch_unset[] = {
    "DHOLE_RANK",     "DHOLE_SIZE",        "DHOLE_COORDINATOR", "DHOLE_HOSTFILE",
    "DHOLE_BACKEND",  "DHOLE_PINS",        "MLX_RANK",          "MLX_HOSTFILE",
    "MLX_WORLD_SIZE", "MLX_IBV_DEVICES",   "MLX_JACCL_RING",    "MLX_JACCL_COORDINATOR",
    "JACCL_RANK",     "JACCL_IBV_DEVICES", "JACCL_COORDINATOR", "JACCL_RING",
    "NCCL_HOST_IP",   "NCCL_PORT",         DHOLE__LAUNCH_MARK,  NULL,
};

enum { default_nccl_port = 12345 }; /* that of MLX's launcher */

/* Appends one variable. */
static dhole_err set(struct dhole__buf *out, const char *format, ...) DHOLE__PRINTF(2, 3);

static dhole_err set(struct dhole__buf *out, const char *format, ...)
{
    char text[dhole__launch_path_size + 64];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return dhole__buf_add(out, text, strlen(text) + 1);
}

dhole_err dhole__launch_user_variables(const struct dhole__launch_hosts *hosts,
                                       const struct dhole__launch_options *options,
                                       struct dhole__buf *out)
{
    const json_t *env;
    dhole_err err = DHOLE_OK;
    size_t k;

    json_array_foreach(hosts->envs, k, env) if (err == DHOLE_OK) err =
        dhole__buf_add(out, json_string_value(env), json_string_length(env) + 1);
    for (int i = 0; i < options->envs && err == DHOLE_OK; i++)
        err = dhole__buf_add(out, options->env[i], strlen(options->env[i]) + 1);
    if (err == DHOLE_OK && options->seal != NULL)
        err = set(out, "DHOLE_SEAL=%s", options->seal);
    return err;
}

/* MLX's variables for one backend are given only to it, because any of them makes MLX's `any` try
 * that backend. MLX's ring cannot be a ring of one. */
static dhole_err set_ring(const struct dhole__launch_cluster *cluster,
                          const struct dhole__launch_job *job, const char *dir,
                          struct dhole__buf *out)
{
    dhole_err err = DHOLE_OK;

    if (job->count > 1)
        err = set(out, "MLX_HOSTFILE=%s/%s", dir, dhole__launch_addresses_file);
    if (err == DHOLE_OK && cluster->options->verbose)
        err = set(out, "MLX_RING_VERBOSE=1");
    return err;
}

static dhole_err set_nccl(const struct dhole__launch_cluster *cluster,
                          const struct dhole__launch_job *job, int r, struct dhole__buf *out)
{
    const struct dhole__launch_options *options = cluster->options;
    int repeat = options->repeat > 0 ? (int)options->repeat : 1;
    int port = options->nccl_port > 0 ? (int)options->nccl_port : default_nccl_port;
    dhole_err err = set(out, "MLX_WORLD_SIZE=%d", job->count);

    if (err == DHOLE_OK)
        err = set(out, "NCCL_HOST_IP=%s", cluster->meeting_ip);
    if (err == DHOLE_OK)
        err = set(out, "NCCL_PORT=%d", port);
    if (err == DHOLE_OK)
        err = set(out, "CUDA_VISIBLE_DEVICES=%d", r % repeat);
    if (err == DHOLE_OK && options->verbose)
        err = set(out, "NCCL_DEBUG=INFO");
    return err;
}

static dhole_err set_jaccl(const struct dhole__launch_cluster *cluster, const char *dir,
                           struct dhole__buf *out)
{
    const struct dhole__launch_options *options = cluster->options;
    bool v6 = strchr(cluster->meeting_ip, ':') != NULL;
    int port =
        options->starting_port > 0 ? (int)options->starting_port : dhole__launch_default_port;
    dhole_err err = set(out, v6 ? "MLX_JACCL_COORDINATOR=[%s]:%d" : "MLX_JACCL_COORDINATOR=%s:%d",
                        cluster->meeting_ip, port);

    if (err == DHOLE_OK)
        err = set(out, "MLX_IBV_DEVICES=%s/%s", dir, dhole__launch_devices_file);
    if (err == DHOLE_OK && strcmp(cluster->backend, "jaccl-ring") == 0)
        err = set(out, "MLX_JACCL_RING=1");
    return err;
}

static dhole_err set_ours(const struct dhole__launch_job *job, int r, const char *dir,
                          struct dhole__buf *out)
{
    dhole_err err = set(out, "DHOLE_RANK=%d", r);

    if (err == DHOLE_OK)
        err = set(out, "DHOLE_SIZE=%d", job->count);
    if (err == DHOLE_OK)
        err = set(out, "DHOLE_HOSTFILE=%s/%s", dir, dhole__launch_addresses_file);
    return err;
}

static dhole_err set_seal(const struct dhole__launch_cluster *cluster, int r, const char *dir,
                          struct dhole__buf *out)
{
    char identity[dhole__launch_name_size];
    dhole_err err = set(out, "DHOLE_SEAL=%s", cluster->seal);

    if (err || !cluster->keys)
        return err;
    dhole__launch_identity_file(r, identity);
    err = set(out, "DHOLE_IDENTITY=%s/%s", dir, identity);
    return err ? err : set(out, "DHOLE_PINS=%s/%s", dir, dhole__launch_pins_file);
}

static dhole_err set_rank(const struct dhole__launch_cluster *cluster,
                          const struct dhole__launch_job *job, int r, struct dhole__buf *out)
{
    bool jaccl = strncmp(cluster->backend, "jaccl", 5) == 0;
    bool nccl = strcmp(cluster->backend, "nccl") == 0;
    char dir[dhole__launch_path_size];
    dhole_err err = set(out, DHOLE__LAUNCH_MARK "=%s-%02d", job->id, r);

    dhole__launch_dir(job, r, dir);
    if (err == DHOLE_OK)
        err = set(out, "MLX_RANK=%d", r);
    if (err == DHOLE_OK && strcmp(cluster->backend, "any") != 0)
        err = set(out, "DHOLE_BACKEND=%s", cluster->backend);
    if (err == DHOLE_OK && !jaccl && !nccl)
        err = set_ours(job, r, dir, out);
    if (err == DHOLE_OK && !nccl)
        err = set_seal(cluster, r, dir, out);
    if (err)
        return err;
    if (nccl)
        err = set_nccl(cluster, job, r, out);
    else if (jaccl)
        err = set_jaccl(cluster, dir, out);
    else
        err = set_ring(cluster, job, dir, out);
    return err ? err : dhole__launch_user_variables(cluster->hosts, cluster->options, out);
}

dhole_err dhole__launch_variables(const struct dhole__launch_cluster *cluster,
                                  struct dhole__launch_job *job)
{
    dhole_err err = DHOLE_OK;

    for (int r = 0; r < job->count && err == DHOLE_OK; r++)
        err = set_rank(cluster, job, r, &job->rank[r].variables);
    return err;
}
