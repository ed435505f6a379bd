/* The options of `dhole launch`. */
#ifndef DHOLE_CLI_LAUNCH_OPTIONS_H
#define DHOLE_CLI_LAUNCH_OPTIONS_H

#include <stdbool.h>

enum { dhole__launch_default_port = 32323 }; /* that of MLX's launcher */

/* Strings belong to argv; those not given are NULL, numbers 0. */
struct dhole__launch_options {
    const char *hosts, *hostfile, *backend, *cwd, *seal;
    const char **env, **mpi_arg; /* owned arrays */
    int envs, mpi_args;
    long long repeat, connections, starting_port, nccl_port;
    float timeout; /* seconds */
    bool verbose, no_prefix, help;
    char **command;
};

/* DHOLE__EXIT_DONE, or another exit code after the fault has been printed. To be freed in either
 * case. */
int dhole__launch_options_parse(int argc, char **argv, struct dhole__launch_options *out);
void dhole__launch_options_free(struct dhole__launch_options *options);

/* Whether this is a NAME=VALUE with a name that a shell takes. */
bool dhole__launch_is_variable(const char *text);

/* Whether `dhole launch` knows that backend. */
bool dhole__launch_is_backend(const char *name);
#define DHOLE__LAUNCH_BACKENDS "any, ring, tcp, shm, jaccl, jaccl-ring, mpi or nccl"

#endif
