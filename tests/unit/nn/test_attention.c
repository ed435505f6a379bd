#include <math.h>

#include "base/sys.h"
#include "data.h"
#include "dhole/error.h"
#include "nn/attention.h"
#include "nn/half.h"

static struct dhole__attention_shape small = {.layers = 2,
                                              .kv_heads = 2,
                                              .group = 3,
                                              .head_dim = 24,
                                              .context = 300,
                                              .rope_dims = 16,
                                              .rope_base = 10000,
                                              .rope_scale = 1};

static struct dhole__kv *make_kv(const struct dhole__attention_shape *shape)
{
    struct dhole__kv *kv = NULL;

    ASSERT_OK(dhole__kv_create(shape, &kv));
    return kv;
}

/* Inputs and outputs of a whole sequence. */
struct sequence {
    size_t q_width, kv_width;
    int tokens;
    float *q, *k, *v, *out;
};

static struct sequence make_sequence(const struct dhole__attention_shape *s, int tokens)
{
    struct sequence a = {.tokens = tokens};

    a.kv_width = (size_t)s->kv_heads * (size_t)s->head_dim;
    a.q_width = a.kv_width * (size_t)s->group;
    a.q = random_floats((size_t)tokens * a.q_width, 1);
    a.k = random_floats((size_t)tokens * a.kv_width, 2);
    a.v = random_floats((size_t)tokens * a.kv_width, 3);
    a.out = zeroes((size_t)tokens * a.q_width, sizeof *a.out);
    for (size_t i = 0; i < (size_t)tokens * a.q_width; i++)
        a.q[i] *= 4; /* so that the weights are far from even */
    return a;
}

static void free_sequence(struct sequence *a)
{
    free(a->q);
    free(a->k);
    free(a->v);
    free(a->out);
}

/* Feeds the sequence to a layer in batches of `batch`. */
static void run(struct dhole__kv *kv, struct dhole__pool *pool, int layer, struct sequence *a,
                int batch)
{
    for (int t = 0; t < a->tokens; t += batch) {
        int count = batch < a->tokens - t ? batch : a->tokens - t;
        size_t q = (size_t)t * a->q_width, k = (size_t)t * a->kv_width;
        dhole__attention(kv, pool, layer, t, count, a->q + q, a->k + k, a->v + k, a->out + q);
    }
}

static void rotate_f64(const struct dhole__attention_shape *s, int pos, const float *x, double *out)
{
    for (int i = 0; i < s->head_dim; i++)
        out[i] = x[i];
    for (int i = 0; i < s->rope_dims; i += 2) {
        double angle = pos * s->rope_scale * pow(s->rope_base, -(double)i / s->rope_dims);
        if (s->rope_freqs != NULL)
            angle /= s->rope_freqs[i / 2];
        out[i] = x[i] * cos(angle) - x[i + 1] * sin(angle);
        out[i + 1] = x[i] * sin(angle) + x[i + 1] * cos(angle);
    }
}

static double as_f16(double x)
{
    return dhole__from_f16(dhole__to_f16((float)x));
}

/* Attention of one query head at one position, as the definition says. */
static void attend_f64(const struct dhole__attention_shape *s, const struct sequence *a, int t,
                       int head, double *out)
{
    size_t dim = (size_t)s->head_dim, kv = (size_t)(head / s->group) * dim;
    double *weight = zeroes((size_t)t + 1, sizeof *weight), total = 0, most = -INFINITY;
    double q[256], k[256];

    rotate_f64(s, t, a->q + (size_t)t * a->q_width + (size_t)head * dim, q);
    for (int p = 0; p <= t; p++) {
        rotate_f64(s, p, a->k + (size_t)p * a->kv_width + kv, k);
        for (size_t i = 0; i < dim; i++)
            weight[p] += q[i] * as_f16(k[i]) / sqrt((double)dim);
        most = fmax(most, weight[p]);
    }
    memset(out, 0, dim * sizeof *out);
    for (int p = 0; p <= t; p++) {
        double e = exp(weight[p] - most);
        total += e;
        for (size_t i = 0; i < dim; i++)
            out[i] += e * as_f16(a->v[(size_t)p * a->kv_width + kv + i]);
    }
    for (size_t i = 0; i < dim; i++)
        out[i] /= total;
    free(weight);
}

