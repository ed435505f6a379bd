#include "nn/kernels.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "base/log.h"
#include "base/os.h"
#include "nn/linear.h"

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

    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}
#endif

/* Best first; the last one runs everywhere. */
static const struct {
    const char *name; /* as in DHOLE_KERNELS */
    bool (*usable)(void);
    const struct dhole__kernels *kernels;
} sets[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512, &dhole__kernels_avx512},
    {"avx2", has_avx2, &dhole__kernels_avx2},
#elif defined(__aarch64__)
    {"neon", dhole__cpu_has_dot_product, &dhole__kernels_neon},
#endif
    {"portable", always, &dhole__kernels_portable},
};

static const struct dhole__kernels *chosen;

static void choose(void)
{
    const char *wanted = getenv("DHOLE_KERNELS");

    for (size_t i = 0; i < sizeof sets / sizeof *sets && chosen == NULL; i++)
        if ((wanted == NULL || strcmp(wanted, sets[i].name) == 0) && sets[i].usable())
            chosen = sets[i].kernels;
    if (chosen != NULL)
        return;
    chosen = &dhole__kernels_portable;
    dhole__log(DHOLE__LOG_WARN,
               "DHOLE_KERNELS=%s: this processor or build has no such set, using portable; "
               "known are avx512, avx2, neon, portable",
               wanted);
}

const struct dhole__kernels *dhole__kernels(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, choose);
    return chosen;
}

const char *dhole__kernels_name(void)
{
    return dhole__kernels()->name;
}
