/* Whether an operation moves and sums the right elements: small whole numbers, which every type
 * holds exactly, as it does their sums over all ranks. */
#include <stdint.h>
#include <string.h>

#include "cli/bench.h"

enum { number_max = 127, element_max = 16, poison = 0xa5 };

struct numbers {
    const struct dhole__bench_case *c;
    size_t size; /* of an element */
    int period;  /* of the numbers of a rank, which are below it */
    uint8_t element[number_max + 1][element_max];
    uint8_t sum[number_max + 1][element_max]; /* over all ranks, by index modulo the period */
};

/* A whole number of at most 8 bits in IEEE 754's binary16; the others are in C. */
static uint16_t half_of(int n)
{
    int exponent = 0;

    if (n == 0)
        return 0;
    while (n >> (exponent + 1) != 0)
        exponent++;
    return (uint16_t)((exponent + 15) << 10 | (n << (10 - exponent) & 0x3ff));
}

static uint16_t upper_half(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)(bits >> 16);
}

static void encode(dhole_dtype dtype, int n, uint8_t out[static element_max])
{
    uint64_t whole = (uint64_t)n;
    uint16_t bits16 = dtype == DHOLE_F16 ? half_of(n) : upper_half((float)n);
    float complex[2] = {(float)n, (float)n};
    double real = n;

    memset(out, 0, element_max);
    switch (dtype) {
    case DHOLE_BOOL: out[0] = n != 0; break;
    case DHOLE_F16:
    case DHOLE_BF16: memcpy(out, &bits16, sizeof bits16); break;
    case DHOLE_F32:
    case DHOLE_C64: memcpy(out, complex, sizeof complex); break;
    case DHOLE_F64: memcpy(out, &real, sizeof real); break;
    default: /* as many of its bytes as the type has, on a little-endian machine */
        memcpy(out, &whole, sizeof whole);
        break;
    }
}

static int number(const struct numbers *n, int rank, size_t i)
{
    return (int)((7 * (i % (size_t)n->period) + 13 * (size_t)rank) % (size_t)n->period);
}

static void prepare(struct numbers *n, const struct dhole__bench_case *c)
{
    dhole_dtype dtype = c->plan->dtype;

    n->c = c;
    n->size = dhole_dtype_size(dtype);
    n->period = dtype == DHOLE_BOOL ? 2 : number_max / c->ranks + 1;
    for (int i = 0; i < n->period; i++) {
        int sum = 0;
        for (int rank = 0; rank < c->ranks; rank++)
            sum += number(n, rank, (size_t)i);
        encode(dtype, i, n->element[i]);
        encode(dtype, sum, n->sum[i]);
    }
}

static void fill(const struct numbers *n)
{
    size_t count = dhole__bench_in_bytes(n->c) / n->size;

    for (size_t i = 0; i < count; i++)
        memcpy((uint8_t *)n->c->in + i * n->size, n->element[number(n, n->c->rank, i)], n->size);
    memset(n->c->out, poison, dhole__bench_out_bytes(n->c));
}

/* What element i of part `part` of the output must be; NULL when nothing is said about it. */
static const uint8_t *expected(const struct numbers *n, size_t part, size_t i)
{
    const struct dhole__bench_operation *operation = n->c->plan->operation;
    size_t at = operation->in_parts ? (size_t)n->c->rank * n->c->count + i : i;
    int source;

    if (operation->source == NULL)
        return n->sum[at % (size_t)n->period];
    source = operation->source(n->c, part);
    return source < 0 ? NULL : n->element[number(n, source, at)];
}

dhole_err dhole__bench_check(const struct dhole__bench_case *c, long long *wrong)
{
    struct numbers n;
    size_t parts = c->plan->operation->out_parts ? (size_t)c->ranks : 1;
    const uint8_t *out = c->out;
    dhole_err err;

    *wrong = 0;
    prepare(&n, c);
    fill(&n);
    err = c->plan->operation->call(c);
    for (size_t part = 0; part < parts && err == DHOLE_OK; part++)
        for (size_t i = 0; i < c->count; i++, out += n.size) {
            const uint8_t *right = expected(&n, part, i);
            *wrong += right != NULL && memcmp(out, right, n.size) != 0;
        }
    return err;
}
