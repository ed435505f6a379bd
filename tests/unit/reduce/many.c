#include <stdint.h>

#include "reduce/reduce.h"
#include "reference.h"
#include "sets.h"
#include "test.h"

enum { most = 5000, ranks = 8 };

/* `out` is sources[alias], or apart from them when alias is -1. */
static void check(uint8_t (*data)[8 * most], enum dhole__op op, dhole_dtype dtype, int n,
                  size_t count, int alias)
{
    size_t size = dhole_dtype_size(dtype);
    const void *sources[ranks];
    uint8_t *out = data[ranks], *want = data[ranks + 1];
    unsigned long long seed = count * 8 + (unsigned)n;

    for (int i = 0; i < n; i++) {
        sources[i] = i == alias ? out : data[i];
        fill_elements(dtype, (void *)sources[i], count, &seed);
    }
    for (size_t i = 0; i < count; i++)
        reference_many(op, dtype, sources, n, i, want + i * size);
    ASSERT_OK(dhole__reduce_many(op, dtype, sources, n, out, count));
    ASSERT_MSG(memcmp(out, want, count * size) == 0, "%s of %s over %d, %zu elements, out is %d",
               dhole__op_name(op), dhole_dtype_name(dtype), n, count, alias);
}

TEST(many_sources_equal_the_reference)
{
    static const size_t counts[] = {0, 1, 5, 1023, 2049};
    uint8_t(*data)[8 * most] = malloc((ranks + 2) * sizeof *data);
    const char *sets[sets_max];
    int set_count = loop_sets(sets);

    for (int s = 0; s < set_count; s++) {
        ASSERT(dhole__loops_use(sets[s]));
        for (int op = DHOLE__SUM; op <= DHOLE__MIN; op++)
            for (int dtype = DHOLE_BOOL; dtype <= DHOLE_C64; dtype++)
                for (int n = 1; n <= ranks; n += n < 4 ? 1 : 2)
                    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
                        check(data, (enum dhole__op)op, (dhole_dtype)dtype, n, counts[c],
                              (int)c % (n + 1) - 1);
    }
    free(data);
}

TEST(out_may_be_any_source)
{
    uint8_t(*data)[8 * most] = malloc((ranks + 2) * sizeof *data);

    for (int alias = -1; alias < 5; alias++) {
        check(data, DHOLE__SUM, DHOLE_BF16, 5, most, alias);
        check(data, DHOLE__SUM, DHOLE_F64, 5, most, alias);
        check(data, DHOLE__MAX, DHOLE_C64, 5, most, alias);
    }
    free(data);
}

TEST(sixteen_bit_sums_are_rounded_once)
{
    uint16_t big = 0x4380, one = 0x3f80, out; /* 256, 1: 257 is a tie that rounds to 256 */
    const void *sources[] = {&big, &one, &one};

    ASSERT_OK(dhole__reduce_many(DHOLE__SUM, DHOLE_BF16, sources, 3, &out, 1));
    ASSERT_EQ(out, 0x4381);
    big = 0x6800, one = 0x3c00; /* 2048, 1 */
    ASSERT_OK(dhole__reduce_many(DHOLE__SUM, DHOLE_F16, sources, 3, &out, 1));
    ASSERT_EQ(out, 0x6801);
}

TEST(one_source_is_copied)
{
    uint32_t in = 0xffc12345, out = 0; /* NaN, payload kept */
    const void *source = &in;

    ASSERT_OK(dhole__reduce_many(DHOLE__SUM, DHOLE_F32, &source, 1, &out, 1));
    ASSERT_EQ(out, in);
}

/* Extremes, which no order of folding changes. */
TEST(partial_results_give_the_whole)
{
    enum { n = 6, first = 2 };
    uint8_t(*data)[8 * most] = malloc((n + 3) * sizeof *data);
    unsigned long long seed = 3;
    const void *sources[n], *partials[2] = {data[n], data[n + 1]};

    for (int dtype = DHOLE_BOOL; dtype <= DHOLE_C64; dtype++) {
        size_t size = dhole_dtype_size((dhole_dtype)dtype);
        ASSERT_EQ(dhole__reduce_partial_size(DHOLE__MIN, (dhole_dtype)dtype), size);
        for (int i = 0; i < n; i++) {
            sources[i] = data[i];
            fill_elements((dhole_dtype)dtype, data[i], most, &seed);
        }
        ASSERT_OK(
            dhole__reduce_partial(DHOLE__MIN, (dhole_dtype)dtype, sources, first, data[n], most));
        ASSERT_OK(dhole__reduce_partial(DHOLE__MIN, (dhole_dtype)dtype, sources + first, n - first,
                                        data[n + 1], most));
        ASSERT_OK(
            dhole__reduce_partials(DHOLE__MIN, (dhole_dtype)dtype, partials, 2, data[n + 2], most));
        for (size_t i = 0; i < most; i++) {
            uint8_t want[8];
            reference_many(DHOLE__MIN, (dhole_dtype)dtype, sources, n, i, want);
            ASSERT(memcmp(want, data[n + 2] + i * size, size) == 0);
        }
    }
    free(data);
}

TEST(partial_sums_of_sixteen_bits_are_rounded_once)
{
    enum { n = 3000 }; /* more than a strip */
    static uint16_t big[n], one[n], out[n];
    static float partial[2][n];
    const void *sources[] = {big, one}, *partials[] = {partial[0], partial[1]};

    for (int i = 0; i < n; i++)
        big[i] = 0x4380, one[i] = 0x3f80; /* 256, 1: 257 is no bf16 */
    ASSERT_EQ(dhole__reduce_partial_size(DHOLE__SUM, DHOLE_BF16), sizeof(float));
    ASSERT_OK(dhole__reduce_partial(DHOLE__SUM, DHOLE_BF16, sources, 2, partial[0], n));
    ASSERT_OK(dhole__reduce_partial(DHOLE__SUM, DHOLE_BF16, sources + 1, 1, partial[1], n));
    ASSERT_OK(dhole__reduce_partials(DHOLE__SUM, DHOLE_BF16, partials, 2, out, n));
    for (int i = 0; i < n; i++) {
        ASSERT(partial[0][i] == 257);
        ASSERT_EQ(out[i], 0x4381); /* 258 */
        partial[0][i] = 2048, partial[1][i] = 2;
    }
    ASSERT_OK(dhole__reduce_partials(DHOLE__SUM, DHOLE_F16, partials, 2, out, n));
    for (int i = 0; i < n; i++)
        ASSERT_EQ(out[i], 0x6801); /* 2050 */
}
