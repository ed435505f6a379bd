#include "group/groups.h"

#include <stdio.h>

#include "group/settings.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* for the list, and what is in it */
static struct dhole__entry *first;

void dhole__groups_add(struct dhole__entry *entry, dhole_group *group,
                       const struct dhole__comm *comm, struct dhole__liveness *live)
{
    entry->group = group;
    entry->comm = comm;
    entry->live = live;
    atomic_store(&group->thread, pthread_self());
    pthread_mutex_lock(&lock);
    entry->next = first;
    first = entry;
    pthread_mutex_unlock(&lock);
}

void dhole__groups_remove(struct dhole__entry *entry)
{
    struct dhole__entry **at = &first;

    pthread_mutex_lock(&lock);
    while (*at != NULL && *at != entry)
        at = &(*at)->next;
    if (*at != NULL)
        *at = entry->next;
    pthread_mutex_unlock(&lock);
}

/* The number in another group of the rank that is `peer` here; -1: it is not in it. */
static int find_rank(const dhole_group *here, int peer, const dhole_group *there)
{
    for (int rank = 0; rank < there->size; rank++)
        if (rank != there->rank && there->origin[rank] == here->origin[peer])
            return rank;
    return -1;
}

/* The rank there that is `peer` here, if it waits for this thread of ours; then how. -1: it does
 * not. */
static int find_waiting(const struct dhole__entry *here, int peer, pthread_t thread,
                        struct dhole__entry *there, struct dhole__waits *out)
{
    int rank;

    /* Of a group of another thread's nothing is looked at: it may be changing. */
    if (there == here || !pthread_equal(atomic_load(&there->group->thread), thread) ||
        atomic_load(&there->group->outstanding) > 0)
        return -1;
    rank = find_rank(here->group, peer, there->group);
    if (rank < 0 || !dhole__liveness_waits(there->live, rank, out) ||
        !dhole__waits_need(out, rank, there->comm))
        return -1;
    return rank;
}

static dhole_err mismatch(const struct dhole__entry *here, int culprit,
                          const struct dhole__entry *there, const struct dhole__waits *theirs)
{
    struct dhole__waits ours;
    char ours_text[160] = "", theirs_text[160];

    if (dhole__liveness_own_wait(here->live, culprit, &ours))
        dhole__waits_describe(&ours, ours_text, sizeof ours_text);
    dhole__waits_describe(theirs, theirs_text, sizeof theirs_text);
    return dhole__fail(DHOLE_ERR_MISMATCH,
                       "rank %d calls %s in group \"%.64s\"; rank %d calls %s in group \"%.64s\"",
                       here->group->rank, ours_text, here->group->settings->options.session,
                       culprit, theirs_text, there->group->settings->options.session);
}

/* This group first: the other rank, once it is told in the one in which it waits, may go on here.
 */
dhole_err dhole__groups_mismatch(struct dhole__entry *here, int culprit, pthread_t thread)
{
    dhole_err err = DHOLE_OK;

    if (here->group == NULL)
        return DHOLE_OK;
    pthread_mutex_lock(&lock);
    for (struct dhole__entry *there = first; there != NULL && !err; there = there->next) {
        struct dhole__waits theirs;
        int peer = find_waiting(here, culprit, thread, there, &theirs);
        if (peer < 0)
            continue;
        /* Both return a verdict, never that all is well. */
        if (dhole__liveness_report(here->live, mismatch(here, culprit, there, &theirs), culprit) &&
            dhole__liveness_report(there->live, mismatch(here, culprit, there, &theirs), peer))
            err = dhole__liveness_check(here->live);
    }
    pthread_mutex_unlock(&lock);
    return err;
}
