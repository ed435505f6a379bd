/* Messages of this rank to itself: copies, in the order in which they were sent. */
#ifndef DHOLE_COLL_SELF_H
#define DHOLE_COLL_SELF_H

#include <stdint.h>

#include "base/error.h"
#include "dhole/dtype.h"

struct dhole__self_message;

struct dhole__self {
    struct dhole__self_message *first, *last;
};

/* DHOLE_ERR_NOMEM when there is no room for a copy. */
DHOLE__MUST_CHECK dhole_err dhole__self_put(struct dhole__self *self, const void *data,
                                            size_t count, dhole_dtype dtype);

/* The oldest message into data. DHOLE_ERR_MISMATCH, and no change, when it has another count or
 * type, or when there is none: it could never come while this rank waits for it. */
DHOLE__MUST_CHECK dhole_err dhole__self_take(struct dhole__self *self, void *data, size_t count,
                                             dhole_dtype dtype);

void dhole__self_free(struct dhole__self *self);

#endif
