#include "cluster/health.h"

void dhole__health_begin(struct dhole__health *health, int64_t now)
{
    *health = (struct dhole__health){.heard = now};
}

static enum dhole__health_step ask(struct dhole__health *health, int64_t now, int64_t answer_ns,
                                   dhole__deadline *next)
{
    health->pinged = now;
    health->doubtful = false;
    *next = now + answer_ns;
    return DHOLE__HEALTH_PING;
}

/* A ping has two thirds of the time between pings to be answered, so that a peer is lost after
 * three such times of silence. */
enum dhole__health_step dhole__health_look(struct dhole__health *health, int64_t heard, int64_t now,
                                           int64_t ping_ns, dhole__deadline *next)
{
    int64_t answer_ns = ping_ns / 3 * 2;

    if (heard > health->heard) {
        health->heard = heard;
        health->pinged = 0;
        health->missed = 0;
    }
    if (health->pinged == 0 && health->doubtful)
        return ask(health, now, answer_ns, next);
    *next = health->pinged == 0 ? health->heard + ping_ns : health->pinged + answer_ns;
    if (now < *next)
        return DHOLE__HEALTH_FINE;
    if (health->pinged != 0 && ++health->missed == dhole__missed_max)
        return DHOLE__HEALTH_LOST;
    return ask(health, now, answer_ns, next);
}
