/* What every driver of bench/compare shares: its arguments, how ranks are started and bound, and
 * the loop that is timed. A driver adds one operation of its library, and nothing else.
 *
 *     DRIVER OPERATION TYPE BYTES WARMUP CALLS BIND PREFIX RANKS TRANSPORT
 *
 * Calls follow each other without a barrier, out of place, always on the same buffers. The clock is
 * read once a call, so that a call's time is what lies between the ends of two calls. Each rank
 * writes the times of its calls, as doubles in seconds, to PREFIX.RANK. */
#ifndef BENCH_PEERS_LOOP_H
#define BENCH_PEERS_LOOP_H

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../timing.h"

struct loop {
    const char *operation; /* "all_sum", or "send": a ping-pong, of which half the time counts */
    const char *type;      /* "f32", "bf16" */
    size_t bytes;
    long warmup, calls;
    int bind; /* rank r to core r */
    const char *prefix;
    int ranks;
    const char *transport; /* "shm", "tcp" */
    float *in, *out;
    double *seconds; /* [calls] */
};

static inline void loop_die(const char *what)
{
    perror(what);
    exit(1);
}

static inline void *loop_alloc(size_t size)
{
    enum { page = 4096 };
    void *memory = NULL;

    if (posix_memalign(&memory, page, size > 0 ? size : 1) != 0)
        loop_die("no memory");
    memset(memory, 0, size);
    return memory;
}

static inline struct loop loop_arguments(int argc, char **argv)
{
    struct loop loop;

    if (argc != 10) {
        fprintf(stderr, "%s is started by bench/compare\n", argv[0]);
        exit(2);
    }
    loop.operation = argv[1];
    loop.type = argv[2];
    loop.bytes = strtoull(argv[3], NULL, 10);
    loop.warmup = strtol(argv[4], NULL, 10);
    loop.calls = strtol(argv[5], NULL, 10);
    loop.bind = strcmp(argv[6], "core") == 0;
    loop.prefix = argv[7];
    loop.ranks = (int)strtol(argv[8], NULL, 10);
    loop.transport = argv[9];
    loop.in = NULL;
    loop.out = NULL;
    loop.seconds = NULL;
    return loop;
}

static inline int loop_is(const struct loop *loop, const char *operation)
{
    return strcmp(loop->operation, operation) == 0;
}

/* Before the library starts threads, so that they follow. */
static inline void loop_bind(const struct loop *loop, int rank)
{
    cpu_set_t set;

    if (!loop->bind)
        return;
    CPU_ZERO(&set);
    CPU_SET(rank % (int)sysconf(_SC_NPROCESSORS_ONLN), &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        loop_die("sched_setaffinity");
}

/* For libraries without a launcher: this process becomes rank 0, its children the others. */
static inline int loop_fork(const struct loop *loop)
{
    int rank;

    for (rank = loop->ranks - 1; rank > 0; rank--) {
        pid_t pid = fork();
        if (pid < 0)
            loop_die("fork");
        if (pid == 0)
            break;
    }
    loop_bind(loop, rank);
    return rank;
}

/* Rank 0 waits for the others, once its own part of the library is closed. */
static inline void loop_join(const struct loop *loop, int rank)
{
    for (int other = 1; rank == 0 && other < loop->ranks; other++) {
        int status = 0;
        if (wait(&status) < 0 || status != 0) {
            fprintf(stderr, "a rank failed\n");
            exit(1);
        }
    }
}

/* Rank r's elements are r + 1: every f32 sum is known, exact, and stays what it is. */
static inline void loop_buffers(struct loop *loop, int rank)
{
    loop->in = (float *)loop_alloc(loop->bytes);
    loop->out = (float *)loop_alloc(loop->bytes);
    loop->seconds = (double *)loop_alloc((size_t)loop->calls * sizeof *loop->seconds);
    if (strcmp(loop->type, "f32") == 0)
        for (size_t i = 0; i < loop->bytes / sizeof *loop->in; i++)
            loop->in[i] = (float)(rank + 1);
}

static inline void loop_run(const struct loop *loop, void (*call)(void *state), void *state)
{
    double start;

    for (long i = 0; i < loop->warmup; i++)
        call(state);
    start = now();
    for (long i = 0; i < loop->calls; i++) {
        double end;
        call(state);
        end = now();
        loop->seconds[i] = end - start;
        start = end;
    }
}

/* A library that computes something else is not compared. */
static inline void loop_check(const struct loop *loop, int rank)
{
    float expected = 0;

    if (strcmp(loop->type, "f32") != 0)
        return;
    if (loop_is(loop, "all_sum"))
        expected = (float)(loop->ranks * (loop->ranks + 1) / 2);
    else
        expected = (float)(2 - rank); /* of two, the other one's */
    for (size_t i = 0; i < loop->bytes / sizeof *loop->out; i++)
        if (loop->out[i] != expected) {
            fprintf(stderr, "rank %d: element %zu is %g, not %g\n", rank, i, (double)loop->out[i],
                    (double)expected);
            exit(1);
        }
}

static inline void loop_write(const struct loop *loop, int rank)
{
    char path[4096];
    FILE *file;
    size_t calls = (size_t)loop->calls;

    if (loop_is(loop, "send"))
        for (size_t i = 0; i < calls; i++)
            loop->seconds[i] /= 2;
    snprintf(path, sizeof path, "%s.%d", loop->prefix, rank);
    file = fopen(path, "wb");
    if (file == NULL || fwrite(loop->seconds, sizeof *loop->seconds, calls, file) != calls ||
        fclose(file) != 0)
        loop_die(path);
    free(loop->in);
    free(loop->out);
    free(loop->seconds);
}

#endif
