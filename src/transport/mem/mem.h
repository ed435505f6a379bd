/* In-process connections: two ends of a pair of byte rings. */
#ifndef DHOLE_TRANSPORT_MEM_MEM_H
#define DHOLE_TRANSPORT_MEM_MEM_H

#include "transport/conn.h"

/* Makes two connected ends; each is closed by its owner, in any thread. */
DHOLE__MUST_CHECK dhole_err dhole__mem_pair(struct dhole__conn *out[static 2]);

#endif
