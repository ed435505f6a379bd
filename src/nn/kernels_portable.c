/* Plain C over the vectors that every compiler target can lower; only for processors
 * without a set of their own, and as a second opinion for tests. */
#include "nn/half.h"
#include "nn/kernels.h"
#include "nn/loops_base.h"

#define LANES   4
#define TOKENS  4
#define ROWS    2
#define DIMS    2
#define QUERIES 4

#define UNPACKED  8
#define HAS_PAIRS false
#define Q8_OFFSET 0

typedef float vf __attribute__((vector_size(16)));
typedef double vd __attribute__((vector_size(16)));
typedef int32_t vm __attribute__((vector_size(16)));
/* Whole numbers in floats, as not every target multiplies integers in vectors: what was summed
 * since times_16, and what that gave. Both are exact, as they stay below 2^24 but for powers of
 * two. */
typedef struct {
    vf part, sums;
} vi;
typedef struct {
    vf column[4];
} vb;

INLINE vf splat(float x)
{
    return (vf){x, x, x, x};
}

INLINE vf load(const void *p)
{
    vf v;

    memcpy(&v, p, sizeof v);
    return v;
}

INLINE void store(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

INLINE vd low_half(vf v)
{
    return (vd){v[0], v[1]};
}

INLINE vd high_half(vf v)
{
    return (vd){v[2], v[3]};
}

INLINE vf fma_(vf a, vf b, vf c)
{
    return a * b + c;
}

INLINE vf select(vm mask, vf yes, vf no)
{
    return (vf)((mask & (vm)yes) | (~mask & (vm)no));
}

INLINE vf min_(vf a, vf b)
{
    return select(a < b, a, b);
}

INLINE vf max_(vf a, vf b)
{
    return select(a > b, a, b);
}

/* An exponent that is 112 too small is set right by a product, for subnormals too; what
 * is infinite or not a number gets the highest one. */
INLINE vf load_f16(const void *p)
{
    typedef uint16_t vh __attribute__((vector_size(8)));
    vh halves;

    memcpy(&halves, p, sizeof halves);
    vm h = __builtin_convertvector(halves, vm);
    vm special = (h & 0x7c00) == 0x7c00;
    vm magnitude = (vm)((vf)((h & 0x7fff) << 13) * splat(0x1p112f));
    return (vf)(magnitude | (special & 0x7f800000) | (h & 0x8000) << 16);
}

INLINE void store_f16(uint16_t *p, vf v)
{
    for (int i = 0; i < LANES; i++)
        p[i] = dhole__to_f16(v[i]);
}

INLINE vf load_bf16(const void *p)
{
    const uint8_t *h = p;

    return (vf){dhole__from_bf16(u16_at(h)), dhole__from_bf16(u16_at(h + 2)),
                dhole__from_bf16(u16_at(h + 4)), dhole__from_bf16(u16_at(h + 6))};
}

INLINE void store_low_bytes(int8_t *p, vf v)
{
    vm bits = (vm)v;

    for (int i = 0; i < LANES; i++)
        p[i] = (int8_t)(bits[i] & 255);
}

INLINE vf load_scales(const uint8_t *p, size_t stride)
{
    return (vf){dhole__from_f16(u16_at(p)), dhole__from_f16(u16_at(p + stride)),
                dhole__from_f16(u16_at(p + 2 * stride)), dhole__from_f16(u16_at(p + 3 * stride))};
}

INLINE void unpack_nibbles(const uint8_t *p, size_t stride, vb *w)
{
    for (size_t i = 0; i < 16; i++) {
        vm both = {p[i], p[stride + i], p[2 * stride + i], p[3 * stride + i]};
        w[i / 4].column[i % 4] = __builtin_convertvector(both & 15, vf);
        w[4 + i / 4].column[i % 4] = __builtin_convertvector(both >> 4, vf);
    }
}

/* w[0] and w[4]. */
INLINE void load_nibbles(const uint8_t *p, vb *w)
{
    for (int i = 0; i < 4; i++) {
        vm both = {p[i], p[4 + i], p[8 + i], p[12 + i]};
        w[0].column[i] = __builtin_convertvector(both & 15, vf);
        w[4].column[i] = __builtin_convertvector(both >> 4, vf);
    }
}

INLINE vb load_bytes(const uint8_t *p)
{
    const int8_t *q = (const int8_t *)p;
    vb w;

    for (int i = 0; i < 4; i++)
        w.column[i] = (vf){q[i], q[4 + i], q[8 + i], q[12 + i]};
    return w;
}

INLINE void unpack_q4_0(const uint8_t *p, size_t stride, vb *w, vf *scale, vf *min)
{
    (void)min;
    unpack_nibbles(p + 2, stride, w);
    *scale = load_scales(p, stride);
}

INLINE void unpack_q4_1(const uint8_t *p, size_t stride, vb *w, vf *scale, vf *min)
{
    unpack_nibbles(p + 4, stride, w);
    *scale = load_scales(p, stride);
    *min = load_scales(p + 2, stride);
}

INLINE void unpack_q8_0(const uint8_t *p, size_t stride, vb *w, vf *scale, vf *min)
{
    (void)min;
    const int8_t *q = (const int8_t *)p + 2;
    for (size_t i = 0; i < 32; i++)
        w[i / 4].column[i % 4] = (vf){q[i], q[stride + i], q[2 * stride + i], q[3 * stride + i]};
    *scale = load_scales(p, stride);
}

INLINE vi dot_q8(vi v, vb w, const int8_t *q)
{
    for (int i = 0; i < 4; i++)
        v.part += w.column[i] * (float)q[i];
    return v;
}

#define dot_q4 dot_q8

INLINE vi times_16_q8(vi v)
{
    return (vi){splat(0), splat(16) * (v.sums + v.part)};
}

INLINE vf value_q8(vi high, vi low)
{
    return times_16_q8(high).sums + low.part;
}

#define value_q4    value_q8
#define times_16_q4 times_16_q8

#include "nn/kernels_loops.h"

KERNELS(dhole__kernels_portable, "portable");
