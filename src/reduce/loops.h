/* The inner loops, one set for each instruction set, and the choice among them. */
#ifndef DHOLE_REDUCE_LOOPS_H
#define DHOLE_REDUCE_LOOPS_H

#include <stdbool.h>
#include <stddef.h>

enum { dhole__op_count = 3, dhole__dtype_count = 14 };

/* out[i] = a[i] op b[i]; out may be a or b. */
typedef void dhole__fold_loop(const void *a, const void *b, void *out, size_t n);

/* Sums of a 16-bit float over many sources: acc = src, acc += src, out = round(acc). */
struct dhole__wide_loops {
    void (*start)(float *acc, const void *src, size_t n);
    void (*add)(float *acc, const void *src, size_t n);
    void (*finish)(const float *acc, void *out, size_t n);
};

struct dhole__loops {
    const char *name;
    dhole__fold_loop *fold[dhole__op_count][dhole__dtype_count]; /* by dhole__op, dhole_dtype */
    struct dhole__wide_loops f16, bf16;
};

extern const struct dhole__loops dhole__loops_baseline;
extern const struct dhole__loops dhole__loops_avx2;
extern const struct dhole__loops dhole__loops_avx512;

/* The set in use: at first the widest that this processor runs. */
const struct dhole__loops *dhole__loops(void);

/* Takes the set of that name ("baseline", "avx2", "avx512") from now on, NULL the widest. False,
 * and no change, when this build or processor lacks it. For tests and measurements. */
bool dhole__loops_use(const char *name);

#endif
