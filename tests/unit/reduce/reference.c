#include "reference.h"

#include <float.h>
#include <math.h>

#include "test.h"

const struct format format_f16 = {10, 15, 0x7c00, 0x7e00};
const struct format format_bf16 = {7, 127, 0x7f80, 0x7fc0};

double reference_decode(const struct format *format, uint16_t bits)
{
    int m = format->mantissa_bits;
    int exponent = (bits & 0x7fff) >> m;
    int mantissa = bits & ((1 << m) - 1);
    double value;

    if ((bits & 0x7fff) > format->infinity)
        return NAN;
    if ((bits & 0x7fff) == format->infinity)
        value = INFINITY;
    else if (exponent == 0)
        value = ldexp(mantissa, 1 - format->bias - m);
    else
        value = ldexp(mantissa + (1 << m), exponent - format->bias - m);
    return bits & 0x8000 ? -value : value;
}

uint16_t reference_encode(const struct format *format, double value)
{
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    int m = format->mantissa_bits;
    int exponent;
    double steps;

    if (isnan(value))
        return format->nan;
    if (isinf(value))
        return sign | format->infinity;
    frexp(value, &exponent);
    if (exponent < 2 - format->bias)
        exponent = 2 - format->bias;
    steps = rint(ldexp(fabs(value), m + 1 - exponent)); /* of the last place; 2^(m+1) carries */
    if (steps == 0)
        return sign;
    /* A subnormal has fewer than 2^m steps and the exponent field 0, so the sum is right for it. */
    steps += (double)(exponent + format->bias - 2) * (1 << m);
    return sign | (steps >= format->infinity ? format->infinity : (uint16_t)steps);
}

static double order(enum dhole__op op, double a, double b)
{
    double less = a < b || (a == b && signbit(a)) ? a : b;
    double more = less == a && signbit(less) == signbit(a) ? b : a;

    if (isnan(a) || isnan(b))
        return NAN;
    return op == DHOLE__MAX ? more : less;
}

static void put_f32(void *out, double value)
{
    float f = (float)value;
    uint32_t nan = 0x7fc00000;

    memcpy(out, isnan(value) ? (void *)&nan : (void *)&f, sizeof f);
}

static void put_f64(void *out, double value)
{
    uint64_t nan = 0x7ff8000000000000;

    memcpy(out, isnan(value) ? (void *)&nan : (void *)&value, sizeof value);
}

static void reduce_half(const struct format *format, enum dhole__op op, const void *a,
                        const void *b, void *out)
{
    uint16_t bits[2];
    double x, y;

    memcpy(&bits[0], a, 2);
    memcpy(&bits[1], b, 2);
    x = reference_decode(format, bits[0]);
    y = reference_decode(format, bits[1]);
    bits[0] = reference_encode(format, op == DHOLE__SUM ? (float)x + (float)y : order(op, x, y));
    memcpy(out, bits, 2);
}

static void reduce_f32(enum dhole__op op, const void *a, const void *b, void *out)
{
    float x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    put_f32(out, op == DHOLE__SUM ? (double)x + y : order(op, x, y));
}

static void reduce_f64(enum dhole__op op, const void *a, const void *b, void *out)
{
    double x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    put_f64(out, op == DHOLE__SUM ? x + y : order(op, x, y));
}

/* The wanted one by real part, then imaginary part; zeros as order() puts them. */
static void reduce_c64(enum dhole__op op, const void *a, const void *b, void *out)
{
    float x[2], y[2], *z = x;

    memcpy(x, a, sizeof x);
    memcpy(y, b, sizeof y);
    if (op == DHOLE__SUM || isnan(x[0]) || isnan(x[1]) || isnan(y[0]) || isnan(y[1])) {
        double re = op == DHOLE__SUM ? (double)x[0] + y[0] : NAN;
        double im = op == DHOLE__SUM ? (double)x[1] + y[1] : NAN;
        put_f32(out, re);
        put_f32((char *)out + 4, im);
        return;
    }
    if (x[0] != y[0])
        z = (x[0] > y[0]) == (op == DHOLE__MAX) ? x : y;
    else if (x[1] != y[1])
        z = (x[1] > y[1]) == (op == DHOLE__MAX) ? x : y;
    else
        for (int i = 0; i < 2; i++)
            x[i] = (float)order(op, x[i], y[i]);
    memcpy(out, z, sizeof x);
}

static uint64_t load_unsigned(const void *p, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)((const uint8_t *)p)[i] << (8 * i);
    return value;
}

static void reduce_integer(enum dhole__op op, bool is_signed, size_t size, const void *a,
                           const void *b, void *out)
{
    uint64_t x = load_unsigned(a, size), y = load_unsigned(b, size), z;
    /* Flipping the sign bit turns the order of signed integers into that of unsigned ones. */
    uint64_t flip = is_signed ? (uint64_t)1 << (8 * size - 1) : 0;

    if (op == DHOLE__SUM)
        z = x + y;
    else
        z = ((x ^ flip) > (y ^ flip)) == (op == DHOLE__MAX) ? x : y;
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)out)[i] = (uint8_t)(z >> (8 * i));
}

