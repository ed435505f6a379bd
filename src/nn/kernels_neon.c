/* Armv8.2 with dot products: 4 rows at a time. */
#include <arm_neon.h>

#include "nn/kernels.h"
#include "nn/loops_base.h"

#define LANES   4
#define TOKENS  8
#define ROWS    4
#define DIMS    4
#define QUERIES 4

#define UNPACKED  8
#define HAS_PAIRS false
#define Q8_OFFSET 0

typedef float32x4_t vf;
typedef float64x2_t vd;
typedef int32x4_t vi;
typedef int8x16_t vb;

INLINE vf splat(float x)
{
    return vdupq_n_f32(x);
}

INLINE vf load(const void *p)
{
    return vld1q_f32(p);
}

INLINE void store(float *p, vf v)
{
    vst1q_f32(p, v);
}

INLINE vd low_half(vf v)
{
    return vcvt_f64_f32(vget_low_f32(v));
}

INLINE vd high_half(vf v)
{
    return vcvt_high_f64_f32(v);
}

INLINE vf fma_(vf a, vf b, vf c)
{
    return vfmaq_f32(c, a, b);
}

INLINE vf min_(vf a, vf b)
{
    return vminq_f32(a, b);
}

INLINE vf max_(vf a, vf b)
{
    return vmaxq_f32(a, b);
}

INLINE vf load_f16(const void *p)
{
    uint16x4_t halves;

    memcpy(&halves, p, sizeof halves);
    return vcvt_f32_f16(vreinterpret_f16_u16(halves));
}

INLINE void store_f16(uint16_t *p, vf v)
{
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(v)));
}

INLINE vf load_bf16(const void *p)
{
    uint16x4_t halves;

    memcpy(&halves, p, sizeof halves);
    return vreinterpretq_f32_u32(vshll_n_u16(halves, 16));
}

INLINE void store_low_bytes(int8_t *p, vf v)
{
    uint16x4_t halves = vmovn_u32(vreinterpretq_u32_f32(v));
    uint8x8_t low = vmovn_u16(vcombine_u16(halves, halves));

    memcpy(p, &low, LANES);
}

/* 16 bytes of each row to four registers of 4 bytes of each row. */
INLINE void transpose(const uint8_t *p, size_t stride, uint8x16_t out[4])
{
    uint32x4_t r0 = vreinterpretq_u32_u8(vld1q_u8(p));
    uint32x4_t r1 = vreinterpretq_u32_u8(vld1q_u8(p + stride));
    uint32x4_t r2 = vreinterpretq_u32_u8(vld1q_u8(p + 2 * stride));
    uint32x4_t r3 = vreinterpretq_u32_u8(vld1q_u8(p + 3 * stride));
    uint64x2_t a = vreinterpretq_u64_u32(vzip1q_u32(r0, r1));
    uint64x2_t b = vreinterpretq_u64_u32(vzip1q_u32(r2, r3));
    uint64x2_t c = vreinterpretq_u64_u32(vzip2q_u32(r0, r1));
    uint64x2_t d = vreinterpretq_u64_u32(vzip2q_u32(r2, r3));

    out[0] = vreinterpretq_u8_u64(vzip1q_u64(a, b));
    out[1] = vreinterpretq_u8_u64(vzip2q_u64(a, b));
    out[2] = vreinterpretq_u8_u64(vzip1q_u64(c, d));
    out[3] = vreinterpretq_u8_u64(vzip2q_u64(c, d));
}

/* w[0] and w[4]. */
INLINE void split_nibbles(uint8x16_t v, vb *w)
{
    w[0] = vreinterpretq_s8_u8(vandq_u8(v, vdupq_n_u8(15)));
    w[4] = vreinterpretq_s8_u8(vshrq_n_u8(v, 4));
}

INLINE void load_nibbles(const uint8_t *p, vb *w)
{
    split_nibbles(vld1q_u8(p), w);
}

INLINE vb load_bytes(const uint8_t *p)
{
    return vreinterpretq_s8_u8(vld1q_u8(p));
}

INLINE void unpack_nibbles(const uint8_t *p, size_t stride, vb *w)
{
    uint8x16_t v[4];

    transpose(p, stride, v);
    for (int j = 0; j < 4; j++)
        split_nibbles(v[j], w + j);
}

/* The f16 at p in each row. */
INLINE vf load_scales(const uint8_t *p, size_t stride)
{
    uint16_t halves[LANES] = {u16_at(p), u16_at(p + stride), u16_at(p + 2 * stride),
                              u16_at(p + 3 * stride)};

    return load_f16(halves);
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
    uint8x16_t v[8];

    transpose(p + 2, stride, v);
    transpose(p + 18, stride, v + 4);
    for (int j = 0; j < 8; j++)
        w[j] = vreinterpretq_s8_u8(v[j]);
    *scale = load_scales(p, stride);
}

INLINE vi dot_q8(vi sums, vb w, const int8_t *q)
{
    return vdotq_s32(sums, w, vreinterpretq_s8_s32(vdupq_n_s32(i32_at(q))));
}

#define dot_q4 dot_q8

INLINE vi times_16_q8(vi sums)
{
    return vshlq_n_s32(sums, 4);
}

#define times_16_q4 times_16_q8

INLINE vf value_q8(vi high, vi low)
{
    return vcvtq_f32_s32(vaddq_s32(times_16_q8(high), low));
}

#define value_q4 value_q8

#include "nn/kernels_loops.h"

KERNELS(dhole__kernels_neon, "neon-dotprod");
