/* Whether a peer is alive: a ping when nothing was heard of it for a while, and three that are not
 * answered are its loss. All times are points on dhole__now's clock. */
#ifndef DHOLE_CLUSTER_HEALTH_H
#define DHOLE_CLUSTER_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

enum { dhole__missed_max = 3 };

struct dhole__health {
    int64_t heard;  /* the last sign of life that was seen here */
    int64_t pinged; /* the ping that is out; 0: none is */
    int missed;
    bool doubtful; /* to be set: it is asked at the next look, whenever it was heard */
};

enum dhole__health_step { DHOLE__HEALTH_FINE, DHOLE__HEALTH_PING, DHOLE__HEALTH_LOST };

void dhole__health_begin(struct dhole__health *health, int64_t now);

/* To be called at *next at the latest. `heard` is when the peer was last heard. */
enum dhole__health_step dhole__health_look(struct dhole__health *health, int64_t heard, int64_t now,
                                           int64_t ping_ns, dhole__deadline *next);

#endif