static void reduce_bool(enum dhole__op op, const uint8_t *a, const uint8_t *b, uint8_t *out)
{
    bool x = *a != 0, y = *b != 0;

    *out = op == DHOLE__MIN ? x && y : x || y;
}

void reference_reduce(enum dhole__op op, dhole_dtype dtype, const void *a, const void *b, void *out)
{
    switch (dtype) {
    case DHOLE_BOOL: reduce_bool(op, a, b, out); break;
    case DHOLE_U8: reduce_integer(op, false, 1, a, b, out); break;
    case DHOLE_U16: reduce_integer(op, false, 2, a, b, out); break;
    case DHOLE_U32: reduce_integer(op, false, 4, a, b, out); break;
    case DHOLE_U64: reduce_integer(op, false, 8, a, b, out); break;
    case DHOLE_I8: reduce_integer(op, true, 1, a, b, out); break;
    case DHOLE_I16: reduce_integer(op, true, 2, a, b, out); break;
    case DHOLE_I32: reduce_integer(op, true, 4, a, b, out); break;
    case DHOLE_I64: reduce_integer(op, true, 8, a, b, out); break;
    case DHOLE_F16: reduce_half(&format_f16, op, a, b, out); break;
    case DHOLE_BF16: reduce_half(&format_bf16, op, a, b, out); break;
    case DHOLE_F32: reduce_f32(op, a, b, out); break;
    case DHOLE_F64: reduce_f64(op, a, b, out); break;
    case DHOLE_C64: reduce_c64(op, a, b, out); break;
    }
}

static uint16_t sum_half(const struct format *format, const void *const *sources, int n,
                         size_t index)
{
    float sum = 0;

    for (int i = 0; i < n; i++) {
        uint16_t bits;
        memcpy(&bits, (const uint8_t *)sources[i] + 2 * index, 2);
        sum = i == 0 ? (float)reference_decode(format, bits)
                     : sum + (float)reference_decode(format, bits);
    }
    return reference_encode(format, sum);
}

void reference_many(enum dhole__op op, dhole_dtype dtype, const void *const *sources, int n,
                    size_t index, void *out)
{
    size_t size = dhole_dtype_size(dtype);
    bool half = dtype == DHOLE_F16 || dtype == DHOLE_BF16;

    memcpy(out, (const uint8_t *)sources[0] + size * index, size);
    if (n > 1 && op == DHOLE__SUM && half) {
        const struct format *format = dtype == DHOLE_F16 ? &format_f16 : &format_bf16;
        uint16_t bits = sum_half(format, sources, n, index);
        memcpy(out, &bits, 2);
        return;
    }
    for (int i = 1; i < n; i++)
        reference_reduce(op, dtype, out, (const uint8_t *)sources[i] + size * index, out);
}

/* One element in eight is special; neighbours of a bit pattern share its exponent, so that sums
 * cancel and round. */
void fill_elements(dhole_dtype dtype, void *data, size_t n, unsigned long long *seed)
{
    static const uint16_t half[] = {0,      0x8000, 0x7c00, 0xfc00, 0x7e00, 0xffff, 0x7c01,
                                    0x0001, 0x83ff, 0x7bff, 0x7f80, 0xff80, 0x7fc1, 0x7f7f};
    static const uint32_t f32[] = {0,          0x80000000, 0x7f800000, 0xff800000, 0x7fc00000,
                                   0xffffffff, 0x7f800001, 1,          0x807fffff, 0x7f7fffff};
    static const uint64_t f64[] = {0,
                                   0x8000000000000000,
                                   0x7ff0000000000000,
                                   0xfff0000000000000,
                                   0x7ff8000000000000,
                                   0xffffffffffffffff,
                                   0x7ff0000000000001,
                                   1,
                                   0x7fefffffffffffff};
    size_t size = dhole_dtype_size(dtype);
    size_t word = dtype == DHOLE_C64 ? 4 : size;

    for (size_t i = 0; i < n * (size / word); i++) {
        unsigned long long r = test_random(seed);
        uint64_t bits = r;
        if (dtype == DHOLE_BOOL)
            bits = r % 4 == 0 ? r >> 8 : r >> 8 & 1;
        else if (r % 8 == 0 && word == 2)
            bits = half[(r >> 8) % (sizeof half / sizeof half[0])];
        else if (r % 8 == 0 && word == 4)
            bits = f32[(r >> 8) % (sizeof f32 / sizeof f32[0])];
        else if (r % 8 == 0 && word == 8)
            bits = f64[(r >> 8) % (sizeof f64 / sizeof f64[0])];
        else if (r % 8 == 1) /* an exponent that all ranks draw often */
            bits = (r & 0x8000ffff8000ffff) | 0x4000000040000000;
        memcpy((uint8_t *)data + i * word, &bits, word);
    }
}
