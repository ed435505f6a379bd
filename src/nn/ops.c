#include "nn/ops.h"

#include "nn/kernels.h"

enum { swiglu_grain = 4096 };

struct norm {
    const struct dhole__kernels *kernels;
    const float *x, *weight;
    float eps;
    size_t n;
    float *out;
};

static void norm_tokens(void *arg, size_t first, size_t last)
{
    const struct norm *a = arg;

    for (size_t t = first; t < last; t++)
        a->kernels->rms_norm(a->x + t * a->n, a->weight, a->eps, a->n, a->out + t * a->n);
}

void dhole__rms_norm(struct dhole__pool *pool, const float *x, const float *weight, float eps,
                     size_t n, size_t tokens, float *out)
{
    struct norm a = {dhole__kernels(), x, weight, eps, n, out};

    dhole__pool_run(pool, norm_tokens, &a, tokens, 8);
}

struct swiglu {
    const struct dhole__kernels *kernels;
    float *gate;
    const float *up;
};

static void swiglu_range(void *arg, size_t first, size_t last)
{
    const struct swiglu *a = arg;

    a->kernels->swiglu(a->gate + first, a->up + first, last - first);
}

void dhole__swiglu(struct dhole__pool *pool, float *gate, const float *up, size_t n)
{
    struct swiglu a = {dhole__kernels(), gate, up};

    dhole__pool_run(pool, swiglu_range, &a, n, swiglu_grain);
}

void dhole__add(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] += y[i];
}
