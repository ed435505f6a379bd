/* Work that may hang, as it waits for a daemon in the way of a library that knows no deadline. It
 * is done in a thread of its own, and whoever asked for it can leave it behind: thread and state
 * then go when the library returns, if it does. */
#ifndef DHOLE_BASE_ERRAND_H
#define DHOLE_BASE_ERRAND_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Part of a larger state, zeroed, which `release` frees when nobody uses it any more. */
struct dhole__errand {
    void (*run)(struct dhole__errand *errand);
    void (*release)(struct dhole__errand *errand);
    pthread_t thread;
    atomic_int holders;
    atomic_bool done;
    int over[2]; /* a pipe: readable when it is */
};

/* On failure the state is still the caller's to free. */
DHOLE__MUST_CHECK dhole_err dhole__errand_start(struct dhole__errand *errand);

/* Whether it is over by then. Until it is, its state is the thread's. */
bool dhole__errand_wait(struct dhole__errand *errand, int64_t timeout_ms);

/* The caller needs it no more, whether it is over or not. */
void dhole__errand_leave(struct dhole__errand *errand);

#endif
