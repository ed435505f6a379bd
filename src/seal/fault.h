/* A failure that ends a connection for good: every later call repeats it. */
#ifndef DHOLE_SEAL_FAULT_H
#define DHOLE_SEAL_FAULT_H

#include <stdio.h>

#include "base/error.h"

struct dhole__fault {
    dhole_err err;
    char text[512];
};

/* Keeps err and this thread's message; the first failure wins. Returns the one kept. */
static inline dhole_err dhole__fault_keep(struct dhole__fault *fault, dhole_err err)
{
    if (fault->err == DHOLE_OK && err != DHOLE_OK) {
        fault->err = err;
        snprintf(fault->text, sizeof fault->text, "%s", dhole_error_message());
    }
    return fault->err;
}

static inline dhole_err dhole__fault_repeat(const struct dhole__fault *fault)
{
    return dhole__fail(fault->err, "%s", fault->text);
}

/* The caller did not offer again all of the bytes that are on their way. */
static inline dhole_err dhole__fail_offer(size_t offered, size_t under_way)
{
    return dhole__fail(DHOLE_ERR_INVALID, "%zu bytes offered, but %zu are on their way already",
                       offered, under_way);
}

#endif
