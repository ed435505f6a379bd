/* Random weights and activations with their exact values, and the choice of a kernel set. */
#ifndef TEST_NN_DATA_H
#define TEST_NN_DATA_H

#include "model/tensor.h"
#include "nn/pool.h"
#include "test.h"

/* Takes a set by its DHOLE_KERNELS name; skips the test where it cannot run. */
void use_kernels(const char *set);

/* One test per kernel set that runs `check`. */
#define TEST_EACH_SET(check)     \
    TEST(check##_with_portable)  \
    {                            \
        use_kernels("portable"); \
        check();                 \
    }                            \
    TEST(check##_with_avx2)      \
    {                            \
        use_kernels("avx2");     \
        check();                 \
    }                            \
    TEST(check##_with_avx512)    \
    {                            \
        use_kernels("avx512");   \
        check();                 \
    }                            \
    TEST(check##_with_neon)      \
    {                            \
        use_kernels("neon");     \
        check();                 \
    }

extern const enum dhole__ttype all_types[6];

/* A weight of {cols, rows} at an odd address, and what its elements are worth. */
struct weight {
    struct dhole__tensor tensor;
    double *value; /* {rows, cols} */
    void *memory;
};

struct weight random_weight(enum dhole__ttype type, size_t cols, size_t rows,
                            unsigned long long seed);
void free_weight(struct weight *w);

/* In [-1, 1); the caller frees. */
float *random_floats(size_t n, unsigned long long seed);

struct dhole__pool *make_pool(int threads);

/* calloc that cannot fail. */
void *zeroes(size_t count, size_t size);

#endif
