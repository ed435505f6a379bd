/* Who is alive, and what went wrong first. A thread of the group's own watches the control
 * connections: it sends heartbeats, notices peers that are gone or silent, tells all
 * peers when this rank breaks the group, and hears when another does.
 *
 * The first thing that goes wrong is the group's verdict: one error, one rank at fault, one
 * sentence, the same on all ranks. With it the lanes are shut down, which wakes
 * whoever waits on them. The control connections stay, for those who are left to agree on
 * who they are. */
#ifndef DHOLE_GROUP_LIVENESS_H
#define DHOLE_GROUP_LIVENESS_H

#include "coll/waits.h"
#include "group/mesh.h"
#include "group/roll.h"

struct dhole__liveness;

/* Starts watching; the mesh must stay until dhole__liveness_stop, and its control
 * connections are the watcher's from here on. A peer may still be busy connecting to others, so its
 * silence counts only once it was heard, or after grace_ms. Alone in the group there is no thread.
 */
DHOLE__MUST_CHECK dhole_err dhole__liveness_start(struct dhole__mesh *mesh, int64_t silence_ms,
                                                  int64_t grace_ms, struct dhole__liveness **out);

/* Who wants to know of a group's peers, in the thread that watches them. */
struct dhole__observer {
    /* Bytes have come over the lane of that rank since the last time. */
    void (*heard)(void *arg, int rank);
    /* The verdict is that it was lost. */
    void (*lost)(void *arg, int rank);
    /* Nothing more comes. */
    void (*release)(void *arg);
    void *arg;
};

/* Once, and right after the start. */
void dhole__liveness_observe(struct dhole__liveness *liveness,
                             const struct dhole__observer *observer);

/* All ranks are through with connecting: there is no grace any more. */
void dhole__liveness_all_here(struct dhole__liveness *liveness);

/* Says goodbye to the peers and stops. NULL is allowed. */
void dhole__liveness_stop(struct dhole__liveness *liveness);

/* The verdict, with its sentence as this thread's message; DHOLE_OK while there is none. */
DHOLE__MUST_CHECK dhole_err dhole__liveness_check(struct dhole__liveness *liveness);

/* Proposes a verdict, with this thread's message as its sentence, and returns the one that stands:
 * a former one wins. `culprit` is the rank at fault. */
DHOLE__MUST_CHECK dhole_err dhole__liveness_report(struct dhole__liveness *liveness, dhole_err err,
                                                   int culprit);

/* A call's deadline has passed, and this thread's message says that it was for `culprit`, who may
 * have waited itself for a rank `hearsay` steps away: gives those that are nearer to that one the
 * time to speak first. */
DHOLE__MUST_CHECK dhole_err dhole__liveness_report_late(struct dhole__liveness *liveness,
                                                        int culprit, int hearsay);

/* This rank has waited for a while: what each rank is told of it, by rank; NULL: it does not any
 * more. A peer that makes another call in the place of this rank's is a mismatch. */
void dhole__liveness_wait(struct dhole__liveness *liveness, const struct dhole__waits *waits);

/* Whether a peer has waited for a while; then in what. */
bool dhole__liveness_waits(struct dhole__liveness *liveness, int peer, struct dhole__waits *out);

/* Whether this rank has; then what it tells `peer`. */
bool dhole__liveness_own_wait(struct dhole__liveness *liveness, int peer, struct dhole__waits *out);

/* This rank's wait for `*culprit` is over time: DHOLE_ERR_MISMATCH, in words, if that one or, with
 * *culprit set to it, another one waits too, and in a call for which it would need this rank. */
DHOLE__MUST_CHECK dhole_err dhole__liveness_deadlock(struct dhole__liveness *liveness,
                                                     int *culprit);

/* The lane to `peer` broke. That can be because of the peer, or because the peer has a verdict
 * about somebody else that is still on its way to us: waits for it briefly. */
DHOLE__MUST_CHECK dhole_err dhole__liveness_report_broken(struct dhole__liveness *liveness,
                                                          int peer);

/* The rank that the verdict is about; there must be one. */
int dhole__liveness_culprit(struct dhole__liveness *liveness);

/* After a verdict the watching goes on, for the sake of dhole_shrink. */
struct dhole__roll *dhole__liveness_roll(struct dhole__liveness *liveness);

/* Enters in the roll where this rank stands, and tells all peers. */
void dhole__liveness_say(struct dhole__liveness *liveness, const struct dhole__stance *stance);

#endif
