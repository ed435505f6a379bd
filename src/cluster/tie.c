#include "cluster/tie.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/sys.h"
#include "cluster/session.h"
#include "group/backend.h"
#include "group/liveness.h"

struct dhole__knot {
    pthread_mutex_t lock;
    int ends;               /* that are left: the session's, and each group's */
    dhole_cluster *session; /* NULL: its end is cut */
};

struct tie {
    struct dhole__knot *knot;
    uint64_t life;
};

dhole_err dhole__knot_make(dhole_cluster *session, struct dhole__knot **out)
{
    struct dhole__knot *knot = dhole__sys.calloc(1, sizeof *knot);

    if (knot == NULL)
        return dhole__fail_nomem(sizeof *knot, "a session");
    pthread_mutex_init(&knot->lock, NULL);
    knot->ends = 1;
    knot->session = session;
    *out = knot;
    return DHOLE_OK;
}

static void drop_end(struct dhole__knot *knot, bool is_session)
{
    int left;

    pthread_mutex_lock(&knot->lock);
    if (is_session)
        knot->session = NULL;
    left = --knot->ends;
    pthread_mutex_unlock(&knot->lock);
    if (left > 0)
        return;
    pthread_mutex_destroy(&knot->lock);
    free(knot);
}

void dhole__knot_cut(struct dhole__knot *knot)
{
    drop_end(knot, true);
}

static void heard(void *arg, int rank)
{
    struct tie *tie = arg;

    pthread_mutex_lock(&tie->knot->lock);
    if (tie->knot->session != NULL)
        dhole__session_heard(tie->knot->session, tie->life, rank);
    pthread_mutex_unlock(&tie->knot->lock);
}

static void lost(void *arg, int rank)
{
    struct tie *tie = arg;

    pthread_mutex_lock(&tie->knot->lock);
    if (tie->knot->session != NULL)
        dhole__session_doubt(tie->knot->session, tie->life, rank);
    pthread_mutex_unlock(&tie->knot->lock);
}

static void release(void *arg)
{
    struct tie *tie = arg;

    drop_end(tie->knot, false);
    free(tie);
}

dhole_err dhole__knot_tie(struct dhole__knot *knot, uint64_t life, dhole_group *group)
{
    struct tie *tie = dhole__sys.calloc(1, sizeof *tie);
    struct dhole__observer observer = {heard, lost, release, tie};

    if (tie == NULL)
        return dhole__fail_nomem(sizeof *tie, "a group");
    *tie = (struct tie){knot, life};
    pthread_mutex_lock(&knot->lock);
    knot->ends++;
    pthread_mutex_unlock(&knot->lock);
    dhole__group_observe(group, &observer);
    return DHOLE_OK;
}
