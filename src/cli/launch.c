#include "cli/launch.h"

#include <jansson.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/sys.h"
#include "cli/cli.h"
#include "cli/launch_addresses.h"
#include "cli/launch_hosts.h"
#include "cli/launch_keys.h"
#include "cli/launch_mpi.h"
#include "cli/launch_options.h"
#include "cli/launch_variables.h"
#include "group/runtime_dir.h"

void dhole__launch_dir(const struct dhole__launch_job *job, int r,
                       char out[static dhole__launch_path_size])
{
    const char *base = dhole__runtime_base();

    if (r >= 0 && job->rank[r].host != NULL) {
        snprintf(out, dhole__launch_path_size, "/tmp/dhole-%s-%02d", job->id, r);
        return;
    }
    if (*base != '/' || strlen(base) > dhole__launch_path_size / 2)
        base = "/tmp";
    snprintf(out, dhole__launch_path_size, "%s/dhole-%s", base, job->id);
}

void dhole__launch_add_file(struct dhole__launch_job *job, int rank, const char *name, char *text)
{
    struct dhole__launch_file *file = &job->file[job->files++];

    *file = (struct dhole__launch_file){.text = text, .rank = rank};
    snprintf(file->name, sizeof file->name, "%s", name);
}

static bool is_one_of(const char *name, const char *a, const char *b)
{
    return strcmp(name, a) == 0 || strcmp(name, b) == 0;
}

static dhole_err set_id(struct dhole__launch_job *job)
{
    unsigned char bytes[(dhole__launch_id_size - 1) / 2];

    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return dhole__fail(DHOLE_ERR_SYSTEM, "no random numbers: cannot name the job");
    dhole__hex_write(bytes, sizeof bytes, job->id);
    return DHOLE_OK;
}

/* Takes over the JSON value. */
static dhole_err add_file(struct dhole__launch_job *job, const char *name, json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);

    json_decref(value);
    if (text == NULL)
        return dhole__fail_nomem(sizeof(void *), name);
    dhole__launch_add_file(job, -1, name, text);
    return DHOLE_OK;
}

static dhole_err add_addresses(struct dhole__launch_job *job,
                               const struct dhole__launch_cluster *cluster)
{
    json_t *addresses;
    dhole_err err = dhole__launch_addresses(cluster->hosts, cluster->options, &addresses);

    return err ? err : add_file(job, dhole__launch_addresses_file, addresses);
}

/* The matrix of devices: a row a rank. */
static dhole_err add_devices(struct dhole__launch_job *job, const struct dhole__launch_hosts *hosts)
{
    json_t *rows = json_array();

    for (int r = 0; r < hosts->count; r++) {
        const json_t *row = hosts->rank[r].rdma;
        if (row == NULL || json_array_size(row) != (size_t)hosts->count ||
            !json_is_null(json_array_get(row, (size_t)r))) {
            json_decref(rows);
            return dhole__fail(DHOLE_ERR_CONFIG,
                               "rank %d on %s: \"rdma\" must have an entry for each of the %d "
                               "ranks, null for itself",
                               r, hosts->rank[r].name, hosts->count);
        }
        json_array_append(rows, (json_t *)row);
    }
    return add_file(job, dhole__launch_devices_file, rows);
}

static dhole_err fill_job(struct dhole__launch_cluster *cluster, struct dhole__launch_job *job)
{
    bool jaccl = is_one_of(cluster->backend, "jaccl", "jaccl-ring");
    dhole_err err = DHOLE_OK;

    job->count = cluster->hosts->count;
    for (int r = 0; r < job->count; r++) {
        const struct dhole__launch_host *host = &cluster->hosts->rank[r];
        job->rank[r].host = host->local ? NULL : host->name;
    }
    if (jaccl || strcmp(cluster->backend, "nccl") == 0)
        err = dhole__launch_meeting_ip(cluster->hosts, &cluster->meeting_ip);
    else
        err = add_addresses(job, cluster);
    if (err == DHOLE_OK && jaccl)
        err = add_devices(job, cluster->hosts);
    if (err == DHOLE_OK && strcmp(cluster->backend, "nccl") != 0)
        err = dhole__launch_keys(cluster, job);
    return err ? err : dhole__launch_variables(cluster, job);
}

static int run(const struct dhole__launch_options *options, const struct dhole__launch_hosts *hosts,
               struct dhole__launch_job *job)
{
    struct dhole__launch_cluster cluster = {.backend = "any", .hosts = hosts, .options = options};
    dhole_err err = set_id(job);

