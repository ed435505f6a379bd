/* Ranks as processes of their own, which can be killed and stopped. */
#ifndef TEST_CONFORMANCE_PROCESSES_H
#define TEST_CONFORMANCE_PROCESSES_H

#include <stdatomic.h>
#include <sys/types.h>

#include "harness.h"

/* What a rank tells the test; in memory that both see. */
struct report {
    pid_t pid;
    atomic_int rounds; /* calls done */
    atomic_int ended;  /* err, message and end_ms are set */
    dhole_err err;
    char message[1024];
    int64_t end_ms;
    int64_t cpu_us; /* for the body's use */
};

struct processes {
    struct world world;
    struct report *report; /* [size] */
    atomic_int *stop;      /* set by the test, for the bodies to look at */
};

/* One rank's life; runs in its own process. */
typedef void process_body(struct processes *all, int rank);

void processes_start(struct processes *all, const struct backend *backend, int size,
                     process_body *body);

/* Fills in this rank's report. */
void report_end(struct processes *all, int rank, dhole_err err);

/* Wait, at most 20 s, else the test fails. */
void wait_rounds(struct processes *all, int rank, int rounds);
void wait_report(struct processes *all, int rank);

/* Waits for the process's end; fails the test unless it exited with 0 or was killed by `signal`. */
void process_reap(struct processes *all, int rank, int signal);

void processes_close(struct processes *all);

#endif
