/* The body of every loops_*.c: plain loops that the compiler vectorises for the instruction set
 * that the file is compiled for. SET and SET_NAME name the result.
 *
 * What could differ between instruction sets is done on bit patterns: which NaN comes out, how
 * zeros compare, how f16 and bf16 round. */
#include <stdint.h>
#include <string.h>

#include "dhole/dtype.h"
#include "reduce/loops.h"
#include "reduce/reduce.h"

/* out may be a or b, so the pointers are not `restrict`; yet no iteration touches what another one
 * does. */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

#define ANY_ADDRESS __attribute__((aligned(1), may_alias))
typedef uint8_t u8 ANY_ADDRESS;
typedef uint16_t u16 ANY_ADDRESS;
typedef uint32_t u32 ANY_ADDRESS;
typedef uint64_t u64 ANY_ADDRESS;
typedef int8_t i8 ANY_ADDRESS;
typedef int16_t i16 ANY_ADDRESS;
typedef int32_t i32 ANY_ADDRESS;
typedef int64_t i64 ANY_ADDRESS;
typedef float f32 ANY_ADDRESS;
typedef double f64 ANY_ADDRESS;

/* Defines a fold loop over elements of `type`; `result` is an expression of x and y. */
#define FOLD(name, type, result)                                         \
    static void name(const void *pa, const void *pb, void *po, size_t n) \
    {                                                                    \
        const type *a = pa, *b = pb;                                     \
        type *out = po;                                                  \
        INDEPENDENT                                                      \
        for (size_t i = 0; i < n; i++) {                                 \
            const type x = a[i], y = b[i];                               \
            out[i] = (type)(result);                                     \
        }                                                                \
    }

FOLD(or_bool, u8, (x | y) != 0)
FOLD(and_bool, u8, (x != 0) & (y != 0))

/* Sums of signed integers are those of the unsigned ones, which wrap. */
FOLD(sum_8, u8, x + y)
FOLD(sum_16, u16, x + y)
FOLD(sum_32, u32, x + y)
FOLD(sum_64, u64, x + y)

