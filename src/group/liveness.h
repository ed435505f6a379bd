/* Who is alive, and what went wrong first. A thread of the group's own watches the control
 * connections: it sends heartbeats, notices peers that are gone or silent, tells all
 * peers when this rank breaks the group, and hears when another does.
 *
 * The first thing that goes wrong is the group's verdict: one error, one rank at fault, one
 * sentence, the same on all ranks. With it the lanes are shut down, which wakes
 * whoever waits on them. */
#ifndef DHOLE_GROUP_LIVENESS_H
#define DHOLE_GROUP_LIVENESS_H

#include "group/mesh.h"

struct dhole__liveness;

/* Starts watching; the mesh must stay until dhole__liveness_stop, and its control
 * connections are the watcher's from here on. A peer may still be busy connecting to others, so its
 * silence counts only once it was heard, or after grace_ms. Alone in the group there is no thread.
 */
DHOLE__MUST_CHECK dhole_err dhole__liveness_start(struct dhole__mesh *mesh, int64_t silence_ms,
                                                  int64_t grace_ms, struct dhole__liveness **out);

/* Says goodbye to the peers and stops. NULL is allowed. */
void dhole__liveness_stop(struct dhole__liveness *liveness);

/* The verdict, with its sentence as this thread's message; DHOLE_OK while there is none. */
DHOLE__MUST_CHECK dhole_err dhole__liveness_check(struct dhole__liveness *liveness);

/* Proposes a verdict, with this thread's message as its sentence, and returns the one that stands:
 * a former one wins. `culprit` is the rank at fault. */
DHOLE__MUST_CHECK dhole_err dhole__liveness_report(struct dhole__liveness *liveness, dhole_err err,
                                                   int culprit);

/* The lane to `peer` broke. That can be because of the peer, or because the peer has a verdict
 * about somebody else that is still on its way to us: waits for it briefly. */
DHOLE__MUST_CHECK dhole_err dhole__liveness_report_broken(struct dhole__liveness *liveness,
                                                          int peer);

#endif
