#include "nn/attention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/sys.h"
#include "nn/kernels.h"

enum {
    value_align = 16, /* the most lanes that a kernel has */
    store_grain = dhole__kv_block,
    attend_grain = 4
};

struct dhole__kv {
    struct dhole__attention_shape shape;
    size_t positions; /* context rounded up to whole blocks of keys */
    size_t v_stride;  /* head_dim rounded up */

    void *memory; /* of all that follows, untouched pages being zero */
    size_t bytes;
    uint16_t *k;     /* {layers, kv_heads, positions / 32, head_dim, 32} f16 */
    uint16_t *v;     /* {layers, kv_heads, positions, v_stride} f16 */
    float *rotation; /* {positions, rope_dims / 2} pairs of cos and sin */
    int rotations;   /* positions filled in so far */
    double *step;    /* {rope_dims / 2}: angle per position */
};

static dhole_err check_shape(const struct dhole__attention_shape *s)
{
    if (s->layers < 0 || s->kv_heads < 1 || s->group < 1 || s->context < 1)
        return dhole__fail(DHOLE_ERR_INVALID,
                           "attention with %d layers, %d KV heads of %d queries, context %d",
                           s->layers, s->kv_heads, s->group, s->context);
    if (s->head_dim < 1 || s->head_dim > dhole__head_dim_max)
        return dhole__fail(DHOLE_ERR_UNSUPPORTED, "heads of %d dimensions: expected 1 to %d",
                           s->head_dim, dhole__head_dim_max);
    if (s->rope_dims < 0 || s->rope_dims > s->head_dim || s->rope_dims % 2 != 0)
        return dhole__fail(DHOLE_ERR_INVALID,
                           "%d rotated dimensions: expected an even number up to %d", s->rope_dims,
                           s->head_dim);
    return DHOLE_OK;
}

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

