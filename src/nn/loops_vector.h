/* Helpers over the vectors of an instruction set; see kernels_loops.h. */
#ifndef DHOLE_NN_LOOPS_VECTOR_H
#define DHOLE_NN_LOOPS_VECTOR_H

#include "nn/loops_base.h"

typedef uint32_t vu __attribute__((vector_size(4 * LANES)));

/* The first n floats, then zeroes. */
INLINE vf load_n(const float *p, size_t n)
{
    float part[LANES] = {0};

    if (n >= LANES)
        return load(p);
    memcpy(part, p, n * sizeof *p);
    return load(part);
}

INLINE void store_n(float *p, vf v, size_t n)
{
    float part[LANES];

    if (n >= LANES) {
        store(p, v);
        return;
    }
    store(part, v);
    memcpy(p, part, n * sizeof *p);
}

typedef float quad __attribute__((vector_size(16)));
typedef int32_t quad_mask __attribute__((vector_size(16)));

/* As a tree of halves. */
INLINE float add_lanes(vf v)
{
    quad t[LANES / 4];

    memcpy(t, &v, sizeof t);
    UNROLL
    for (int half = LANES / 8; half > 0; half /= 2) {
        UNROLL
        for (int i = 0; i < half; i++)
            t[i] += t[i + half];
    }
    return (t[0][0] + t[0][2]) + (t[0][1] + t[0][3]);
}

INLINE quad max_quad(quad a, quad b)
{
    quad_mask greater = a > b;

    return (quad)((greater & (quad_mask)a) | (~greater & (quad_mask)b));
}

INLINE float max_lanes(vf v)
{
    quad t[LANES / 4];

    memcpy(t, &v, sizeof t);
    UNROLL
    for (int half = LANES / 8; half > 0; half /= 2) {
        UNROLL
        for (int i = 0; i < half; i++)
            t[i] = max_quad(t[i], t[i + half]);
    }
    float a = t[0][0] > t[0][2] ? t[0][0] : t[0][2], b = t[0][1] > t[0][3] ? t[0][1] : t[0][3];
    return a > b ? a : b;
}

/* e^x: within 1e-6, exactly 1 at 0, 0 below -87, e^88 from there on. */
INLINE vf exp_(vf x)
{
    const vf magic = splat(0x1.8p23f); /* adding it rounds to an integer, left in the low bits */
    vf bounded = min_(splat(88), x);
    vf bits = fma_(bounded, splat(0x1.715476p0f), magic);
    vf n = bits - magic;
    vf r = fma_(n, splat(-0x1.62e4p-1f), bounded); /* x - n ln 2, ln 2 in two parts */
    r = fma_(n, splat(-0x1.7f7d1cp-20f), r);
    vf e = splat(1.0f / 5040);
    e = fma_(e, r, splat(1.0f / 720));
    e = fma_(e, r, splat(1.0f / 120));
    e = fma_(e, r, splat(1.0f / 24));
    e = fma_(e, r, splat(1.0f / 6));
    e = fma_(e, r, splat(0.5f));
    e = fma_(e, r, splat(1));
    e = fma_(e, r, splat(1));
    vf power = (vf)(((vu)bits + 127) << 23);
    return (vf)((vu)(e * power) & (vu)(x >= splat(-87)));
}

#endif
