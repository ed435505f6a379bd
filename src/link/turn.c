#include "link/turn.h"

#include <time.h>

/* In slices, as the clock of the day, by which it sleeps, may be set back. */
static const int64_t slice_ns = 100000000;

void dhole__turn_init(struct dhole__turn *turn)
{
    pthread_mutex_init(&turn->lock, NULL);
    pthread_cond_init(&turn->given, NULL);
    turn->taken = false;
}

void dhole__turn_destroy(struct dhole__turn *turn)
{
    pthread_cond_destroy(&turn->given);
    pthread_mutex_destroy(&turn->lock);
}

static void wait_some(struct dhole__turn *turn, int64_t left)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += left < slice_ns ? left : slice_ns;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&turn->given, &turn->lock, &until);
}

bool dhole__turn_take(struct dhole__turn *turn, dhole__deadline deadline)
{
    bool mine;
    int64_t left;

    pthread_mutex_lock(&turn->lock);
    while (turn->taken && (left = deadline - dhole__now()) > 0)
        wait_some(turn, left);
    mine = !turn->taken;
    turn->taken = true;
    pthread_mutex_unlock(&turn->lock);
    return mine;
}

void dhole__turn_give(struct dhole__turn *turn)
{
    pthread_mutex_lock(&turn->lock);
    turn->taken = false;
    pthread_cond_signal(&turn->given);
    pthread_mutex_unlock(&turn->lock);
}