/* Reserves all in one mapping, of which the system provides pages as they are touched. */
static dhole_err reserve(struct dhole__kv *kv)
{
    const struct dhole__attention_shape *s = &kv->shape;
    size_t heads = (size_t)s->layers * (size_t)s->kv_heads;
    size_t k_bytes = heads * kv->positions * (size_t)s->head_dim * sizeof *kv->k;
    size_t v_bytes = heads * kv->positions * kv->v_stride * sizeof *kv->v;
    size_t rotation_bytes = kv->positions * (size_t)s->rope_dims * sizeof *kv->rotation;
    uint8_t *memory;

    k_bytes = round_up(k_bytes, 64);
    v_bytes = round_up(v_bytes, 64);
    kv->bytes = k_bytes + v_bytes + rotation_bytes + 64;
    memory = dhole__sys.mmap(NULL, kv->bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return dhole__fail_errno(DHOLE_ERR_NOMEM,
                                 "cannot reserve %zu bytes of KV cache for a context of %d",
                                 kv->bytes, s->context);
    kv->memory = memory;
    kv->k = (uint16_t *)(void *)memory;
    kv->v = (uint16_t *)(void *)(memory + k_bytes);
    kv->rotation = (float *)(void *)(memory + k_bytes + v_bytes);
    return DHOLE_OK;
}

static void set_steps(struct dhole__kv *kv)
{
    const struct dhole__attention_shape *s = &kv->shape;

    for (int i = 0; i < s->rope_dims / 2; i++) {
        kv->step[i] = s->rope_scale * pow(s->rope_base, -2.0 * i / s->rope_dims);
        if (s->rope_freqs != NULL)
            kv->step[i] /= s->rope_freqs[i];
    }
}

dhole_err dhole__kv_create(const struct dhole__attention_shape *shape, struct dhole__kv **out)
{
    dhole_err err = check_shape(shape);
    size_t step_bytes = ((size_t)shape->rope_dims / 2 + 1) * sizeof(double);
    struct dhole__kv *kv;

    if (err != DHOLE_OK)
        return err;
    kv = dhole__sys.calloc(1, sizeof *kv);
    if (kv == NULL)
        return dhole__fail_nomem(sizeof *kv, "a KV cache");
    kv->shape = *shape;
    kv->positions = round_up((size_t)shape->context, dhole__kv_block);
    kv->v_stride = round_up((size_t)shape->head_dim, value_align);
    kv->step = dhole__sys.malloc(step_bytes);
    err = kv->step == NULL ? dhole__fail_nomem(step_bytes, "rotation steps") : reserve(kv);
    if (err != DHOLE_OK) {
        dhole__kv_free(kv);
        return err;
    }
    set_steps(kv);
    *out = kv;
    return DHOLE_OK;
}

void dhole__kv_free(struct dhole__kv *kv)
{
    if (kv == NULL)
        return;
    if (kv->memory != NULL)
        munmap(kv->memory, kv->bytes);
    free(kv->step);
    free(kv);
}

static void fill_rotations(struct dhole__kv *kv, int end)
{
    int pairs = kv->shape.rope_dims / 2;

    for (; kv->rotations < end; kv->rotations++) {
        float *at = kv->rotation + (size_t)kv->rotations * 2 * (size_t)pairs;
        for (int i = 0; i < pairs; i++) {
            double angle = kv->rotations * kv->step[i];
            at[2 * i] = (float)cos(angle);
            at[2 * i + 1] = (float)sin(angle);
        }
    }
}

/* What one call of dhole__attention works on. */
struct call {
    struct dhole__kv *kv;
    const struct dhole__kernels *kernels;
    int layer, pos, tokens;
    float *q, *k;
    const float *v;
    float *out;
};

static void rotate(const struct dhole__kv *kv, int pos, float *x, int heads)
{
    int dims = kv->shape.rope_dims;
    const float *turn = kv->rotation + (size_t)pos * (size_t)dims;

    for (int h = 0; h < heads; h++, x += kv->shape.head_dim) {
        for (int i = 0; i < dims; i += 2) {
            float a = x[i], b = x[i + 1];
            x[i] = a * turn[i] - b * turn[i + 1];
            x[i + 1] = a * turn[i + 1] + b * turn[i];
        }
    }
}

static uint16_t *keys(const struct dhole__kv *kv, int layer, int head)
{
    size_t index = (size_t)layer * (size_t)kv->shape.kv_heads + (size_t)head;

    return kv->k + index * kv->positions * (size_t)kv->shape.head_dim;
}

static uint16_t *values(const struct dhole__kv *kv, int layer, int head)
{
    size_t index = (size_t)layer * (size_t)kv->shape.kv_heads + (size_t)head;

    return kv->v + index * kv->positions * kv->v_stride;
}

static void store_position(const struct call *c, int head, size_t pos, const float *k,
                           const float *v)
{
    const struct dhole__kv *kv = c->kv;
    size_t head_dim = (size_t)kv->shape.head_dim;
    uint16_t half[dhole__head_dim_max];
    uint16_t *to = keys(kv, c->layer, head) + pos / dhole__kv_block * head_dim * dhole__kv_block +
                   pos % dhole__kv_block;

    c->kernels->to_f16(k, head_dim, half);
    for (size_t d = 0; d < head_dim; d++)
        to[d * dhole__kv_block] = half[d];
    c->kernels->to_f16(v, head_dim, values(kv, c->layer, head) + pos * kv->v_stride);
}

static void rotate_and_store(void *arg, size_t first, size_t last)
{
    const struct call *c = arg;
    const struct dhole__attention_shape *s = &c->kv->shape;
    size_t head_dim = (size_t)s->head_dim, kv_width = (size_t)s->kv_heads * head_dim;

    for (size_t t = first; t < last; t++) {
        int pos = c->pos + (int)t;
        float *k = c->k + t * kv_width;
        rotate(c->kv, pos, c->q + t * kv_width * (size_t)s->group, s->kv_heads * s->group);
        rotate(c->kv, pos, k, s->kv_heads);
        for (int h = 0; h < s->kv_heads; h++)
            store_position(c, h, (size_t)pos, k + (size_t)h * head_dim,
                           c->v + t * kv_width + (size_t)h * head_dim);
    }
}

/* Items are the tokens of the first KV head, then those of the second, and so on. */
static void attend_items(void *arg, size_t first, size_t last)
{
    const struct call *c = arg;
    const struct dhole__attention_shape *s = &c->kv->shape;
    size_t width = (size_t)s->group * (size_t)s->head_dim, tokens = (size_t)c->tokens;

    while (first < last) {
        size_t head = first / tokens, from = first % tokens;
        size_t to = last - first < tokens - from ? from + last - first : tokens;
        struct dhole__attend a = {
            .head_dim = s->head_dim,
            .group = s->group,
            .pos = c->pos,
            .v_stride = c->kv->v_stride,
            .k = keys(c->kv, c->layer, (int)head),
            .v = values(c->kv, c->layer, (int)head),
            .scale = 1 / sqrtf((float)s->head_dim),
            .stride = (size_t)s->kv_heads * width,
            .q = c->q + head * width,
            .out = c->out + head * width,
        };
        c->kernels->attend(&a, from, to);
        first += to - from;
    }
}

void dhole__attention(struct dhole__kv *kv, struct dhole__pool *pool, int layer, int pos,
                      int tokens, float *q, float *k, const float *v, float *out)
{
    struct call c = {kv, dhole__kernels(), layer, pos, tokens, q, k, v, out};

    fill_rotations(kv, pos + tokens);
    dhole__pool_run(pool, rotate_and_store, &c, (size_t)tokens, store_grain);
    dhole__pool_run(pool, attend_items, &c, (size_t)kv->shape.kv_heads * (size_t)tokens,
                    attend_grain);
}
