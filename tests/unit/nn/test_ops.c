#include <math.h>

#include "data.h"
#include "nn/half.h"
#include "nn/kernels.h"
#include "nn/ops.h"

static void rms_norm_matches_f64(void)
{
    struct dhole__pool *pool = make_pool(2);

    for (size_t n = 1; n < 200; n = n * 2 + 3) {
        enum { tokens = 19 };
        float *x = random_floats(tokens * n, n), *w = random_floats(n, 2);
        float *y = zeroes(tokens * n, sizeof *y);
        dhole__rms_norm(pool, x, w, 1e-5f, n, tokens, y);
        for (size_t t = 0; t < tokens; t++) {
            double squares = 0;
            for (size_t i = 0; i < n; i++)
                squares += (double)x[t * n + i] * x[t * n + i];
            double scale = 1 / sqrt(squares / (double)n + 1e-5);
            for (size_t i = 0; i < n; i++) {
                double expected = x[t * n + i] * scale * w[i];
                ASSERT(fabs(y[t * n + i] - expected) <= 1e-6 * fabs(expected));
            }
        }
        free(x);
        free(w);
        free(y);
    }
    dhole__pool_free(pool);
}
TEST_EACH_SET(rms_norm_matches_f64)

static void swiglu_matches_f64(void)
{
    enum { n = 20001 };
    struct dhole__pool *pool = make_pool(3);
    float *gate = zeroes(n, sizeof *gate), *up = random_floats(n, 1), *before = zeroes(n, 4);

    for (int i = 0; i < n; i++)
        gate[i] = before[i] = (float)(i - n / 2) * 0.01f;
    dhole__swiglu(pool, gate, up, n);
    for (int i = 0; i < n; i++) {
        double x = before[i], expected = x / (1 + exp(-x)) * up[i];
        ASSERT_MSG(fabs(gate[i] - expected) <= 1e-6 * fabs(expected) + 1e-30,
                   "swiglu of %g: %.9g, expected %.9g", x, gate[i], expected);
    }
    free(gate);
    free(up);
    free(before);
    dhole__pool_free(pool);
}
TEST_EACH_SET(swiglu_matches_f64)

static void f16_is_rounded_to_nearest_even(void)
{
    for (unsigned h = 0; h < 0x7bff; h++) {
        float low = dhole__from_f16((uint16_t)h), high = dhole__from_f16((uint16_t)(h + 1));
        float middle = (low + high) / 2;
        float x[] = {low, nextafterf(middle, 0), middle, nextafterf(middle, 1e9f), -middle};
        uint16_t even = (uint16_t)(h + (h & 1)), out[5];
        dhole__kernels()->to_f16(x, 5, out);
        ASSERT_EQ(out[0], h);
        ASSERT_EQ(out[1], h);
        ASSERT_EQ(out[2], even);
        ASSERT_EQ(out[3], h + 1);
        ASSERT_EQ(out[4], even | 0x8000);
    }
}
TEST_EACH_SET(f16_is_rounded_to_nearest_even)

static void f16_saturates(void)
{
    float x[] = {65504, 65520, 1e30f, -1e30f, INFINITY, NAN};
    uint16_t out[6];

    dhole__kernels()->to_f16(x, 6, out);
    ASSERT_EQ(out[0], 0x7bff);
    ASSERT_EQ(out[1], 0x7bff);
    ASSERT_EQ(out[2], 0x7bff);
    ASSERT_EQ(out[3], 0xfbff);
    ASSERT_EQ(out[4], 0x7bff);
    ASSERT(isnan(dhole__from_f16(out[5])));
}
TEST_EACH_SET(f16_saturates)

TEST(f16_values_are_exact)
{
    for (unsigned h = 0; h < 0x10000; h++) {
        unsigned exponent = h >> 10 & 31, fraction = h & 1023;
        double value =
            exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, (int)exponent - 25);
        if (exponent == 31)
            value = fraction == 0 ? INFINITY : NAN;
        float got = dhole__from_f16((uint16_t)h);
        ASSERT(isnan(value) ? isnan(got) : fabs(got) == value && !!signbit(got) == h >> 15);
    }
}

TEST(add_adds)
{
    float x[] = {1, 2, 3}, y[] = {10, 20, 30};

    dhole__add(x, y, 3);
    ASSERT(x[0] == 11 && x[1] == 22 && x[2] == 33);
}
