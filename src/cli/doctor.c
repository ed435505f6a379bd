#include "cli/doctor.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/launch_options.h"
#include "cli/signals.h"
#include "group/env.h"

static const struct option options[] = {
    {"hostfile", required_argument, NULL, 'f'},
    {"backend", required_argument, NULL, 'b'},
    {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static bool is_examined(const char *backend)
{
    static const char *const known[] = {"any", "ring", "tcp", "shm", "jaccl", "jaccl-ring"};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(backend, known[i]) == 0)
            return true;
    return false;
}

static int parse(int argc, char **argv, struct dhole__doctor *d, bool *help)
{
    int c;

    while ((c = dhole__next_option(argc, argv, options)) != -1)
        switch (c) {
        case 'f': d->hostfile = optarg; break;
        case 'b': d->chosen = optarg; break;
        case 'j': d->json = true; break;
        case 'h': *help = true; return DHOLE__EXIT_DONE;
        default: return DHOLE__EXIT_USAGE;
        }
    if (d->chosen != NULL && !is_examined(d->chosen))
        return dhole__usage(argv[0],
                            "--backend \"%s\": expected any, ring (or tcp), shm, jaccl or "
                            "jaccl-ring",
                            d->chosen);
    return DHOLE__EXIT_DONE;
}

static void choose_backend(struct dhole__doctor *d, const char *backend)
{
    if (d->backend[0] == '\0' && backend != NULL)
        snprintf(d->backend, sizeof d->backend, "%s", backend);
}

/* This rank's row of the device matrix. */
static void take_devices(struct dhole__doctor *d, const struct dhole__env *env)
{
    const char *const *row = dhole__devices_row(&env->devices, env->rank);

    d->wanted = d->wanted != NULL ? d->wanted : json_array();
    for (int peer = 0; peer < env->devices.size; peer++) {
        char name[dhole__devices_max][dhole__devices_name_max + 1];
        int n = row[peer] != NULL ? dhole__devices_split(row[peer], name) : 0;
        for (int i = 0; i < n; i++)
            json_array_append_new(d->wanted, dhole__doctor_string(name[i]));
    }
}

static void read_environment(struct dhole__doctor *d)
{
    struct dhole__env env;

    if (dhole__env_read(d->backend[0] != '\0' ? d->backend : NULL, &env) != DHOLE_OK) {
        dhole__doctor_say_error(d, DHOLE__FINDING_PROBLEM, "environment", NULL,
                                "docs/environment.md says what each variable gives");
        return;
    }
    d->rank = env.rank;
    d->ranks = env.size;
    choose_backend(d, env.backend);
    if (env.devices.size > 0)
        take_devices(d, &env);
    if (env.named_by != NULL)
        dhole__doctor_say(d, DHOLE__FINDING_OK, "environment", NULL, NULL,
                          "%s names a group: this is rank %d of %d", env.named_by, env.rank,
                          env.size);
    dhole__env_free(&env);
}

/* What the options, the host file and the environment ask for; that decides what is a problem. */
static void read_wishes(struct dhole__doctor *d, struct dhole__hostfile *hosts)
{
    choose_backend(d, d->chosen);
    if (d->hostfile != NULL && dhole__doctor_read_hosts(d, hosts) != DHOLE_OK)
        dhole__doctor_say_error(d, DHOLE__FINDING_PROBLEM, "hostfile", d->hostfile,
                                "docs/launch.md shows one");
    choose_backend(d, dhole__env_value("DHOLE_BACKEND"));
    read_environment(d);
    choose_backend(d, "any");
    if (!is_examined(d->backend))
        dhole__doctor_say(d, DHOLE__FINDING_NOTE, "backend", d->backend,
                          "dhole launch --backend B -- PROGRAM tells whether it works",
                          "it is not examined: what follows is about the others");
}

/* All ranks of a group print before one ends, as `dhole launch` ends all when one has failed. */
static int examine(struct dhole__doctor *d)
{
    struct dhole__hostfile hosts = {0};
    dhole_group *group = NULL;
    bool printed;

    read_wishes(d, &hosts);
    dhole__doctor_rdma(d);
    if (d->ranks > 1)
        group = dhole__doctor_join(d);
    else
        dhole__doctor_local(d);
    dhole__doctor_peers(d, &hosts);
    dhole__hostfile_free(&hosts);
    if (dhole__signals_caught()) {
        fprintf(stderr, "dhole: interrupted\n");
        dhole_group_free(group);
        return DHOLE__EXIT_SIGNAL + dhole__signals_caught();
    }
    printed = dhole__doctor_print(d);
    if (group != NULL && dhole_barrier(group) != DHOLE_OK)
        printed = false;
    dhole_group_free(group);
    return printed && !d->has_problem ? DHOLE__EXIT_DONE : DHOLE__EXIT_FAILED;
}

static int doctor(int argc, char **argv)
{
    struct dhole__doctor d = {.ranks = 1};
    bool help = false;
    int code = parse(argc, argv, &d, &help);

    if (code != DHOLE__EXIT_DONE)
        return code;
    if (help)
        return dhole__help_on(&dhole__cmd_doctor);
    d.findings = json_array();
    d.devices = json_array();
    d.peers = json_array();
    d.pairs = json_array();
    code = examine(&d);
    json_decref(d.findings);
    json_decref(d.devices);
    json_decref(d.peers);
    json_decref(d.pairs);
    json_decref(d.wanted);
    return code;
}

const struct dhole__subcommand dhole__cmd_doctor = {
    .name = "doctor",
    .summary = "says what this machine can do, what is wrong, and how to mend it",
    .help =
        "Usage: dhole doctor [--hostfile FILE] [--backend B] [--json]\n"
        "\n"
        "Examines this machine: RDMA devices, their ports and addresses, the memory that may be\n"
        "locked for them; and forms a group of two ranks here, over TCP and over shared memory.\n"
        "Each finding is ok, a note or a problem, and comes with what mends it. The exit code is "
        "0\n"
        "when a group can form, 1 when it cannot.\n"
        "\n"
        "With a host file each address of the others is tried, whether or not a rank listens "
        "there\n"
        "yet. Latency and bandwidth to the others take a rank on each side: run it under dhole\n"
        "launch, and it joins the group and measures each pair of ranks.\n"
        "\n"
        "  --hostfile FILE  the addresses of all ranks: a file for dhole launch, or a list\n"
        "  --backend B      what the group is to be: any, ring (or tcp), shm, jaccl or "
        "jaccl-ring;\n"
        "                   if not given, what the host file or the environment says. RDMA that\n"
        "                   does not work is a problem for jaccl, and a note for the others\n"
        "  --json           one JSON object, on one line\n"
        "\n"
        "Examples:\n"
        "  dhole doctor\n"
        "  dhole doctor --backend jaccl --hostfile hosts.json\n"
        "  dhole launch --hostfile hosts.json -- dhole doctor\n",
    .run = doctor,
};
