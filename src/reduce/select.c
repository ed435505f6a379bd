#include <stdatomic.h>
#include <string.h>

#include "reduce/loops.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static bool always(void)
{
    return true;
}

#if defined(__x86_64__)

/* __builtin_cpu_supports also asks whether the system saves the wide registers; not every
 * compiler's knows F16C. */
static bool has_avx2(void)
{
    unsigned a, b, c, d;

    return __builtin_cpu_supports("avx2") && __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

#endif

/* Widest first. */
static const struct {
    const struct dhole__loops *loops;
    bool (*usable)(void);
} sets[] = {
#if defined(__x86_64__)
    {&dhole__loops_avx512, has_avx512},
    {&dhole__loops_avx2, has_avx2},
#endif
    {&dhole__loops_baseline, always},
};

static _Atomic(const struct dhole__loops *) chosen;

bool dhole__loops_use(const char *name)
{
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        if ((name == NULL || strcmp(name, sets[i].loops->name) == 0) && sets[i].usable()) {
            atomic_store_explicit(&chosen, sets[i].loops, memory_order_relaxed);
            return true;
        }
    }
    return false;
}

/* Two threads that come here first both choose the same set. */
const struct dhole__loops *dhole__loops(void)
{
    const struct dhole__loops *loops = atomic_load_explicit(&chosen, memory_order_relaxed);

    if (loops == NULL) {
        dhole__loops_use(NULL);
        loops = atomic_load_explicit(&chosen, memory_order_relaxed);
    }
    return loops;
}
