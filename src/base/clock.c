#include "base/clock.h"

#include <limits.h>

#include "base/os.h"

enum { ns_per_ms = 1000000, far_ms = 1000 };

static int64_t read_clock(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t dhole__now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

/* A deadline far away need not be exact, and every call has one. */
dhole__deadline dhole__deadline_in(int64_t ms)
{
    int64_t now = read_clock(ms < far_ms ? CLOCK_MONOTONIC : dhole__coarse_clock);

    if (ms <= 0)
        return now;
    if (ms > (INT64_MAX - now) / ns_per_ms)
        return INT64_MAX;
    return now + ms * ns_per_ms;
}

int dhole__deadline_ms(dhole__deadline deadline)
{
    int64_t left = deadline - dhole__now();

    if (left <= 0)
        return 0;
    if (left / ns_per_ms >= INT_MAX)
        return INT_MAX;
    return (int)((left + ns_per_ms - 1) / ns_per_ms);
}

dhole__deadline dhole__deadline_min(dhole__deadline a, dhole__deadline b)
{
    return a < b ? a : b;
}
