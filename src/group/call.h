/* A call on a group, as data: checked once, then made at once or queued. */
#ifndef DHOLE_GROUP_CALL_H
#define DHOLE_GROUP_CALL_H

#include "group/backend.h"

enum dhole__verb {
    DHOLE__CALL_BARRIER,
    DHOLE__CALL_ALL_REDUCE,
    DHOLE__CALL_ALL_GATHER,
    DHOLE__CALL_SUM_SCATTER,
    DHOLE__CALL_ALL_TO_ALL,
    DHOLE__CALL_BROADCAST,
    DHOLE__CALL_SEND,
    DHOLE__CALL_RECV,
};

struct dhole__task {
    enum dhole__verb verb;
    enum dhole__op op;
    const void *in; /* also what is sent */
    void *out;      /* also what is received, or broadcast */
    size_t count;
    dhole_dtype dtype;
    int peer; /* the root, or the other side */
    int64_t timeout_ms;
};

/* DHOLE_OK, or why the group is broken, which then is what every later call returns. */
DHOLE__MUST_CHECK dhole_err dhole__group_check(dhole_group *group);

/* Makes the call in this thread. */
DHOLE__MUST_CHECK dhole_err dhole__task_run(dhole_group *group, const struct dhole__task *task);

#endif
