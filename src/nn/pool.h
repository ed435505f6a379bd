/* A small pool of threads for data-parallel loops; the caller is one of them. */
#ifndef DHOLE_NN_POOL_H
#define DHOLE_NN_POOL_H

#include <stddef.h>

#include "base/error.h"

struct dhole__pool;

/* threads >= 1 counts the caller: 1 starts no thread and runs everything inline. */
DHOLE__MUST_CHECK dhole_err dhole__pool_create(int threads, struct dhole__pool **out);

/* Cuts 0..items into contiguous ranges of at least `grain` items, calls fn on each, side by
 * side, and returns when all are done. Idle workers spin briefly, then sleep. One
 * caller at a time. What fn computes must not depend on where the cuts are. */
void dhole__pool_run(struct dhole__pool *pool, void (*fn)(void *arg, size_t first, size_t last),
                     void *arg, size_t items, size_t grain);

/* NULL is allowed. */
void dhole__pool_free(struct dhole__pool *pool);

#endif
