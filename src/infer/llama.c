#include "infer/llama.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/os.h"
#include "base/sys.h"
#include "nn/attention.h"
#include "nn/linear.h"
#include "nn/ops.h"

struct layer {
    const float *attn_norm, *ffn_norm; /* {hidden} */
    struct dhole__linear q, k, v, attn_output;
    struct dhole__linear gate, up, down;
};

struct dhole__stage {
    const struct dhole__llama *model;
    struct dhole__share share;
    dhole_group *group;
    struct dhole__pool *pool;
    struct dhole__kv *kv;
    struct dhole__act *act; /* input of the linear layers */
    struct layer *layer;    /* [share.layers.count] */
    const float *output_norm;
    struct dhole__linear head;
    uint8_t *packed; /* a shard's weights in the order of their use; NULL: read from the file */
    size_t packed_size;
    const uint8_t *ahead, *ahead_end; /* weights to fetch while waiting for other ranks */

    size_t hidden, q_width, kv_width, ffn; /* this rank's widths */
    float *memory;                         /* holds all of the arrays below */
    double *sum;                           /* {chunk, hidden} */
    float *x, *h;                          /* {chunk, hidden} */
    float *q, *attended;                   /* {chunk, q_width} */
    float *k, *v;                          /* {chunk, kv_width} */
    float *gate, *up;                      /* {chunk, ffn} */
    float *norms;                          /* {2 * layers + 1, hidden} */
};

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* The next n floats of memory, on cache lines of their own; memory NULL only counts. */
static float *carve(float *memory, size_t *used, size_t n)
{
    float *p = memory == NULL ? NULL : memory + *used;

    *used += (n + 15) / 16 * 16;
    return p;
}

static size_t carve_all(struct dhole__stage *s, float *memory)
{
    const size_t chunk = dhole__chunk_max;
    size_t used = 0;

    s->sum = (double *)carve(memory, &used, 2 * chunk * s->hidden);
    s->x = carve(memory, &used, chunk * s->hidden);
    s->h = carve(memory, &used, chunk * s->hidden);
    s->q = carve(memory, &used, chunk * s->q_width);
    s->attended = carve(memory, &used, chunk * s->q_width);
    s->k = carve(memory, &used, chunk * s->kv_width);
    s->v = carve(memory, &used, chunk * s->kv_width);
    s->gate = carve(memory, &used, chunk * s->ffn);
    s->up = carve(memory, &used, chunk * s->ffn);
    s->norms = carve(memory, &used, (2 * s->share.layers.count + 1) * s->hidden);
    return used;
}

static dhole_err allocate(struct dhole__stage *s)
{
    size_t bytes = carve_all(s, NULL) * sizeof(float);

    s->layer = dhole__sys.calloc(s->share.layers.count, sizeof *s->layer);
    s->memory = dhole__sys.aligned_alloc(64, bytes);
    if (s->layer == NULL || s->memory == NULL)
        return dhole__fail_nomem(bytes, "the activations");
    memset(s->memory, 0, bytes);
    carve_all(s, s->memory);
    return dhole__act_create(max_size(s->hidden, max_size(s->q_width, s->ffn)), dhole__chunk_max,
                             &s->act);
}

/* Norm weights are copied, as a file may hold them unaligned. */
static const float *load_norm(struct dhole__stage *s, const struct dhole__tensor *weight,
                              size_t index)
{
    float *norm = s->norms + index * s->hidden;

    dhole__tensor_row(weight, 0, norm);
    return norm;
}

/* This rank's view of model layer share.layers.first + i. */
static dhole_err load_layer(struct dhole__stage *s, size_t i)
{
    const struct dhole__llama *m = s->model;
    const struct dhole__llama_layer *w = &m->layer[s->share.layers.first + i];
    const size_t attention_unit = dhole__attention_unit(m);
    const size_t q_row = s->share.kv_heads.first * (s->q_width / s->share.kv_heads.count);
    const size_t kv_row = s->share.kv_heads.first * (size_t)m->head_dim;
    const struct dhole__range ffn = s->share.ffn;
    struct layer *l = &s->layer[i];
    dhole_err err = DHOLE_OK;

    l->attn_norm = load_norm(s, &w->attn_norm, 2 * i);
    l->ffn_norm = load_norm(s, &w->ffn_norm, 2 * i + 1);
    err = dhole__linear_all_to_sharded(&w->q, q_row, s->q_width, &l->q);
    if (err == DHOLE_OK)
        err = dhole__linear_all_to_sharded(&w->k, kv_row, s->kv_width, &l->k);
    if (err == DHOLE_OK)
        err = dhole__linear_all_to_sharded(&w->v, kv_row, s->kv_width, &l->v);
    if (err == DHOLE_OK)
        err = dhole__linear_sharded_to_all(&w->attn_output, q_row, s->q_width, attention_unit,
                                           &l->attn_output);
    if (err == DHOLE_OK)
        err = dhole__linear_all_to_sharded(&w->gate, ffn.first, ffn.count, &l->gate);
    if (err == DHOLE_OK)
        err = dhole__linear_all_to_sharded(&w->up, ffn.first, ffn.count, &l->up);
    if (err == DHOLE_OK)
        err =
            dhole__linear_sharded_to_all(&w->down, ffn.first, ffn.count, dhole__ffn_unit, &l->down);
    return err;
}

