#include "cli/launch_options.h"

#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "cli/cli.h"
#include "coll/comm.h"
#include "group/keys.h"

enum { connections_max = 16, port_max = 65535, timeout_max = 10 * 365 * 24 * 3600 };

enum {
    opt_hosts = 256,
    opt_hostfile,
    opt_backend,
    opt_env,
    opt_seal,
    opt_mpi_arg,
    opt_cwd,
    opt_connections,
    opt_nccl_port,
    opt_timeout,
    opt_verbose,
    opt_no_prefix
};

static const struct option options[] = {
    {"hosts", required_argument, NULL, opt_hosts},
    {"hostfile", required_argument, NULL, opt_hostfile},
    {"repeat-hosts", required_argument, NULL, 'n'},
    {"backend", required_argument, NULL, opt_backend},
    {"env", required_argument, NULL, opt_env},
    {"seal", required_argument, NULL, opt_seal},
    {"mpi-arg", required_argument, NULL, opt_mpi_arg},
    {"cwd", required_argument, NULL, opt_cwd},
    {"starting-port", required_argument, NULL, 'p'},
    {"connections-per-ip", required_argument, NULL, opt_connections},
    {"nccl-port", required_argument, NULL, opt_nccl_port},
    {"timeout", required_argument, NULL, opt_timeout},
    {"verbose", no_argument, NULL, opt_verbose},
    {"no-prefix", no_argument, NULL, opt_no_prefix},
    {"help", no_argument, NULL, 'h'},
    {0},
};

bool dhole__launch_is_backend(const char *name)
{
    static const char *const known[] = {"any",   "ring",       "tcp", "shm",
                                        "jaccl", "jaccl-ring", "mpi", "nccl"};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(name, known[i]) == 0)
            return true;
    return false;
}

bool dhole__launch_is_variable(const char *text)
{
    const char *p = text;

    while (*p == '_' || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
           (p > text && *p >= '0' && *p <= '9'))
        p++;
    return p > text && *p == '=';
}

static bool take_env(char **argv, struct dhole__launch_options *o)
{
    if (!dhole__launch_is_variable(optarg)) {
        dhole__usage(argv[0], "--env \"%s\": expected NAME=VALUE", optarg);
        return false;
    }
    o->env[o->envs++] = optarg;
    return true;
}

static bool take_backend(char **argv, struct dhole__launch_options *o)
{
    if (!dhole__launch_is_backend(optarg)) {
        dhole__usage(argv[0], "--backend \"%s\": expected " DHOLE__LAUNCH_BACKENDS, optarg);
        return false;
    }
    o->backend = optarg;
    return true;
}

static bool take_seal(char **argv, struct dhole__launch_options *o)
{
    enum dhole__sealing sealing;

    if (*optarg == '\0' || dhole__sealing_parse(optarg, &sealing) != DHOLE_OK) {
        dhole__usage(argv[0], "--seal \"%s\": expected auto, on or off", optarg);
        return false;
    }
    o->seal = optarg;
    return true;
}

/* Takes option c; false after its fault has been printed. */
static bool take(char **argv, int c, struct dhole__launch_options *o)
{
    switch (c) {
    case opt_hosts: o->hosts = optarg; return true;
    case opt_hostfile: o->hostfile = optarg; return true;
    case 'n': return dhole__option_int(argv, "repeat-hosts", 1, dhole__rank_max, &o->repeat);
    case opt_backend: return take_backend(argv, o);
    case opt_env: return take_env(argv, o);
    case opt_seal: return take_seal(argv, o);
    case opt_mpi_arg: o->mpi_arg[o->mpi_args++] = optarg; return true;
    case opt_cwd: o->cwd = optarg; return true;
    case 'p': return dhole__option_int(argv, "starting-port", 1, port_max, &o->starting_port);
    case opt_connections:
        return dhole__option_int(argv, "connections-per-ip", 1, connections_max, &o->connections);
    case opt_nccl_port: return dhole__option_int(argv, "nccl-port", 1, port_max, &o->nccl_port);
    case opt_timeout:
        return dhole__option_float(argv, "timeout", 0.001f, timeout_max, "of seconds above 0",
                                   &o->timeout);
    case opt_verbose: o->verbose = true; return true;
    case opt_no_prefix: o->no_prefix = true; return true;
    case 'h': o->help = true; return true;
    default: return false;
    }
}

int dhole__launch_options_parse(int argc, char **argv, struct dhole__launch_options *out)
{
    size_t size = (size_t)argc * sizeof *out->env;
    int c;

    *out = (struct dhole__launch_options){0};
    out->env = dhole__sys.malloc(size);
    out->mpi_arg = dhole__sys.malloc(size);
    if (out->env == NULL || out->mpi_arg == NULL)
        return dhole__report(dhole__fail_nomem(size, "the options"));
    while ((c = dhole__next_option_before(argc, argv, "n:p:", options)) != -1)
        if (!take(argv, c, out))
            return DHOLE__EXIT_USAGE;
    out->command = argv + optind;
    if (out->help)
        return DHOLE__EXIT_DONE;
    if (out->hosts != NULL && out->hostfile != NULL)
        return dhole__usage(argv[0], "--hosts and --hostfile both name the hosts: give one");
    for (int i = 0; i < out->envs && out->seal != NULL; i++)
        if (strncmp(out->env[i], "DHOLE_SEAL=", strlen("DHOLE_SEAL=")) == 0)
            return dhole__usage(argv[0], "--seal and --env %s both say what is sealed: give one",
                                out->env[i]);
    if (out->command[0] == NULL)
        return dhole__usage(argv[0], "no PROGRAM is given");
    return DHOLE__EXIT_DONE;
}

void dhole__launch_options_free(struct dhole__launch_options *o)
{
    free(o->env);
    free(o->mpi_arg);
}
