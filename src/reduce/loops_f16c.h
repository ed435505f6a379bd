/* The f16 sums with the conversion instructions of F16C, eight at a time; a part of loops_impl.h,
 * whose conversions do the rest and give the same bits. */
#include <immintrin.h>

static inline __m256 load_f16(const u16 *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p));
}

/* The instruction would keep a NaN's payload. */
static inline void store_f16(u16 *p, __m256 x)
{
    const __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000));
    const __m256 y = _mm256_blendv_ps(x, nan, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));

    _mm_storeu_si128((void *)p, _mm256_cvtps_ph(y, _MM_FROUND_TO_NEAREST_INT));
}

static void sum_f16(const void *pa, const void *pb, void *po, size_t n)
{
    const u16 *a = pa, *b = pb;
    u16 *out = po;
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        store_f16(out + i, _mm256_add_ps(load_f16(a + i), load_f16(b + i)));
    for (; i < n; i++)
        out[i] = narrow_f16(widen_f16(a[i]) + widen_f16(b[i]));
}

static void start_f16(float *acc, const void *p, size_t n)
{
    const u16 *src = p;
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(acc + i, load_f16(src + i));
    for (; i < n; i++)
        acc[i] = widen_f16(src[i]);
}

static void add_f16(float *acc, const void *p, size_t n)
{
    const u16 *src = p;
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(acc + i, _mm256_add_ps(_mm256_loadu_ps(acc + i), load_f16(src + i)));
    for (; i < n; i++)
        acc[i] += widen_f16(src[i]);
}

static void finish_f16(const float *acc, void *p, size_t n)
{
    u16 *out = p;
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        store_f16(out + i, _mm256_loadu_ps(acc + i));
    for (; i < n; i++)
        out[i] = narrow_f16(acc[i]);
}
