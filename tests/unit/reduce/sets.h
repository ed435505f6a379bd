/* The loop sets to test. */
#ifndef TEST_REDUCE_SETS_H
#define TEST_REDUCE_SETS_H

#include "reduce/loops.h"

enum { sets_max = 3 };

/* Names of those that this machine runs; returns how many. */
static inline int loop_sets(const char *names[static sets_max])
{
    static const char *const all[sets_max] = {"baseline", "avx2", "avx512"};
    int n = 0;

    for (int i = 0; i < sets_max; i++)
        if (dhole__loops_use(all[i]))
            names[n++] = all[i];
    return n;
}

#endif
