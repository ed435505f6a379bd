/* What a device reports of itself, beside completions: that it has failed, or that its port went
 * down. */
#ifndef DHOLE_TRANSPORT_RDMA_EVENTS_H
#define DHOLE_TRANSPORT_RDMA_EVENTS_H

#include "transport/rdma/device.h"

/* Makes device->events a descriptor that is readable when there is something to look at, or -1
 * where the device tells nothing. */
void dhole__events_open(struct dhole__device *device);

/* Takes what has come. Fails once the device can't be used any more, and from then on; any of those
 * who use it may be the one to take it, one at a time. */
DHOLE__MUST_CHECK dhole_err dhole__events_look(struct dhole__device *device);

#endif