static void check_attention(const struct dhole__attention_shape *s, int tokens, int batch)
{
    struct dhole__pool *pool = make_pool(1);
    struct dhole__kv *kv = make_kv(s);
    struct sequence a = make_sequence(s, tokens), before = make_sequence(s, tokens);
    double expected[256];

    run(kv, pool, s->layers - 1, &a, batch);
    for (int t = 0; t < tokens; t += t < 40 ? 1 : 37)
        for (int h = 0; h < s->kv_heads * s->group; h++) {
            attend_f64(s, &before, t, h, expected);
            for (int i = 0; i < s->head_dim; i++) {
                double got = a.out[(size_t)t * a.q_width + (size_t)(h * s->head_dim + i)];
                ASSERT_MSG(fabs(got - expected[i]) < 2e-4,
                           "position %d, head %d, dimension %d: %.7g, expected %.7g", t, h, i, got,
                           expected[i]);
            }
        }
    free_sequence(&a);
    free_sequence(&before);
    dhole__kv_free(kv);
    dhole__pool_free(pool);
}

static void attention_matches_f64(void)
{
    struct dhole__attention_shape s = small;
    float freqs[8] = {1, 1, 2, 3, 4, 8, 8, 8};

    check_attention(&s, 290, 290);
    check_attention(&s, 290, 7);
    s.group = 1;
    s.head_dim = s.rope_dims = 2;
    check_attention(&s, 40, 1);
    s.group = 5;
    s.head_dim = 128;
    s.rope_dims = 16;
    s.rope_freqs = freqs;
    s.rope_scale = 0.25f;
    check_attention(&s, 140, 33);
    s.rope_dims = 0;
    s.head_dim = 33;
    check_attention(&s, 70, 64);
}
TEST_EACH_SET(attention_matches_f64)

static void batches_and_threads_give_the_same_bits(void)
{
    static const int batches[] = {150, 1, 2, 7, 64}, threads[] = {1, 1, 2, 3, 2};
    struct sequence first = {0};

    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        struct dhole__pool *pool = make_pool(threads[i]);
        struct dhole__kv *kv = make_kv(&small);
        struct sequence a = make_sequence(&small, 150);
        run(kv, pool, 1, &a, batches[i]);
        if (i == 0) {
            first = a;
        } else {
            ASSERT(memcmp(a.out, first.out, 150 * a.q_width * sizeof *a.out) == 0);
            free_sequence(&a);
        }
        dhole__kv_free(kv);
        dhole__pool_free(pool);
    }
    free_sequence(&first);
}
TEST_EACH_SET(batches_and_threads_give_the_same_bits)

static void head_splits_give_the_same_bits(void)
{
    enum { tokens = 150 };
    struct dhole__pool *pool = make_pool(1);
    struct dhole__attention_shape one = small;
    struct sequence all = make_sequence(&small, tokens), unused = make_sequence(&small, tokens);

    one.kv_heads = 1;
    for (size_t head = 0; head < 2; head++) {
        struct dhole__kv *kv = make_kv(&one);
        struct sequence a = make_sequence(&one, tokens);
        for (size_t t = 0; t < tokens; t++) {
            memcpy(a.q + t * a.q_width, unused.q + t * all.q_width + head * a.q_width,
                   a.q_width * 4);
            memcpy(a.k + t * a.kv_width, unused.k + t * all.kv_width + head * a.kv_width,
                   a.kv_width * 4);
            memcpy(a.v + t * a.kv_width, unused.v + t * all.kv_width + head * a.kv_width,
                   a.kv_width * 4);
        }
        run(kv, pool, 0, &a, 32);
        if (head == 0) {
            struct dhole__kv *whole = make_kv(&small);
            run(whole, pool, 0, &all, tokens);
            dhole__kv_free(whole);
        }
        for (size_t t = 0; t < tokens; t++)
            ASSERT(memcmp(a.out + t * a.q_width, all.out + t * all.q_width + head * a.q_width,
                          a.q_width * 4) == 0);
        free_sequence(&a);
        dhole__kv_free(kv);
    }
    free_sequence(&all);
    free_sequence(&unused);
    dhole__pool_free(pool);
}
TEST_EACH_SET(head_splits_give_the_same_bits)

