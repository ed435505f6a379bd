/* AVX-512 with VNNI: 16 rows at a time. */
#include <immintrin.h>

#include "nn/loops_base.h"

#define LANES   16
#define TOKENS  8
#define ROWS    4
#define DIMS    4
#define QUERIES 6

#define UNPACKED  12
#define HAS_PAIRS true
#define Q8_OFFSET 128

typedef __m512 vf;
typedef __m512d vd;
typedef __m512i vb, vi;

INLINE vf splat(float x)
{
    return _mm512_set1_ps(x);
}

INLINE vf load(const void *p)
{
    return _mm512_loadu_ps(p);
}

INLINE void store(float *p, vf v)
{
    _mm512_storeu_ps(p, v);
}

INLINE vd low_half(vf v)
{
    return _mm512_cvtps_pd(_mm512_castps512_ps256(v));
}

INLINE vd high_half(vf v)
{
    return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
}

INLINE vf fma_(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}

INLINE vf min_(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}

INLINE vf max_(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}

INLINE vf load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}

INLINE void store_f16(uint16_t *p, vf v)
{
    _mm256_storeu_si256((void *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

INLINE vf load_bf16(const void *p)
{
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16);
}

INLINE void store_low_bytes(int8_t *p, vf v)
{
    _mm_storeu_si128((void *)p, _mm512_cvtepi32_epi8((__m512i)v));
}

/* Four rows a register, so that unpacking within 128-bit lanes leaves row r in lane r. */
INLINE __m512i load_rows(const uint8_t *p, size_t stride)
{
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const void *)p));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(p + 4 * stride)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(p + 8 * stride)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(p + 12 * stride)), 3);
}

/* 16 bytes of each row to four registers of 4 bytes of each row. */
INLINE void transpose(const uint8_t *p, size_t stride, __m512i out[4])
{
    __m512i r0 = load_rows(p, stride), r1 = load_rows(p + stride, stride);
    __m512i r2 = load_rows(p + 2 * stride, stride), r3 = load_rows(p + 3 * stride, stride);
    __m512i a = _mm512_unpacklo_epi32(r0, r1), b = _mm512_unpacklo_epi32(r2, r3);
    __m512i c = _mm512_unpackhi_epi32(r0, r1), d = _mm512_unpackhi_epi32(r2, r3);

    out[0] = _mm512_unpacklo_epi64(a, b);
    out[1] = _mm512_unpackhi_epi64(a, b);
    out[2] = _mm512_unpacklo_epi64(c, d);
    out[3] = _mm512_unpackhi_epi64(c, d);
}

/* w[0], w[4], and both as a pair in w[8]. */
INLINE void split_nibbles(__m512i v, vb *w)
{
    const __m512i low = _mm512_set1_epi8(15);

    w[0] = v & low;
    w[4] = _mm512_srli_epi16(v, 4) & low;
    w[8] = v;
}

INLINE void load_nibbles(const uint8_t *p, vb *w)
{
    split_nibbles(_mm512_loadu_si512(p), w);
}

INLINE void unpack_nibbles(const uint8_t *p, size_t stride, vb *w)
{
    __m512i v[4];

    transpose(p, stride, v);
    for (int j = 0; j < 4; j++)
        split_nibbles(v[j], w + j);
}

/* vpdpbusd takes unsigned weights: 128 is added here. */
INLINE vb add_offset(__m512i v)
{
    return v ^ _mm512_set1_epi8(-128);
}

INLINE vb load_bytes(const uint8_t *p)
{
    return add_offset(_mm512_loadu_si512(p));
}

/* The f16 at the start of each row's block. */
INLINE vf load_scales(const uint8_t *p, size_t s)
{
    const uint8_t *p4 = p + 4 * s, *p8 = p + 8 * s, *p12 = p + 12 * s;
#define FOUR(p) \
    (short)u16_at(p + 3 * s), (short)u16_at(p + 2 * s), (short)u16_at(p + s), (short)u16_at(p)
    return _mm512_cvtph_ps(_mm256_set_epi16(FOUR(p12), FOUR(p8), FOUR(p4), FOUR(p)));
#undef FOUR
}

INLINE void unpack_q4_0(const uint8_t *p, size_t stride, vb *w, vf *scale, vf *min)
{
    (void)min;
    unpack_nibbles(p + 2, stride, w);
    *scale = load_scales(p, stride);
}

INLINE void unpack_q4_1(const uint8_t *p, size_t s, vb *w, vf *scale, vf *min)
{
    const uint8_t *p4 = p + 4 * s, *p8 = p + 8 * s, *p12 = p + 12 * s;
#define FOUR(p) i32_at(p + 3 * s), i32_at(p + 2 * s), i32_at(p + s), i32_at(p)
    __m512i both = _mm512_set_epi32(FOUR(p12), FOUR(p8), FOUR(p4), FOUR(p));
#undef FOUR

    unpack_nibbles(p + 4, s, w);
    *scale = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(both));
    *min = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(both, 16)));
}

INLINE void unpack_q8_0(const uint8_t *p, size_t stride, vb *w, vf *scale, vf *min)
{
    (void)min;
    transpose(p + 2, stride, w);
    transpose(p + 18, stride, w + 4);
    for (int j = 0; j < 8; j++)
        w[j] = add_offset(w[j]);
    *scale = load_scales(p, stride);
}

INLINE vi dot_q4(vi sums, vb w, const int8_t *q)
{
    const struct four {
        int8_t byte[4];
    } *four = (const void *)q;

    /* Compilers may load and broadcast by an instruction of its own. */
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sums) : "v"(w), "m"(*four));
    return sums;
}

#define dot_q8 dot_q4

INLINE vi times_16_q4(vi sums)
{
    return _mm512_slli_epi32(sums, 4);
}

#define times_16_q8 times_16_q4

INLINE vf value_q4(vi high, vi low)
{
    return _mm512_cvtepi32_ps(_mm512_add_epi32(times_16_q4(high), low));
}

#define value_q8 value_q4

#include "nn/kernels_loops.h"

KERNELS(dhole__kernels_avx512, "avx512-vnni");
