#include "infer/sampling.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/sys.h"

struct candidate {
    float logit;
    int32_t token;
    double weight; /* softmax without the division */
};

struct dhole__sampler {
    dhole_sampling options;
    size_t vocab;
    uint64_t random;             /* state of the generator */
    struct candidate *candidate; /* [vocab]; NULL when greedy */
};

static dhole_err check(const dhole_sampling *o)
{
    if (!(o->temperature >= 0) || isinf(o->temperature))
        return dhole__fail(DHOLE_ERR_INVALID, "temperature %g: expected 0 (greedy) or more",
                           (double)o->temperature);
    if (o->top_k < 0)
        return dhole__fail(DHOLE_ERR_INVALID, "top-k %d: expected 0 (off) or more", o->top_k);
    if (!(o->top_p > 0 && o->top_p <= 1))
        return dhole__fail(DHOLE_ERR_INVALID, "top-p %g: expected more than 0 and at most 1",
                           (double)o->top_p);
    return DHOLE_OK;
}

dhole_err dhole__sampler_create(const dhole_sampling *options, size_t vocab,
                                struct dhole__sampler **out)
{
    dhole_err err = check(options);
    struct dhole__sampler *s;

    if (err)
        return err;
    s = dhole__sys.calloc(1, sizeof *s);
    if (s == NULL)
        return dhole__fail_nomem(sizeof *s, "a sampler");
    s->options = *options;
    s->vocab = vocab;
    s->random = options->seed;
    if (options->temperature > 0) {
        s->candidate = dhole__sys.calloc(vocab, sizeof *s->candidate);
        if (s->candidate == NULL) {
            dhole__sampler_free(s);
            return dhole__fail_nomem(vocab * sizeof *s->candidate, "a sampler");
        }
    }
    *out = s;
    return DHOLE_OK;
}

void dhole__sampler_free(struct dhole__sampler *s)
{
    if (s == NULL)
        return;
    free(s->candidate);
    free(s);
}

/* SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
 * Generators", OOPSLA 2014); 53 bits of it, in [0, 1). */
static double next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

/* e^x for x <= 0, 0 for NaN: x = k ln 2 + r, and the series of e^r. */
static double exponential(double x)
{
    const double log2e = 1.4426950408889634, ln2 = 0.6931471805599453;
    double k, r, sum = 1;

    if (!(x > -700))
        return 0;
    k = (double)(int)(x * log2e - 0.5);
    r = x - k * ln2;
    for (int i = 13; i >= 1; i--)
        sum = 1 + sum * r / i;
    return ldexp(sum, (int)k); /* exact */
}

static int32_t argmax(const float *logits, size_t n)
{
    float best = -INFINITY;
    size_t at = 0;

    for (size_t i = 0; i < n; i++)
        if (logits[i] > best) {
            best = logits[i];
            at = i;
        }
    return (int32_t)at;
}

/* Fills in the candidates; returns the sum of their weights. */
static double weigh(struct dhole__sampler *s, const float *logits)
{
    double top = (double)logits[argmax(logits, s->vocab)], total = 0;

    for (size_t i = 0; i < s->vocab; i++) {
        double weight = exponential(((double)logits[i] - top) / (double)s->options.temperature);
        s->candidate[i] = (struct candidate){logits[i], (int32_t)i, weight};
        total += weight;
    }
    return total;
}

static bool better(const struct candidate *a, const struct candidate *b)
{
    if (a->weight != b->weight)
        return a->weight > b->weight;
    return a->token < b->token;
}

/* Restores the heap (the best on top) of c[0..n) below i. */
static void sift_down(struct candidate *c, size_t n, size_t i)
{
    struct candidate moving = c[i];

    for (size_t child = 2 * i + 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && better(&c[child + 1], &c[child]))
            child++;
        if (!better(&c[child], &moving))
            break;
        c[i] = c[child];
        i = child;
    }
    c[i] = moving;
}

/* Moves the best candidates to the end of the array, the very best last, until there are `most`
 * of them or they weigh `enough`. Returns how many. A heap, as few are taken of many. */
static size_t take_best(struct dhole__sampler *s, size_t most, double enough)
{
    struct candidate *c = s->candidate;
    size_t left = s->vocab;
    double mass = 0;

    for (size_t i = left / 2; i-- > 0;)
        sift_down(c, left, i);
    while (left > 0 && s->vocab - left < most && mass < enough) {
        struct candidate best = c[0];
        c[0] = c[--left];
        sift_down(c, left, 0);
        c[left] = best;
        mass += best.weight;
    }
    return s->vocab - left;
}

/* How many from the end on weigh `enough` together; *mass is what they weigh. */
static size_t count_enough(const struct dhole__sampler *s, size_t most, double enough, double *mass)
{
    const struct candidate *end = s->candidate + s->vocab;
    size_t n = 0;

    *mass = 0;
    while (n < most && *mass < enough)
        *mass += end[-(ptrdiff_t)++n].weight;
    return n;
}

/* The candidate, from the end on, at which the running weight passes `target`. */
static int32_t pick(const struct dhole__sampler *s, size_t n, double target)
{
    const struct candidate *c = s->candidate + s->vocab - n;
    int32_t token = c[n - 1].token;
    double mass = 0;

    for (size_t i = n; i-- > 0 && mass <= target;) {
        mass += c[i].weight;
        if (c[i].weight > 0)
            token = c[i].token;
    }
    return token;
}

int32_t dhole__sample(struct dhole__sampler *s, const float *logits)
{
    const size_t top_k = (size_t)s->options.top_k;
    const double top_p = (double)s->options.top_p;
    size_t n = s->vocab;
    double mass;

    if (s->candidate == NULL)
        return argmax(logits, n);
    mass = weigh(s, logits);
    if (top_k > 0) {
        n = take_best(s, top_k, INFINITY);
        count_enough(s, n, INFINITY, &mass);
    }
    if (top_p < 1) {
        if (top_k == 0)
            n = take_best(s, n, top_p * mass);
        n = count_enough(s, n, top_p * mass, &mass);
    }
    return pick(s, n, next_random(&s->random) * mass);
}
