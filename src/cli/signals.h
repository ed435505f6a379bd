/* What a signal does to a running generation: the first SIGINT or SIGTERM ends it cleanly on
 * all ranks, the second one kills. A launcher collects signals instead. */
#ifndef DHOLE_CLI_SIGNALS_H
#define DHOLE_CLI_SIGNALS_H

#include "dhole/infer.h"

/* Takes over SIGINT, SIGTERM and SIGCHLD. */
dhole_err dhole__signals_install(void);

/* Takes over SIGCHLD and these instead, but for those that are ignored. Each is there to be taken
 * with dhole__signals_next, in order; it returns 0 when there is none. */
dhole_err dhole__signals_collect(const int *numbers, size_t count);
int dhole__signals_next(void);

/* Readable once one of them came: for poll(), and for dhole_init's cancel_fd. */
int dhole__signals_fd(void);

/* Makes it readable without one: something else that it is waited for with is there. Any thread. */
void dhole__signals_wake(void);

/* Makes it unreadable until the next one. */
void dhole__signals_drain(void);

/* The SIGINT or SIGTERM that came, or 0. */
int dhole__signals_caught(void);

/* The engine that SIGINT or SIGTERM cancels; NULL before it is freed. */
void dhole__signals_engine(dhole_engine *engine);

#endif
