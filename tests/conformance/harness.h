/* Ranks as threads of one process, or of two (apart.h), over every backend that exists. */
#ifndef TEST_CONFORMANCE_HARNESS_H
#define TEST_CONFORMANCE_HARNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "dhole/group.h"
#include "test.h"

enum { ranks_max = 64 };

struct backend {
    const char *name;
    bool sealed;
    bool mixed;        /* every other rank says that it is on a second host */
    bool rails;        /* each rank has three addresses, or two devices */
    bool plain_memory; /* sealed but for shared memory, as `dhole launch` has it across hosts */

    /* Of jaccl: which queue pairs, "rc" or "uc", and whether neighbours alone have them. */
    const char *queue_pairs;
    bool ring;
};

extern const struct backend backend_mem, backend_tcp, backend_rails, backend_shm, backend_mixed,
    backend_mem_sealed, backend_tcp_sealed, backend_rails_sealed, backend_shm_sealed,
    backend_mixed_sealed, backend_jaccl, backend_jaccl_uc, backend_jaccl_ring, backend_jaccl_sealed;

/* Defines a test for each backend; the body that follows sees it as `backend`. */
#define ON_EVERY_BACKEND(name)                       \
    static void name(const struct backend *backend); \
    TEST(name##_mem)                                 \
    {                                                \
        name(&backend_mem);                          \
    }                                                \
    TEST(name##_tcp)                                 \
    {                                                \
        name(&backend_tcp);                          \
    }                                                \
    TEST(name##_rails)                               \
    {                                                \
        name(&backend_rails);                        \
    }                                                \
    TEST(name##_shm)                                 \
    {                                                \
        name(&backend_shm);                          \
    }                                                \
    TEST(name##_mixed)                               \
    {                                                \
        name(&backend_mixed);                        \
    }                                                \
    TEST(name##_mem_sealed)                          \
    {                                                \
        name(&backend_mem_sealed);                   \
    }                                                \
    TEST(name##_tcp_sealed)                          \
    {                                                \
        name(&backend_tcp_sealed);                   \
    }                                                \
    TEST(name##_rails_sealed)                        \
    {                                                \
        name(&backend_rails_sealed);                 \
    }                                                \
    TEST(name##_shm_sealed)                          \
    {                                                \
        name(&backend_shm_sealed);                   \
    }                                                \
    TEST(name##_mixed_sealed)                        \
    {                                                \
        name(&backend_mixed_sealed);                 \
    }                                                \
    TEST(name##_jaccl)                               \
    {                                                \
        name(&backend_jaccl);                        \
    }                                                \
    TEST(name##_jaccl_uc)                            \
    {                                                \
        name(&backend_jaccl_uc);                     \
    }                                                \
    TEST(name##_jaccl_ring)                          \
    {                                                \
        name(&backend_jaccl_ring);                   \
    }                                                \
    TEST(name##_jaccl_sealed)                        \
    {                                                \
        name(&backend_jaccl_sealed);                 \
    }                                                \
    static void name(const struct backend *backend)

/* What `size` ranks need to find each other: addresses with listening sockets, identities and
 * pins, and RDMA devices, whichever the backend takes.
 *
 * The devices are those of tests/rdma/fake, through which threads alone reach each other. With
 * DHOLE_TEST_RDMA they are this machine's: "rxe0,rxe2;rxe1,rxe3" gives ranks rxe0 and rxe1 in
 * turn, or where they have two, rxe0 and rxe2, rxe1 and rxe3. */
struct world {
    const struct backend *backend;
    int size;
    int listen_fd[ranks_max];
    char address[ranks_max][96];
    const char *hosts[ranks_max];
    dhole_identity *identity[ranks_max];
    dhole_pin pin[ranks_max];
    char device[ranks_max][64];
    const char *devices[ranks_max][ranks_max]; /* of one rank: those that lead to each */
    char session[32];
};

void world_open(struct world *world, const struct backend *backend, int size);
void world_close(struct world *world);

/* Options with which this rank joins; deadlines of 20 s, so that no test waits for a default. */
dhole_options world_options(const struct world *world, int rank);

struct meeting;

/* One rank, as its thread sees it. */
struct rank {
    const struct world *world;
    int rank, size;
    dhole_options options; /* a body may change them before it joins */
    dhole_group *group;
    void *arg;
    struct meeting *meeting;
};

typedef void rank_body(struct rank *r);

/* Runs the body on `size` threads and returns when all have; fails the test if one takes longer
 * than 50 s. With run_group each has joined before and leaves after. */
void run_ranks(const struct backend *backend, int size, rank_body *body, void *arg);
void run_group(const struct backend *backend, int size, rank_body *body, void *arg);

/* The numbers of ranks that a call is tested with, up to 8; ends with 0. Sealed groups cost a
 * handshake a pair, and the seal does not know how many ranks there are, so for them they are few.
 */
const int *rank_counts(const struct backend *backend);

/* run_group for each of them. */
void run_group_of_each_size(const struct backend *backend, rank_body *body, void *arg);

/* Returns when all ranks' threads have called it. Not by way of the group. */
void ranks_meet(struct rank *r);

/* The same, with `size` bytes of each rank for all of them. */
void ranks_show(struct rank *r, const void *own, size_t size, void *all);

/* dhole_init with the rank's options, which must succeed; returns when all ranks have joined, as
 * one that aborts or leaves before that is an error of the others' dhole_init. */
void rank_joins(struct rank *r);

/* ms, or more of them where DHOLE_TEST_SLOW says that everything takes longer. */
int64_t patient(int64_t ms);

/* Milliseconds on a clock that only goes forward. */
int64_t now_ms(void);

/* A TCP socket bound to a free port of 127.0.0.1 and listening; *address becomes "host:port". */
int listen_anywhere(char address[static 32]);

/* A port of a loopback address ("127.0.0.1" or "::1") on which nobody listens, another one each
 * time; 0 when there is none. Outside of the range from which the system takes ports for outgoing
 * connections, so that it stays free. */
int free_port(const char *address);

#endif
