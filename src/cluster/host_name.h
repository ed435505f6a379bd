/* What a machine is called when nobody says otherwise. */
#ifndef DHOLE_CLUSTER_HOST_NAME_H
#define DHOLE_CLUSTER_HOST_NAME_H

#include "dhole/cluster.h"

/* The host's name up to its first dot, as a valid name of a machine. */
void dhole__host_name(char out[static DHOLE_NAME_SIZE]);

#endif
