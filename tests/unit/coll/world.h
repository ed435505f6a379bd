/* Ranks as threads of one process, with a communicator each, and the collectives that they call
 * together. */
#ifndef TEST_COLL_WORLD_H
#define TEST_COLL_WORLD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "coll/coll.h"
#include "data.h"
#include "dhole/error.h"
#include "test.h"

enum { most_ranks = 8 };

struct rank {
    struct dhole__comm comm;
    pthread_t thread;
    dhole_dtype dtype;
    enum dhole__op op;
    size_t count;
    int root;
    bool in_place;
    uint8_t *in, *out;
};

struct world {
    int size;
    struct rank rank[most_ranks];
};

/* Ranks without lanes. */
void world_open(struct world *w, int size);
void world_join(struct world *w, int a, int b);
void world_close(struct world *w);

/* Every rank gets `in` and `out` of these bytes. */
void world_set(struct world *w, enum dhole__op op, dhole_dtype dtype, size_t count, size_t in_bytes,
               size_t out_bytes);

/* Each rank in a thread of its own, which gets its struct rank. */
void world_run(struct world *w, void *(*body)(void *arg));

/* Reduces what `fill` gives the ranks, some of them in place; leaves the result, which is the same
 * on all, in `out`. */
void world_reduce(struct world *w, enum dhole__op op, dhole_dtype dtype, size_t count,
                  unsigned seed, fill_function *fill);

/* Bodies: every rank's `count` bytes of `in`, and the root's of `out`, go to all. */
void *rank_gather(void *arg);
void *rank_broadcast(void *arg);

/* A deadline that no test comes near to. */
dhole__deadline soon(void);

/* f32 whose sums show the order of summation. */
void fill_fractions(dhole_dtype dtype, int rank, unsigned seed, void *data, size_t count);

#endif
