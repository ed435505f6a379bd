/* `dhole launch --backend mpi`: mpirun starts the ranks. */
#ifndef DHOLE_CLI_LAUNCH_MPI_H
#define DHOLE_CLI_LAUNCH_MPI_H

#include "cli/launch.h"
#include "cli/launch_hosts.h"

/* Makes the job one of running mpirun, and runs it; returns the exit code. */
int dhole__launch_mpi(const struct dhole__launch_hosts *hosts,
                      const struct dhole__launch_options *options, struct dhole__launch_job *job);

#endif
