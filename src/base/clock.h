/* Monotonic time in nanoseconds, and deadlines as points on it. */
#ifndef DHOLE_BASE_CLOCK_H
#define DHOLE_BASE_CLOCK_H

#include <stdint.h>

typedef int64_t dhole__deadline;

int64_t dhole__now(void);

/* The point `ms` milliseconds from now, saturating; a negative ms is now. */
dhole__deadline dhole__deadline_in(int64_t ms);

/* Milliseconds left, rounded up, in 0..INT_MAX: what poll() takes. */
int dhole__deadline_ms(dhole__deadline deadline);

/* Whichever comes first. */
dhole__deadline dhole__deadline_min(dhole__deadline a, dhole__deadline b);

#endif
