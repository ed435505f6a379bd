/* AVX2 with FMA and F16C: 8 rows at a time. */
#include <immintrin.h>

#include "nn/kernels.h"
#include "nn/loops_base.h"

#define LANES   8
#define TOKENS  4
#define ROWS    2
#define DIMS    2
#define QUERIES 4

#define UNPACKED  8
#define HAS_PAIRS false
#define Q8_OFFSET 0

typedef __m256 vf;
typedef __m256d vd;
typedef __m256i vb;

/* 16-bit sums of pairs of columns, and 32-bit ones that they were added to. */
typedef struct {
    __m256i pairs, sums;
} vi;

INLINE vf splat(float x)
{
    return _mm256_set1_ps(x);
}

INLINE vf load(const void *p)
{
    return _mm256_loadu_ps(p);
}

INLINE void store(float *p, vf v)
{
    _mm256_storeu_ps(p, v);
}

INLINE vd low_half(vf v)
{
    return _mm256_cvtps_pd(_mm256_castps256_ps128(v));
}

INLINE vd high_half(vf v)
{
    return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
}

INLINE vf fma_(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}

INLINE vf min_(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}

INLINE vf max_(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}

INLINE vf load_f16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(p));
}

INLINE void store_f16(uint16_t *p, vf v)
{
    _mm_storeu_si128((void *)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

INLINE vf load_bf16(const void *p)
{
    return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16);
}

INLINE void store_low_bytes(int8_t *p, vf v)
{
    const __m256i low = _mm256_set1_epi32(0x0c080400);
    __m256i bytes = _mm256_shuffle_epi8((__m256i)v, low);
    int32_t half[2] = {_mm256_extract_epi32(bytes, 0), _mm256_extract_epi32(bytes, 4)};

    memcpy(p, half, sizeof half);
}

/* Two rows a register, so that unpacking within 128-bit lanes leaves row r in lane r. */
INLINE __m256i load_rows(const uint8_t *p, size_t stride)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const void *)p)),
                                   _mm_loadu_si128((const void *)(p + 4 * stride)), 1);
}

/* 16 bytes of each row to four registers of 4 bytes of each row. */
INLINE void transpose(const uint8_t *p, size_t stride, __m256i out[4])
{
    __m256i r0 = load_rows(p, stride), r1 = load_rows(p + stride, stride);
    __m256i r2 = load_rows(p + 2 * stride, stride), r3 = load_rows(p + 3 * stride, stride);
    __m256i a = _mm256_unpacklo_epi32(r0, r1), b = _mm256_unpacklo_epi32(r2, r3);
    __m256i c = _mm256_unpackhi_epi32(r0, r1), d = _mm256_unpackhi_epi32(r2, r3);

    out[0] = _mm256_unpacklo_epi64(a, b);
    out[1] = _mm256_unpackhi_epi64(a, b);
    out[2] = _mm256_unpacklo_epi64(c, d);
    out[3] = _mm256_unpackhi_epi64(c, d);
}

/* w[0] and w[4]. */
INLINE void split_nibbles(__m256i v, vb *w)
{
    const __m256i low = _mm256_set1_epi8(15);

    w[0] = v & low;
    w[4] = _mm256_srli_epi16(v, 4) & low;
}

INLINE vb load_bytes(const uint8_t *p)
{
    return _mm256_loadu_si256((const void *)p);
}

INLINE void load_nibbles(const uint8_t *p, vb *w)
{
    split_nibbles(load_bytes(p), w);
}

INLINE void unpack_nibbles(const uint8_t *p, size_t stride, vb *w)
{
    __m256i v[4];

    transpose(p, stride, v);
    for (int j = 0; j < 4; j++)
        split_nibbles(v[j], w + j);
}

/* The f16 at p in each row. */
INLINE vf load_scales(const uint8_t *p, size_t s)
{
    const uint8_t *p4 = p + 4 * s;
#define FOUR(p) \
    (short)u16_at(p + 3 * s), (short)u16_at(p + 2 * s), (short)u16_at(p + s), (short)u16_at(p)
    return _mm256_cvtph_ps(_mm_set_epi16(FOUR(p4), FOUR(p)));
#undef FOUR
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
    transpose(p + 2, stride, w);
    transpose(p + 18, stride, w + 4);
    *scale = load_scales(p, stride);
}

INLINE __m256i four_bytes(const int8_t *q)
{
    return _mm256_set1_epi32(i32_at(q));
}

/* Keeps sums in the order of the source. Compilers would rather add in a tree, for which all of a
 * block's products must wait, far more than there are registers. */
#define IN_ORDER(sums) __asm__("" : "+x"(sums))

/* A block's pairs are at most 8 * 2 * 15 * 127 < 2^15. */
INLINE vi dot_q4(vi v, vb w, const int8_t *q)
{
    v.pairs = _mm256_add_epi16(v.pairs, _mm256_maddubs_epi16(w, four_bytes(q)));
    IN_ORDER(v.pairs);
    return v;
}

INLINE vi times_16_q4(vi v)
{
    __m256i sums = _mm256_madd_epi16(v.pairs, _mm256_set1_epi16(16));

    return (vi){_mm256_setzero_si256(), _mm256_add_epi32(_mm256_slli_epi32(v.sums, 4), sums)};
}

INLINE vf value_q4(vi high, vi low)
{
    __m256i sums = _mm256_madd_epi16(low.pairs, _mm256_set1_epi16(1));

    return _mm256_cvtepi32_ps(_mm256_add_epi32(times_16_q4(high).sums, sums));
}

/* The first factor must be unsigned, so the sign of w moves over to q. */
INLINE vi dot_q8(vi v, vb w, const int8_t *q)
{
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(four_bytes(q), w));

    v.sums = _mm256_add_epi32(v.sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    IN_ORDER(v.sums);
    return v;
}

INLINE vi times_16_q8(vi v)
{
    v.sums = _mm256_slli_epi32(v.sums, 4);
    return v;
}

INLINE vf value_q8(vi high, vi low)
{
    return _mm256_cvtepi32_ps(_mm256_add_epi32(times_16_q8(high).sums, low.sums));
}

#include "nn/kernels_loops.h"

KERNELS(dhole__kernels_avx2, "avx2");
