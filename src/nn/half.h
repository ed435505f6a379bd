/* 16-bit floats to and from f32, in plain C. */
#ifndef DHOLE_NN_HALF_H
#define DHOLE_NN_HALF_H

#include <stdint.h>
#include <string.h>

static inline float dhole__float_of_bits(uint32_t bits)
{
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t dhole__bits_of_float(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float dhole__from_bf16(uint16_t h)
{
    return dhole__float_of_bits((uint32_t)h << 16);
}

static inline float dhole__from_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 0x1f, fraction = h & 0x3ff;

    if (exponent == 0x1f)
        return dhole__float_of_bits(sign | 0x7f800000 | fraction << 13);
    if (exponent == 0) /* zero or subnormal: fraction * 2^-24 */
        return dhole__float_of_bits(sign | dhole__bits_of_float((float)fraction * 0x1p-24f));
    return dhole__float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

/* To nearest even; |x| <= 65504. */
static inline uint16_t dhole__to_f16(float x)
{
    uint32_t bits = dhole__bits_of_float(x), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;

    if (rest > 0x7f800000) /* not a number */
        return (uint16_t)(sign | 0x7e00);
    if (rest < 0x38800000) /* subnormal: the addition rounds at 2^-24 */
        return (uint16_t)(sign | (dhole__bits_of_float(dhole__float_of_bits(rest) + 0.5f) -
                                  dhole__bits_of_float(0.5f)));
    rest += 0xfff + (rest >> 13 & 1);
    return (uint16_t)(sign | (rest - 0x38000000) >> 13);
}

#endif