static dhole_err load(struct dhole__stage *s)
{
    const struct dhole__range vocab = s->share.vocab;

    for (size_t i = 0; i < s->share.layers.count; i++) {
        dhole_err err = load_layer(s, i);
        if (err)
            return err;
    }
    s->output_norm = load_norm(s, &s->model->output_norm, 2 * s->share.layers.count);
    if (vocab.count == 0)
        return DHOLE_OK;
    return dhole__linear_all_to_sharded(&s->model->output, vocab.first, vocab.count, &s->head);
}

enum {
    ahead_max = 384 << 10, /* what a second-level cache has room for beside the activations */
    ahead_step = 8 << 10,
    cache_line = 64,
};

/* Other ranks' sums take their time on the wire; this rank's memory has nothing to do meanwhile. */
static int fetch_ahead(void *arg)
{
    struct dhole__stage *s = arg;

    for (int i = 0; i < ahead_step / cache_line && s->ahead < s->ahead_end; i++) {
        __builtin_prefetch(s->ahead, 0, 2);
        s->ahead += cache_line;
    }
    return s->ahead < s->ahead_end;
}

/* The weights that are used after `linear`; those of the first layer after the head. */
static void look_ahead(struct dhole__stage *s, const struct dhole__linear *linear)
{
    const uint8_t *data = linear->weight.data, *end;

    if (s->packed == NULL)
        return;
    end = s->packed + s->packed_size;
    s->ahead = linear == &s->head ? s->packed : data + dhole__linear_packed_size(linear);
    s->ahead_end = end - s->ahead > ahead_max ? s->ahead + ahead_max : end;
}

/* The next place for a linear, and moves it there if there is memory. */
static void pack_one(struct dhole__stage *s, struct dhole__linear *linear, size_t *used)
{
    if (s->packed != NULL)
        dhole__linear_pack(linear, s->packed + *used);
    *used += (dhole__linear_packed_size(linear) + 63) / 64 * 64;
}

static size_t pack_all(struct dhole__stage *s)
{
    size_t used = 0;

    for (size_t i = 0; i < s->share.layers.count; i++) {
        struct layer *l = &s->layer[i];
        struct dhole__linear *order[] = {&l->q,    &l->k,  &l->v,   &l->attn_output,
                                         &l->gate, &l->up, &l->down};
        for (size_t j = 0; j < sizeof order / sizeof order[0]; j++)
            pack_one(s, order[j], &used);
    }
    pack_one(s, &s->head, &used);
    return used;
}

/* A shard of every layer is copied out of the file, to be read as fast as a whole one. */
static dhole_err pack(struct dhole__stage *s)
{
    size_t size = pack_all(s);
    void *memory =
        dhole__sys.mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return dhole__fail_nomem(size, "a share of the weights");
    dhole__huge_pages(memory, size);
    s->packed = memory;
    s->packed_size = size;
    pack_all(s);
    dhole_set_idle(s->group, fetch_ahead, s);
    return DHOLE_OK;
}

dhole_err dhole__stage_create(const struct dhole__llama *model,
                              const struct dhole__stage_options *options, struct dhole__stage **out)
{
    const struct dhole__share *share = &options->share;
    const struct dhole__attention_shape shape = {
        .layers = (int)share->layers.count,
        .kv_heads = (int)share->kv_heads.count,
        .group = model->heads / model->kv_heads,
        .head_dim = model->head_dim,
        .context = options->context,
        .rope_dims = model->rope_dims,
        .rope_base = model->rope_base,
        .rope_scale = model->rope_scale,
        .rope_freqs = model->rope_freqs,
    };
    struct dhole__stage *s = dhole__sys.calloc(1, sizeof *s);
    dhole_err err;

    if (s == NULL)
        return dhole__fail_nomem(sizeof *s, "an engine");
    s->model = model;
    s->share = *share;
    s->group = options->sum_group;
    s->hidden = (size_t)model->hidden;
    s->kv_width = share->kv_heads.count * (size_t)model->head_dim;
    s->q_width = s->kv_width * (size_t)shape.group;
    s->ffn = share->ffn.count;
    err = allocate(s);
    if (err == DHOLE_OK)
        err = load(s);
    if (err == DHOLE_OK && s->group != NULL)
        err = pack(s);
    if (err == DHOLE_OK)
        err = dhole__kv_create(&shape, &s->kv);
    if (err == DHOLE_OK)
        err = dhole__pool_create(options->threads, &s->pool);
    if (err) {
        dhole__stage_free(s);
        return err;
    }
    *out = s;
    return DHOLE_OK;
}

