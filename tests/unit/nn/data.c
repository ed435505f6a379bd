#include "data.h"

#include <math.h>

#include "dhole/error.h"
#include "nn/linear.h"

const enum dhole__ttype all_types[6] = {DHOLE__F32,  DHOLE__F16,  DHOLE__BF16,
                                        DHOLE__Q4_0, DHOLE__Q4_1, DHOLE__Q8_0};

void use_kernels(const char *set)
{
    setenv("DHOLE_KERNELS", set, 1);
    setenv("DHOLE_LOG", "error", 1);
    if (strncmp(dhole__kernels_name(), set, strlen(set)) != 0)
        test_skip("this processor or build has no such kernels");
}

void *zeroes(size_t count, size_t size)
{
    void *p = calloc(count > 0 ? count : 1, size);

    ASSERT(p != NULL);
    return p;
}

static double unit_random(unsigned long long *state)
{
    return (double)(test_random(state) >> 11) * 0x1p-52 - 1;
}

float *random_floats(size_t n, unsigned long long seed)
{
    float *x = zeroes(n, sizeof *x);

    for (size_t i = 0; i < n; i++)
        x[i] = (float)unit_random(&seed);
    return x;
}

/* A random finite f16, subnormal now and then, and its value. */
static double put_f16(unsigned char *p, unsigned long long *state)
{
    unsigned sign = test_random(state) & 1, fraction = test_random(state) & 1023;
    unsigned exponent = test_random(state) % 16 == 0 ? 0 : 8 + test_random(state) % 7;
    unsigned bits = sign << 15 | exponent << 10 | fraction;
    double value =
        exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, (int)exponent - 25);

    p[0] = bits & 255;
    p[1] = (unsigned char)(bits >> 8);
    return sign ? -value : value;
}

static double put_bf16(unsigned char *p, unsigned long long *state)
{
    float x = (float)unit_random(state);
    unsigned bits;

    memcpy(&bits, &x, sizeof bits);
    bits &= 0xffff0000u;
    memcpy(&x, &bits, sizeof x);
    p[0] = bits >> 16 & 255;
    p[1] = (unsigned char)(bits >> 24);
    return x;
}

static double put_f32(unsigned char *p, unsigned long long *state)
{
    float x = (float)unit_random(state);

    memcpy(p, &x, sizeof x);
    return x;
}

static void put_nibbles(unsigned char *p, double scale, double min, unsigned long long *state,
                        double *value)
{
    for (int i = 0; i < 16; i++) {
        p[i] = test_random(state) & 255;
        value[i] = scale * (p[i] & 15) + min;
        value[16 + i] = scale * (p[i] >> 4) + min;
    }
}

static void put_block(enum dhole__ttype type, unsigned char *p, unsigned long long *state,
                      double *value)
{
    double scale;

    switch (type) {
    case DHOLE__F32: *value = put_f32(p, state); break;
    case DHOLE__F16: *value = put_f16(p, state); break;
    case DHOLE__BF16: *value = put_bf16(p, state); break;
    case DHOLE__Q4_0:
        scale = put_f16(p, state);
        put_nibbles(p + 2, scale, -8 * scale, state, value);
        break;
    case DHOLE__Q4_1:
        scale = put_f16(p, state);
        put_nibbles(p + 4, scale, put_f16(p + 2, state), state, value);
        break;
    case DHOLE__Q8_0:
        scale = put_f16(p, state);
        for (int i = 0; i < 32; i++) {
            p[2 + i] = test_random(state) & 255;
            value[i] = scale * (signed char)p[2 + i];
        }
        break;
    }
}

struct weight random_weight(enum dhole__ttype type, size_t cols, size_t rows,
                            unsigned long long seed)
{
    size_t elements = dhole__ttype_elements(type), bytes = dhole__ttype_bytes(type);
    size_t total = rows * (cols / elements) * bytes;
    struct weight w = {.value = zeroes(rows * cols, sizeof *w.value),
                       .memory = zeroes(total + 1, 1)};
    unsigned char *p = (unsigned char *)w.memory + 1;

    w.tensor = (struct dhole__tensor){"w", type, 2, {cols, rows, 1, 1}, p, total};
    for (size_t i = 0; i < rows * cols; i += elements, p += bytes)
        put_block(type, p, &seed, w.value + i);
    return w;
}

void free_weight(struct weight *w)
{
    free(w->memory);
    free(w->value);
}

struct dhole__pool *make_pool(int threads)
{
    struct dhole__pool *pool = NULL;

    ASSERT_OK(dhole__pool_create(threads, &pool));
    return pool;
}