    if (options->backend != NULL)
        cluster.backend = options->backend;
    else if (hosts->backend != NULL)
        cluster.backend = hosts->backend;
    if (strcmp(cluster.backend, "shm") == 0 && !hosts->all_local)
        return dhole__usage("launch", "--backend shm is for ranks of one host");
    if (err == DHOLE_OK && strcmp(cluster.backend, "mpi") == 0)
        return dhole__launch_mpi(hosts, options, job);
    if (err == DHOLE_OK)
        err = fill_job(&cluster, job);
    return err ? dhole__report(err) : dhole__launch_run(job);
}

static int launch_ranks(const struct dhole__launch_options *options)
{
    struct dhole__launch_job *job = dhole__sys.calloc(1, sizeof *job);
    struct dhole__launch_hosts hosts;
    int code;

    if (job == NULL)
        return dhole__report(dhole__fail_nomem(sizeof *job, "the ranks"));
    for (int r = 0; r < dhole__rank_max; r++)
        dhole__buf_init(&job->rank[r].variables, 4 << 20);
    job->command = options->command;
    job->cwd = options->cwd;
    job->timeout_ms = (int64_t)((double)options->timeout * 1000);
    job->prefix = !options->no_prefix;
    job->verbose = options->verbose;
    if (dhole__launch_hosts_read(options, &hosts) != DHOLE_OK) {
        fprintf(stderr, "dhole: %s\n", dhole_error_message());
        code = options->hostfile != NULL ? DHOLE__EXIT_FILE : DHOLE__EXIT_USAGE;
    } else {
        code = run(options, &hosts, job);
        dhole__launch_hosts_free(&hosts);
    }
    for (int i = 0; i < job->files; i++)
        dhole_secret_free(job->file[i].text, strlen(job->file[i].text));
    for (int r = 0; r < dhole__rank_max; r++)
        dhole__buf_free(&job->rank[r].variables);
    free(job);
    return code;
}

static int launch(int argc, char **argv)
{
    struct dhole__launch_options options;
    int code = dhole__launch_options_parse(argc, argv, &options);

    if (code == DHOLE__EXIT_DONE)
        code = options.help ? dhole__help_on(&dhole__cmd_launch) : launch_ranks(&options);
    dhole__launch_options_free(&options);
    return code;
}

const struct dhole__subcommand dhole__cmd_launch = {
    .name = "launch",
    .summary = "runs a program as several ranks, on this machine and on others",
    .help =
        "Usage: dhole launch [OPTION]... [--] PROGRAM [ARG]...\n"
        "\n"
        "Runs PROGRAM once a rank, here or through ssh, and tells each its rank and the addresses\n"
        "of all, in our variables (DHOLE_*) and in MLX's (MLX_*). What a rank prints comes out "
        "with\n"
        "its rank before each line; rank 0 reads this command's stdin. When a rank fails, the "
        "others\n"
        "are ended, and its exit code is that of the command. No process is left on any host,\n"
        "whatever is killed.\n"
        "\n"
        "  -n, --repeat-hosts N     N ranks on each host; without hosts, on this machine\n"
        "  --hosts A,B,...          the hosts, as ssh and all ranks know them\n"
        "  --hostfile FILE          the same, from a host file of MLX's form\n"
        "  --backend B              any (the default), ring, shm, jaccl, jaccl-ring, mpi or nccl\n"
        "  --env NAME=VALUE         a variable for all ranks; may be repeated\n"
        "  --seal auto|on|off       what groups of libdhole seal: what leaves the host (auto, the\n"
        "                           default), everything, nothing; keys are made for the job\n"
        "  --cwd DIR                where the ranks run; else here, on hosts that have the folder\n"
        "  -p, --starting-port P    the first port of the ranks' addresses; 32323, or free ones\n"
        "                           when all ranks are on this machine\n"
        "  --connections-per-ip C   C addresses a rank for each of its IPs\n"
        "  --nccl-port P            where ranks meet with --backend nccl; 12345\n"
        "  --mpi-arg ARGS           words for mpirun with --backend mpi; may be repeated\n"
        "  --timeout S              ends the job after S seconds, with exit code 124\n"
        "  --no-prefix              output as it comes, without ranks before lines\n"
        "  --verbose                says what runs where\n"
        "\n"
        "Examples:\n"
        "  dhole launch -n 4 ./sum\n"
        "  dhole launch --hosts 10.0.0.1,10.0.0.2 -- ./sum --count 1000\n"
        "  dhole launch --hostfile hosts.json --backend ring -- python3 train.py\n"
        "\n"
        "The exit code is that of the rank that failed first, 128 + its signal if one killed it.\n"
        "Besides: 124 --timeout, 126 PROGRAM cannot be run, 127 it is not found, and:\n",
    .run = launch,
};
