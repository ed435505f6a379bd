/* Calls that wait for their turn, and the thread that makes them: what is behind the non-blocking
 * forms, and behind a blocking call that comes while such calls are outstanding. */
#ifndef DHOLE_GROUP_REQUEST_H
#define DHOLE_GROUP_REQUEST_H

#include <stdbool.h>

#include "group/call.h"

/* Whether calls are outstanding: then the lanes are the thread's. */
static inline bool dhole__busy(const dhole_group *group)
{
    return atomic_load_explicit(&group->outstanding, memory_order_acquire) > 0;
}

/* Queues the call. A failure to do so breaks the group. */
DHOLE__MUST_CHECK dhole_err dhole__post(dhole_group *group, const struct dhole__task *task,
                                        dhole_request **out);

/* Queues the call and waits for its end. */
DHOLE__MUST_CHECK dhole_err dhole__post_and_wait(dhole_group *group,
                                                 const struct dhole__task *task);

/* In the thread: whether one of the caller's waits for a request that needs the rank `peer`; then
 * which thread. */
bool dhole__queue_waits_for(dhole_group *group, int peer, pthread_t *thread);

/* Stops the thread; calls that are outstanding end with DHOLE_ERR_CANCELLED. */
void dhole__queue_close(dhole_group *group);

/* Has group->idle used by calls of the caller's thread, and by these only. */
void dhole__queue_set_idle(dhole_group *group, int (*run)(void *arg), void *arg);

#endif