/* Layers are apart, and going back to an earlier position overwrites it. */
static void positions_can_be_used_again(void)
{
    struct dhole__pool *pool = make_pool(1);
    struct dhole__kv *kv = make_kv(&small), *fresh = make_kv(&small);
    struct sequence junk = make_sequence(&small, 200), a = make_sequence(&small, 50);
    struct sequence b = make_sequence(&small, 50);

    for (size_t i = 0; i < 200 * junk.kv_width; i++)
        junk.k[i] = 100;
    run(kv, pool, 0, &junk, 200);
    run(kv, pool, 1, &junk, 200);
    run(kv, pool, 0, &a, 50);
    run(fresh, pool, 0, &b, 50);
    ASSERT(memcmp(a.out, b.out, 50 * a.q_width * sizeof *a.out) == 0);
    free_sequence(&junk);
    free_sequence(&a);
    free_sequence(&b);
    dhole__kv_free(kv);
    dhole__kv_free(fresh);
    dhole__pool_free(pool);
}
TEST_EACH_SET(positions_can_be_used_again)

/* Scores hundreds apart: the weight goes to one position, without overflow. */
static void softmax_stands_extreme_scores(void)
{
    struct dhole__attention_shape s = {.layers = 1,
                                       .kv_heads = 1,
                                       .group = 1,
                                       .head_dim = 16,
                                       .context = 512,
                                       .rope_base = 10000,
                                       .rope_scale = 1};
    static const int favourites[] = {0, 1, 127, 128, 200, 399};
    struct dhole__pool *pool = make_pool(1);

    for (size_t f = 0; f < sizeof favourites / sizeof *favourites; f++) {
        struct dhole__kv *kv = make_kv(&s);
        struct sequence a = make_sequence(&s, 400);
        for (int t = 0; t < 400; t++)
            for (int i = 0; i < 16; i++) {
                a.q[16 * t + i] = 1000;
                a.k[16 * t + i] = t == favourites[f] ? 30000 : -30000;
                a.v[16 * t + i] = (float)t;
            }
        run(kv, pool, 0, &a, 400);
        ASSERT(a.out[0] == 0);
        for (int t = favourites[f]; t < 400; t++)
            for (int i = 0; i < 16; i++)
                ASSERT(a.out[16 * t + i] == (float)favourites[f]);
        free_sequence(&a);
        dhole__kv_free(kv);
    }
    dhole__pool_free(pool);
}
TEST_EACH_SET(softmax_stands_extreme_scores)

TEST(rotation_is_in_place)
{
    struct dhole__attention_shape s = small;
    struct dhole__pool *pool = make_pool(1);
    struct dhole__kv *kv;
    double q[24], k[24];

    s.kv_heads = s.group = 1;
    kv = make_kv(&s);
    struct sequence a = make_sequence(&s, 299), before = make_sequence(&s, 299);
    run(kv, pool, 0, &a, 299);
    for (int t = 0; t < 299; t++) {
        rotate_f64(&s, t, before.q + 24 * t, q);
        rotate_f64(&s, t, before.k + 24 * t, k);
        for (int i = 0; i < 24; i++) {
            ASSERT(fabs(a.q[24 * t + i] - q[i]) < 1e-6);
            ASSERT(fabs(a.k[24 * t + i] - k[i]) < 1e-6);
        }
    }
    free_sequence(&a);
    free_sequence(&before);
    dhole__kv_free(kv);
    dhole__pool_free(pool);
}

TEST(impossible_shapes_are_refused)
{
    struct dhole__attention_shape s = small;
    struct dhole__kv *kv = NULL;

    s.kv_heads = 0;
    ASSERT_ERR(dhole__kv_create(&s, &kv), DHOLE_ERR_INVALID);
    s = small;
    s.rope_dims = 15;
    ASSERT_ERR(dhole__kv_create(&s, &kv), DHOLE_ERR_INVALID);
    s.rope_dims = 26;
    ASSERT_ERR(dhole__kv_create(&s, &kv), DHOLE_ERR_INVALID);
    s = small;
    s.head_dim = 4096;
    ASSERT_ERR(dhole__kv_create(&s, &kv), DHOLE_ERR_UNSUPPORTED);
    s = small;
    s.context = 0;
    ASSERT_ERR(dhole__kv_create(&s, &kv), DHOLE_ERR_INVALID);
    ASSERT(kv == NULL);
    dhole__kv_free(NULL);
}

static void *no_mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
    (void)addr, (void)length, (void)prot, (void)flags, (void)fd, (void)offset;
    return (void *)-1;
}

TEST(a_cache_that_cannot_be_reserved_is_an_error)
{
    struct dhole__kv *kv = NULL;

    dhole__sys.mmap = no_mmap;
    ASSERT_ERR(dhole__kv_create(&small, &kv), DHOLE_ERR_NOMEM);
    ASSERT_CONTAINS(dhole_error_message(), "context of 300");
    ASSERT(kv == NULL);
}
