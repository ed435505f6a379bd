/* The mesh: a control connection and a lane between every two ranks, checked and, when
 * asked for, sealed. */
#ifndef DHOLE_GROUP_MESH_H
#define DHOLE_GROUP_MESH_H

#include "coll/comm.h"
#include "dhole/group.h"
#include "group/hello.h"
#include "transport/transport.h"

struct dhole__mesh {
    int rank, size;
    struct dhole__conn *control[dhole__rank_max]; /* NULL for this rank itself */
    struct dhole__conn *lane[dhole__rank_max];
    int host[dhole__rank_max];     /* the same number for ranks that share memory */
    bool memory[dhole__rank_max];  /* the lane goes through memory, not sealed */
    bool devices[dhole__rank_max]; /* the lane goes over RDMA, sealed or not */
    struct dhole__rdma *rdma;      /* all its devices, or NULL */
    bool local[dhole__rank_max];   /* the rank is on this host, whatever its lane */
};

/* Connects to all other ranks over `transport`: dials the lower ones, then takes the higher
 * ones in. rank, size, session, agreement, host, identity, pins, devices and cancel_fd of the
 * options are used; the strings are not NULL. *out is untouched on failure. */
DHOLE__MUST_CHECK dhole_err dhole__mesh_open(struct dhole__transport *transport,
                                             const dhole_options *options, enum dhole__lanes lanes,
                                             dhole__deadline deadline, struct dhole__mesh *out);

void dhole__mesh_close(struct dhole__mesh *mesh);

#endif