void dhole__stage_free(struct dhole__stage *s)
{
    if (s == NULL)
        return;
    dhole__pool_free(s->pool);
    dhole__kv_free(s->kv);
    dhole__act_free(s->act);
    if (s->packed != NULL) {
        dhole_set_idle(s->group, NULL, NULL);
        munmap(s->packed, s->packed_size);
    }
    free(s->memory);
    free(s->layer);
    free(s);
}

float *dhole__stage_x(struct dhole__stage *s)
{
    return s->x;
}

void dhole__stage_embed(struct dhole__stage *s, const int32_t *tokens, size_t count)
{
    for (size_t t = 0; t < count; t++)
        dhole__tensor_row(&s->model->embedding, (size_t)tokens[t], s->x + t * s->hidden);
}

/* x += W_o attention(norm(x)) */
static dhole_err attention_block(struct dhole__stage *s, size_t i, int pos, size_t count)
{
    const struct layer *l = &s->layer[i];
    dhole_err err;

    dhole__rms_norm(s->pool, s->x, l->attn_norm, s->model->norm_eps, s->hidden, count, s->h);
    dhole__act_set(s->act, s->pool, s->h, s->hidden, count);
    dhole__linear_apply(&l->q, s->pool, s->act, s->q, s->q_width);
    dhole__linear_apply(&l->k, s->pool, s->act, s->k, s->kv_width);
    dhole__linear_apply(&l->v, s->pool, s->act, s->v, s->kv_width);
    dhole__attention(s->kv, s->pool, (int)i, pos, (int)count, s->q, s->k, s->v, s->attended);
    dhole__act_set(s->act, s->pool, s->attended, s->q_width, count);
    look_ahead(s, &l->attn_output);
    err = dhole__linear_apply_sum(&l->attn_output, s->pool, s->group, s->act, s->sum, s->h);
    if (err)
        return err;
    dhole__add(s->x, s->h, count * s->hidden);
    return DHOLE_OK;
}

/* x += W_down(silu(W_gate norm(x)) * W_up norm(x)) */
static dhole_err feed_forward_block(struct dhole__stage *s, size_t i, size_t count)
{
    const struct layer *l = &s->layer[i];
    dhole_err err;

    dhole__rms_norm(s->pool, s->x, l->ffn_norm, s->model->norm_eps, s->hidden, count, s->h);
    dhole__act_set(s->act, s->pool, s->h, s->hidden, count);
    dhole__linear_apply(&l->gate, s->pool, s->act, s->gate, s->ffn);
    dhole__linear_apply(&l->up, s->pool, s->act, s->up, s->ffn);
    dhole__swiglu(s->pool, s->gate, s->up, count * s->ffn);
    dhole__act_set(s->act, s->pool, s->gate, s->ffn, count);
    look_ahead(s, &l->down);
    err = dhole__linear_apply_sum(&l->down, s->pool, s->group, s->act, s->sum, s->h);
    if (err)
        return err;
    dhole__add(s->x, s->h, count * s->hidden);
    return DHOLE_OK;
}

dhole_err dhole__stage_layers(struct dhole__stage *s, int pos, size_t count)
{
    for (size_t i = 0; i < s->share.layers.count; i++) {
        dhole_err err = attention_block(s, i, pos, count);
        if (err == DHOLE_OK)
            err = feed_forward_block(s, i, count);
        if (err)
            return err;
    }
    return DHOLE_OK;
}

void dhole__stage_head(struct dhole__stage *s, size_t last, float *logits)
{
    const float *x = s->x + last * s->hidden;

    dhole__rms_norm(s->pool, x, s->output_norm, s->model->norm_eps, s->hidden, 1, s->h);
    dhole__act_set(s->act, s->pool, s->h, s->hidden, 1);
    look_ahead(s, &s->head);
    dhole__linear_apply(&s->head, s->pool, s->act, logits, s->share.vocab.count);
}
