/* The groups of this process. A rank that is late in one may be waiting in another, as the two
 * disagree about which one to call on. */
#ifndef DHOLE_GROUP_GROUPS_H
#define DHOLE_GROUP_GROUPS_H

#include <pthread.h>

#include "group/backend.h"
#include "group/liveness.h"

/* A group's place in the list. */
struct dhole__entry {
    struct dhole__entry *next;
    dhole_group *group;
    const struct dhole__comm *comm;
    struct dhole__liveness *live;
};

/* Of a group that is complete; to be removed before it is taken apart. */
void dhole__groups_add(struct dhole__entry *entry, dhole_group *group,
                       const struct dhole__comm *comm, struct dhole__liveness *live);

/* One that was never added is allowed. */
void dhole__groups_remove(struct dhole__entry *entry);

/* A thread's wait for `culprit` in a group, which may not be complete yet, is over time, though the
 * thread still waits. If that one waits for the thread in another group, both groups end with
 * DHOLE_ERR_MISMATCH, or what stands already; else DHOLE_OK. */
DHOLE__MUST_CHECK dhole_err dhole__groups_mismatch(struct dhole__entry *here, int culprit,
                                                   pthread_t thread);

#endif
