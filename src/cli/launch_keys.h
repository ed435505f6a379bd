/* The throwaway keys of a job whose ranks are to be sealed. */
#ifndef DHOLE_CLI_LAUNCH_KEYS_H
#define DHOLE_CLI_LAUNCH_KEYS_H

#include "cli/launch_variables.h"
#include "group/keys.h"

extern const char dhole__launch_pins_file[];

/* The name of the file with a rank's key. */
void dhole__launch_identity_file(int r, char out[static dhole__launch_name_size]);

/* Settles what DHOLE_SEAL is to be: --seal, what the ranks are given as DHOLE_SEAL, what this
 * process has, or auto. Then adds a key for each rank and everybody's pins to the job's files, if
 * something is to be sealed and the ranks are not given DHOLE_PINS. */
DHOLE__MUST_CHECK dhole_err dhole__launch_keys(struct dhole__launch_cluster *cluster,
                                               struct dhole__launch_job *job);

#endif
