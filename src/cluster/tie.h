/* What a group tells the session that made it, for as long as both live: bytes that come from a
 * rank show that it is alive, and a loss that the group sees is a reason to look. */
#ifndef DHOLE_CLUSTER_TIE_H
#define DHOLE_CLUSTER_TIE_H

#include "base/error.h"
#include "dhole/cluster.h"

struct dhole__knot;

/* The session's end of all ties. */
DHOLE__MUST_CHECK dhole_err dhole__knot_make(dhole_cluster *session, struct dhole__knot **out);
void dhole__knot_cut(struct dhole__knot *knot);

/* Ties a group of the epoch that is number `life`. */
DHOLE__MUST_CHECK dhole_err dhole__knot_tie(struct dhole__knot *knot, uint64_t life,
                                            dhole_group *group);

#endif
