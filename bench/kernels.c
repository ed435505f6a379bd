/* kernels: how fast one thread goes through the weights of a layer, by type, beside memcpy.
 *
 *     bench_kernels [COLUMNS ROWS]        (default: 576 1536)
 *
 * Each line: gigabytes of weights per second for one token, memcpy's gigabytes per second
 * (bytes copied) and the ratio; then billions of multiply-adds per second for 64 tokens, and
 * how many times faster a token is among them than alone. The weights are many layers in a
 * row, far larger than the caches. The sides take turns, and each figure is a median.
 * DHOLE_KERNELS chooses the instruction set. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dhole/error.h"
#include "nn/linear.h"
#include "timing.h"

enum { rounds = 15, batch = 64 };

static const size_t total_bytes = (size_t)96 << 20;

static void *get(size_t bytes)
{
    void *p = malloc(bytes);

    if (p == NULL) {
        fprintf(stderr, "kernels: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    memset(p, 0x11, bytes); /* small numbers in every type, and pages of its own */
    return p;
}

static void must(dhole_err err)
{
    if (err != DHOLE_OK) {
        fprintf(stderr, "kernels: %s\n", dhole_error_message());
        exit(1);
    }
}

/* Seconds that `layers` matrices in a row take with some tokens. */
static double apply(const struct dhole__tensor *first, size_t layers, struct dhole__pool *pool,
                    struct dhole__act *act, float *y)
{
    struct dhole__tensor weight = *first;
    double start = now();

    for (size_t i = 0; i < layers; i++) {
        struct dhole__linear linear;
        must(dhole__linear_all_to_sharded(&weight, 0, weight.shape[1], &linear));
        dhole__linear_apply(&linear, pool, act, y, weight.shape[1]);
        weight.data = (const char *)weight.data + weight.bytes;
    }
    return now() - start;
}

static void measure(enum dhole__ttype type, size_t cols, size_t rows, struct dhole__pool *pool,
                    char *weights, char *copy)
{
    size_t bytes = cols / dhole__ttype_elements(type) * dhole__ttype_bytes(type) * rows;
    size_t layers = total_bytes / bytes, some = layers < batch ? 1 : layers / batch;
    struct dhole__tensor weight = {"weight", type, 2, {cols, rows, 1, 1}, weights, bytes};
    double one[rounds], many[rounds], copied[rounds];
    float *x = get(batch * cols * sizeof *x), *y = get(batch * rows * sizeof *y);
    struct dhole__act *act;

    for (size_t i = 0; i < batch * cols; i++)
        x[i] = (float)(i % 17) - 8;
    must(dhole__act_create(cols, batch, &act));
    for (int i = 0; i < rounds; i++) {
        dhole__act_set(act, pool, x, cols, 1);
        one[i] = apply(&weight, layers, pool, act, y) / (double)layers;
        dhole__act_set(act, pool, x, cols, batch);
        many[i] = apply(&weight, some, pool, act, y) / (double)some;
        double start = now();
        memcpy(copy, weights, total_bytes);
        copied[i] = now() - start;
    }
    double token = median(one, rounds), tokens = median(many, rounds) / batch;
    double read = (double)bytes / token, memcpy_rate = (double)total_bytes / median(copied, rounds);
    printf("%-5s %8.1f %8.1f %6.2f %10.1f %6.1f\n", dhole__ttype_name(type), read * 1e-9,
           memcpy_rate * 1e-9, read / memcpy_rate, (double)(cols * rows) / tokens * 1e-9,
           token / tokens);
    dhole__act_free(act);
    free(x);
    free(y);
}

int main(int argc, char **argv)
{
    static const enum dhole__ttype types[] = {DHOLE__F32,  DHOLE__F16,  DHOLE__BF16,
                                              DHOLE__Q8_0, DHOLE__Q4_0, DHOLE__Q4_1};
    size_t cols = argc == 3 ? strtoull(argv[1], NULL, 10) : 576;
    size_t rows = argc == 3 ? strtoull(argv[2], NULL, 10) : 1536;
    char *weights = get(total_bytes), *copy = get(total_bytes);
    struct dhole__pool *pool;

    if (cols == 0 || cols % 32 != 0 || rows == 0 || cols * rows * 4 > total_bytes) {
        fprintf(stderr, "kernels: %zu columns and %zu rows: expected a multiple of 32 columns\n",
                cols, rows);
        return 2;
    }
    must(dhole__pool_create(1, &pool));
    printf("%s, %zu columns, %zu rows\n", dhole__kernels_name(), cols, rows);
    printf("%-5s %8s %8s %6s %10s %6s\n", "type", "GB/s", "memcpy", "ratio", "GMAC/s", "ratio");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        measure(types[i], cols, rows, pool, weights, copy);
    dhole__pool_free(pool);
    free(weights);
    free(copy);
    return 0;
}