#define INTEGER_ORDER(type)               \
    FOLD(max_##type, type, x > y ? x : y) \
    FOLD(min_##type, type, x < y ? x : y)

INTEGER_ORDER(u8)
INTEGER_ORDER(u16)
INTEGER_ORDER(u32)
INTEGER_ORDER(u64)
INTEGER_ORDER(i8)
INTEGER_ORDER(i16)
INTEGER_ORDER(i32)
INTEGER_ORDER(i64)

static inline uint32_t f32_bits(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float f32_from(uint32_t bits)
{
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint64_t f64_bits(double x)
{
    uint64_t bits;

    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline double f64_from(uint64_t bits)
{
    double x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Functions on the bits of a floating-point format of `bits` bits: is_nan, canonical (any NaN to
 * the one of `quiet`), key (integers in the order of the values, -0 < +0), max and min. */
#define FORMAT(f, bits, infinity, quiet)                                                     \
    static inline int is_nan_##f(uint##bits##_t x)                                           \
    {                                                                                        \
        return (uint##bits##_t)(x & (UINT##bits##_MAX >> 1)) > (infinity);                   \
    }                                                                                        \
    static inline uint##bits##_t canonical_##f(uint##bits##_t x)                             \
    {                                                                                        \
        return is_nan_##f(x) ? (quiet) : x;                                                  \
    }                                                                                        \
    static inline int##bits##_t key_##f(uint##bits##_t x)                                    \
    {                                                                                        \
        return (int##bits##_t)(x ^ ((uint##bits##_t)((int##bits##_t)x >> (bits - 1)) >> 1)); \
    }                                                                                        \
    static inline uint##bits##_t max_bits_##f(uint##bits##_t x, uint##bits##_t y)            \
    {                                                                                        \
        const uint##bits##_t z = key_##f(x) > key_##f(y) ? x : y;                            \
        return is_nan_##f(x) | is_nan_##f(y) ? (quiet) : z;                                  \
    }                                                                                        \
    static inline uint##bits##_t min_bits_##f(uint##bits##_t x, uint##bits##_t y)            \
    {                                                                                        \
        const uint##bits##_t z = key_##f(x) < key_##f(y) ? x : y;                            \
        return is_nan_##f(x) | is_nan_##f(y) ? (quiet) : z;                                  \
    }                                                                                        \
    FOLD(max_##f, u##bits, max_bits_##f(x, y))                                               \
    FOLD(min_##f, u##bits, min_bits_##f(x, y))

FORMAT(f16, 16, 0x7c00u, 0x7e00u)
FORMAT(bf16, 16, 0x7f80u, 0x7fc0u)
FORMAT(f32, 32, 0x7f800000u, 0x7fc00000u)
FORMAT(f64, 64, 0x7ff0000000000000u, 0x7ff8000000000000u)

FOLD(sum_f32, f32, f32_from(canonical_f32(f32_bits(x + y))))
FOLD(sum_f64, f64, f64_from(canonical_f64(f64_bits(x + y))))

static void sum_c64(const void *a, const void *b, void *out, size_t n)
{
    sum_f32(a, b, out, 2 * n);
}

/* Defines max or min of c64: the greater (less) operand by `before`; where both parts are equal,
 * so that only zeros can differ, part by part. */
#define COMPLEX_ORDER(name, before, part)                                     \
    static void name(const void *pa, const void *pb, void *po, size_t n)      \
    {                                                                         \
        const f32 *a = pa, *b = pb;                                           \
        f32 *out = po;                                                        \
        for (size_t i = 0; i < 2 * n; i += 2) {                               \
            const float ar = a[i], ai = a[i + 1], br = b[i], bi = b[i + 1];   \
            if (ar != ar || ai != ai || br != br || bi != bi) {               \
                out[i] = out[i + 1] = f32_from(0x7fc00000u);                  \
            } else if (ar == br && ai == bi) {                                \
                out[i] = f32_from(part(f32_bits(ar), f32_bits(br)));          \
                out[i + 1] = f32_from(part(f32_bits(ai), f32_bits(bi)));      \
            } else {                                                          \
                const int first = ar before br || (ar == br && ai before bi); \
                out[i] = first ? ar : br;                                     \
                out[i + 1] = first ? ai : bi;                                 \
            }                                                                 \
        }                                                                     \
    }

COMPLEX_ORDER(max_c64, >, max_bits_f32)
COMPLEX_ORDER(min_c64, <, min_bits_f32)

static inline float widen_bf16(uint16_t x)
{
    return f32_from((uint32_t)x << 16);
}

/* Rounds to the upper half of the bits; the lower half is left unspecified. */
static inline uint32_t round_bf16(uint32_t bits)
{
    const uint32_t rounded = bits + 0x7fffu + (bits >> 16 & 1);

    return is_nan_f32(bits) ? 0x7fc00000u : rounded;
}

static inline uint16_t narrow_bf16(float x)
{
    return (uint16_t)(round_bf16(f32_bits(x)) >> 16);
}

/* The rounded sum of the values whose bits are the upper halves of x and y. */
static inline uint32_t sum_upper(uint32_t x, uint32_t y)
{
    return round_bf16(f32_bits(f32_from(x & 0xffff0000u) + f32_from(y & 0xffff0000u)));
}

/* Two neighbours in a word: widening and packing vectors would cost more than the sums. */
FOLD(sum_bf16_pairs, u32, sum_upper(x << 16, y << 16) >> 16 | (sum_upper(x, y) & 0xffff0000u))

static void sum_bf16(const void *pa, const void *pb, void *po, size_t n)
{
    const u16 *a = pa, *b = pb;
    u16 *out = po;

    sum_bf16_pairs(a, b, out, n / 2);
    if (n % 2 == 1)
        out[n - 1] = narrow_bf16(widen_bf16(a[n - 1]) + widen_bf16(b[n - 1]));
}

#if defined(__ARM_FP16_FORMAT_IEEE)

static inline float widen_f16(uint16_t x)
{
    __fp16 half;

    memcpy(&half, &x, sizeof half);
    return half;
}

static inline uint16_t narrow_f16(float x)
{
    const __fp16 half = (__fp16)x;
    uint16_t bits;

    memcpy(&bits, &half, sizeof bits);
    return canonical_f16(bits);
}

#else

/* Both directions compute every case and select, so that they vectorise. The adder places the bits
 * of subnormals: taking the power of two away again normalises them, and adding one whose last
 * place is theirs rounds to them. */
static inline float widen_f16(uint16_t x)
{
    const uint32_t magnitude = (uint32_t)(x & 0x7fffu) << 13;
    const uint32_t exponent = magnitude & 0x0f800000u;
    const uint32_t rebias = exponent == 0x0f800000u ? 0x70000000u : 0x38000000u;
    const float tiny = f32_from(magnitude + 0x38800000u) - f32_from(0x38800000u);
    const uint32_t bits = exponent == 0 ? f32_bits(tiny) : magnitude + rebias;

    return f32_from(bits | (uint32_t)(x & 0x8000u) << 16);
}

static inline uint16_t narrow_f16(float x)
{
    const uint32_t sign = f32_bits(x) >> 16 & 0x8000u;
    const uint32_t magnitude = f32_bits(x) & 0x7fffffffu;
    const uint32_t rounded = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1)) >> 13;
    const uint32_t normal = rounded < 0x7c00u ? rounded : 0x7c00u;
    const uint32_t tiny = f32_bits(f32_from(magnitude) + 0.5f) - 0x3f000000u;
    const uint32_t finite = (magnitude < 0x38800000u ? tiny : normal) | sign;

    return (uint16_t)(magnitude > 0x7f800000u ? 0x7e00u : finite);
}

#endif

/* Defines start, add and finish of struct dhole__wide_loops from the two conversions. */
#define WIDE(f)                                                 \
    static void start_##f(float *acc, const void *p, size_t n)  \
    {                                                           \
        const u16 *src = p;                                     \
        INDEPENDENT                                             \
        for (size_t i = 0; i < n; i++)                          \
            acc[i] = widen_##f(src[i]);                         \
    }                                                           \
    static void add_##f(float *acc, const void *p, size_t n)    \
    {                                                           \
        const u16 *src = p;                                     \
        INDEPENDENT                                             \
        for (size_t i = 0; i < n; i++)                          \
            acc[i] += widen_##f(src[i]);                        \
    }                                                           \
    static void finish_##f(const float *acc, void *p, size_t n) \
    {                                                           \
        u16 *out = p;                                           \
        INDEPENDENT                                             \
        for (size_t i = 0; i < n; i++)                          \
            out[i] = narrow_##f(acc[i]);                        \
    }

WIDE(bf16)

#if defined(__F16C__)
#include "reduce/loops_f16c.h"
#else
FOLD(sum_f16, u16, narrow_f16(widen_f16(x) + widen_f16(y)))
WIDE(f16)
#endif

#define ORDER_FOLDS(op, bool_fold)                                              \
    {                                                                           \
        [DHOLE_BOOL] = bool_fold, [DHOLE_U8] = op##_u8, [DHOLE_U16] = op##_u16, \
        [DHOLE_U32] = op##_u32, [DHOLE_U64] = op##_u64, [DHOLE_I8] = op##_i8,   \
        [DHOLE_I16] = op##_i16, [DHOLE_I32] = op##_i32, [DHOLE_I64] = op##_i64, \
        [DHOLE_F16] = op##_f16, [DHOLE_F32] = op##_f32, [DHOLE_F64] = op##_f64, \
        [DHOLE_BF16] = op##_bf16, [DHOLE_C64] = op##_c64,                       \
    }

const struct dhole__loops SET = {
    .name = SET_NAME,
    .fold = {[DHOLE__SUM] = {[DHOLE_BOOL] = or_bool,
                             [DHOLE_U8] = sum_8,
                             [DHOLE_U16] = sum_16,
                             [DHOLE_U32] = sum_32,
                             [DHOLE_U64] = sum_64,
                             [DHOLE_I8] = sum_8,
                             [DHOLE_I16] = sum_16,
                             [DHOLE_I32] = sum_32,
                             [DHOLE_I64] = sum_64,
                             [DHOLE_F16] = sum_f16,
                             [DHOLE_F32] = sum_f32,
                             [DHOLE_F64] = sum_f64,
                             [DHOLE_BF16] = sum_bf16,
                             [DHOLE_C64] = sum_c64},
             [DHOLE__MAX] = ORDER_FOLDS(max, or_bool),
             [DHOLE__MIN] = ORDER_FOLDS(min, and_bool)},
    .f16 = {start_f16, add_f16, finish_f16},
    .bf16 = {start_bf16, add_bf16, finish_bf16},
};
