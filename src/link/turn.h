/* Whose turn it is: a lock that is waited for with a deadline. */
#ifndef DHOLE_LINK_TURN_H
#define DHOLE_LINK_TURN_H

#include <pthread.h>
#include <stdbool.h>

#include "base/clock.h"

struct dhole__turn {
    pthread_mutex_t lock;
    pthread_cond_t given;
    bool taken;
};

void dhole__turn_init(struct dhole__turn *turn);
void dhole__turn_destroy(struct dhole__turn *turn);

/* False: somebody else has had it until the deadline. */
bool dhole__turn_take(struct dhole__turn *turn, dhole__deadline deadline);
void dhole__turn_give(struct dhole__turn *turn);

#endif
