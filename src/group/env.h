/* What the environment says about the group that this process belongs to. docs/environment.md has
 * the table; the tests run its rows. */
#ifndef DHOLE_GROUP_ENV_H
#define DHOLE_GROUP_ENV_H

#include <stdbool.h>

#include "group/devices.h"
#include "group/hostfile.h"

enum { dhole__env_session_max = 64, dhole__env_coordinator_max = 512 };

struct dhole__env {
    const char *named_by; /* the variable or launcher that names the group; NULL: nothing does */
    int rank, size;       /* 0 and 1 when nothing names a group */
    /* Where the ranks are, or where they tell each other (rendezvous.h): of a group of two or
     * more one of the two is set. */
    struct dhole__hostfile hosts;
    char coordinator[dhole__env_coordinator_max];
    char session[dhole__env_session_max + 1]; /* keeps apart what a launcher starts; may be "" */
    const char *backend;                      /* that the group must have; NULL: any of ours */
    struct dhole__devices devices;            /* of jaccl */
    bool ring;
};

/* Nothing is silent: whatever names a group that cannot be joined is an error that names the
 * variable. DHOLE_ERR_CONFIG when one is wrong or missing, DHOLE_ERR_UNSUPPORTED when they name a
 * backend that this build does not have. Only what `backend` can join is looked at; NULL or "any"
 * is all. */
DHOLE__MUST_CHECK dhole_err dhole__env_read(const char *backend, struct dhole__env *out);
void dhole__env_free(struct dhole__env *env);

/* The value of a variable; NULL when it is not set or empty. */
const char *dhole__env_value(const char *name);

/* The number in a variable that is set. */
DHOLE__MUST_CHECK dhole_err dhole__env_number(const char *name, long min, long max, long *out);

/* Rank and size from two variables, which are set. */
DHOLE__MUST_CHECK dhole_err dhole__env_rank(const char *rank, const char *size,
                                            struct dhole__env *env);

#endif
