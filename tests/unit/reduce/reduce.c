#include "reduce/reduce.h"

#include <stdint.h>

#include "reference.h"
#include "sets.h"
#include "test.h"

enum { most = 1000, guard = 64, slack = 8 };

enum alias { apart, out_is_a, out_is_b };

struct buffers {
    uint8_t a[8 * most + slack], b[8 * most + slack], out[8 * most + slack + guard];
    uint8_t want[8 * most];
};

static const char *set_name;

/* One call against the reference, with buffers `shift` bytes off alignment, and nothing written
 * beyond the result. */
static void check(struct buffers *buf, enum dhole__op op, dhole_dtype dtype, size_t count,
                  size_t shift, enum alias alias)
{
    size_t size = dhole_dtype_size(dtype);
    uint8_t *a = buf->a + shift, *b = buf->b + shift, *out = buf->out + shift;

    fill_elements(dtype, a, count, &(unsigned long long){count * 31 + shift});
    fill_elements(dtype, b, count, &(unsigned long long){count * 37 + shift + 1});
    for (size_t i = 0; i < count; i++)
        reference_reduce(op, dtype, a + i * size, b + i * size, buf->want + i * size);
    memset(out, 0xa5, count * size + guard);
    if (alias != apart)
        memcpy(out, alias == out_is_a ? a : b, count * size);
    ASSERT_OK(dhole__reduce(op, dtype, alias == out_is_a ? out : a, alias == out_is_b ? out : b,
                            out, count));
    for (size_t i = 0; i < count; i++)
        ASSERT_MSG(memcmp(out + i * size, buf->want + i * size, size) == 0,
                   "%s %s of %s: element %zu of %zu is wrong", set_name, dhole__op_name(op),
                   dhole_dtype_name(dtype), i, count);
    for (size_t i = 0; i < guard; i++)
        ASSERT_EQ(out[count * size + i], 0xa5);
}

static void check_counts(struct buffers *buf, enum dhole__op op, dhole_dtype dtype)
{
    static const size_t counts[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 129, most};

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        for (enum alias alias = apart; alias <= out_is_b; alias++)
            for (size_t shift = 0; shift < 4; shift++)
                check(buf, op, dtype, counts[i], shift, alias);
}

TEST(every_operation_on_every_type_equals_the_reference)
{
    struct buffers *buf = malloc(sizeof *buf);
    const char *sets[sets_max];
    int n = loop_sets(sets);

    for (int s = 0; s < n; s++) {
        ASSERT(dhole__loops_use(sets[s]));
        set_name = sets[s];
        for (int op = DHOLE__SUM; op <= DHOLE__MIN; op++)
            for (int dtype = DHOLE_BOOL; dtype <= DHOLE_C64; dtype++)
                check_counts(buf, (enum dhole__op)op, (dhole_dtype)dtype);
    }
    free(buf);
}

TEST(max_and_min_do_not_depend_on_the_order_of_operands)
{
    static uint8_t a[8 * most], b[8 * most], ab[8 * most], ba[8 * most];
    unsigned long long seed = 5;

    for (int dtype = DHOLE_BOOL; dtype <= DHOLE_C64; dtype++) {
        fill_elements((dhole_dtype)dtype, a, most, &seed);
        fill_elements((dhole_dtype)dtype, b, most, &seed);
        for (int op = DHOLE__MAX; op <= DHOLE__MIN; op++) {
            ASSERT_OK(dhole__reduce((enum dhole__op)op, (dhole_dtype)dtype, a, b, ab, most));
            ASSERT_OK(dhole__reduce((enum dhole__op)op, (dhole_dtype)dtype, b, a, ba, most));
            ASSERT(memcmp(ab, ba, most * dhole_dtype_size((dhole_dtype)dtype)) == 0);
        }
    }
}

static uint32_t f32_op(enum dhole__op op, uint32_t a, uint32_t b)
{
    uint32_t out;

    ASSERT_OK(dhole__reduce(op, DHOLE_F32, &a, &b, &out, 1));
    return out;
}

TEST(nan_and_zero_rules)
{
    enum { one = 0x3f800000, nan = 0x7fc00000 };
    const uint32_t infinity = 0x7f800000, minus = 0x80000000, other_nan = 0xff812345;

    ASSERT_EQ(f32_op(DHOLE__MAX, other_nan, one), nan);
    ASSERT_EQ(f32_op(DHOLE__MIN, one, other_nan), nan);
    ASSERT_EQ(f32_op(DHOLE__SUM, one, other_nan), nan);
    ASSERT_EQ(f32_op(DHOLE__SUM, infinity, infinity | minus), nan);
    ASSERT_EQ(f32_op(DHOLE__MAX, minus, 0), 0);
    ASSERT_EQ(f32_op(DHOLE__MAX, 0, minus), 0);
    ASSERT_EQ(f32_op(DHOLE__MIN, 0, minus), minus);
    ASSERT_EQ(f32_op(DHOLE__SUM, minus, minus), minus);
}

TEST(integer_sums_wrap)
{
    int32_t a = INT32_MAX, b = 1, out;

    ASSERT_OK(dhole__reduce(DHOLE__SUM, DHOLE_I32, &a, &b, &out, 1));
    ASSERT_EQ(out, INT32_MIN);
}

TEST(what_is_no_operation_or_type_is_refused)
{
    char byte = 0;
    const void *source = &byte;

    for (int op = DHOLE__SUM; op <= DHOLE__MIN; op++)
        for (int dtype = DHOLE_BOOL; dtype <= DHOLE_C64; dtype++)
            ASSERT(dhole__reduce_supported((enum dhole__op)op, (dhole_dtype)dtype));
    ASSERT(!dhole__reduce_supported((enum dhole__op)3, DHOLE_F32));
    ASSERT(!dhole__reduce_supported(DHOLE__SUM, (dhole_dtype)14));
    ASSERT_ERR(dhole__reduce(DHOLE__MAX, (dhole_dtype)14, &byte, &byte, &byte, 1),
               DHOLE_ERR_UNSUPPORTED);
    ASSERT_CONTAINS(dhole_error_message(), "14");
    ASSERT_ERR(dhole__reduce_many((enum dhole__op)7, DHOLE_I8, &source, 1, &byte, 1),
               DHOLE_ERR_UNSUPPORTED);
    ASSERT_CONTAINS(dhole_error_message(), "operation 7");
}

TEST(a_set_of_loops_that_is_not_there_is_refused)
{
    const struct dhole__loops *before = dhole__loops();

    ASSERT(!dhole__loops_use("no such set"));
    ASSERT(dhole__loops() == before);
    ASSERT(dhole__loops_use("baseline"));
    ASSERT_STR(dhole__loops()->name, "baseline");
    ASSERT(dhole__loops_use(NULL));
    ASSERT(dhole__loops() == before);
}
