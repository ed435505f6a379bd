#include <math.h>
#include <pthread.h>

#include "base/sys.h"
#include "data.h"
#include "dhole/error.h"
#include "nn/kernels.h"
#include "nn/linear.h"

static size_t column_step(enum dhole__ttype type)
{
    return dhole__ttype_elements(type) == 1 ? 7 : 32;
}

static struct dhole__act *make_act(struct dhole__pool *pool, const float *x, size_t n,
                                   size_t tokens)
{
    struct dhole__act *act = NULL;

    ASSERT_OK(dhole__act_create(n > 0 ? n : 1, tokens, &act));
    dhole__act_set(act, pool, x, n, tokens);
    return act;
}

/* Element i of a quantised block, in steps of its scale. */
static int steps(const struct dhole__act_block *block, size_t i)
{
    return 256 * block->coarse[i] + (i < 16 ? block->fine[i] : 16 * block->fine[i - 16]);
}

/* What a token's activations are worth to a weight of this type. */
static void seen_values(enum dhole__ttype type, const float *x, size_t n, double *out)
{
    struct dhole__act_block block;

    for (size_t i = 0; i < n; i++) {
        if (dhole__ttype_elements(type) > 1 && i % dhole__quant_block == 0)
            dhole__kernels()->quantise(x + i, 1, &block);
        out[i] = dhole__ttype_elements(type) > 1
                     ? (double)block.scale * steps(&block, i % dhole__quant_block)
                     : x[i];
    }
}

/* y = W x for all rows; the caller frees. */
static float *apply(const struct dhole__tensor *tensor, struct dhole__pool *pool, const float *x,
                    size_t tokens)
{
    size_t n = tensor->shape[0], rows = tensor->shape[1];
    float *y = zeroes(tokens * rows, sizeof *y);
    struct dhole__act *act = make_act(pool, x, n, tokens);
    struct dhole__linear linear;

    ASSERT_OK(dhole__linear_all_to_sharded(tensor, 0, rows, &linear));
    dhole__linear_apply(&linear, pool, act, y, rows);
    dhole__act_free(act);
    return y;
}

/* The exact total of columns [col, col + cols), as one rank of a group would hold it; the caller
 * frees. x: {tokens, shape[0]}. */
static double *apply_shard(const struct dhole__tensor *tensor, struct dhole__pool *pool,
                           const float *x, size_t tokens, size_t col, size_t cols, size_t unit)
{
    size_t n = tensor->shape[0], rows = tensor->shape[1];
    double *total = zeroes(tokens * rows, sizeof *total);
    float *mine = zeroes(tokens * cols, sizeof *mine), *y = zeroes(tokens * rows, sizeof *y);
    struct dhole__linear linear;

    for (size_t t = 0; t < tokens; t++)
        memcpy(mine + t * cols, x + t * n + col, cols * sizeof *mine);
    struct dhole__act *act = make_act(pool, mine, cols, tokens);
    ASSERT_OK(dhole__linear_sharded_to_all(tensor, col, cols, unit, &linear));
    ASSERT_OK(dhole__linear_apply_sum(&linear, pool, NULL, act, total, y));
    for (size_t i = 0; i < tokens * rows; i++)
        ASSERT(y[i] == (float)total[i]);
    dhole__act_free(act);
    free(mine);
    free(y);
    return total;
}

/* y against the f64 product. `grid` is what rounding to the grid may add. */
static void check_product(const struct weight *w, const float *x, size_t tokens, const double *y,
                          double grid)
{
    size_t n = w->tensor.shape[0], rows = w->tensor.shape[1];
    double *seen = zeroes(n, sizeof *seen);

    for (size_t t = 0; t < tokens; t++) {
        seen_values(w->tensor.type, x + t * n, n, seen);
        for (size_t r = 0; r < rows; r++) {
            double expected = 0, size = 0;
            for (size_t i = 0; i < n; i++) {
                expected += w->value[r * n + i] * seen[i];
                size += fabs(w->value[r * n + i] * seen[i]);
            }
            double got = y[t * rows + r], tolerance = 2e-6 * size + grid;
            ASSERT_MSG(fabs(got - expected) <= tolerance,
                       "%s %zux%zu, token %zu of %zu, row %zu: %.9g, expected %.9g",
                       dhole__ttype_name(w->tensor.type), n, rows, t, tokens, r, got, expected);
        }
    }
    free(seen);
}

static void check_plain_and_sum(const struct weight *w, const float *x, size_t tokens,
                                struct dhole__pool *pool)
{
    size_t n = w->tensor.shape[0], rows = w->tensor.shape[1],
           unit = column_step(w->tensor.type) * 3;
    float *y = apply(&w->tensor, pool, x, tokens);
    double *plain = zeroes(tokens * rows, sizeof *plain);
    double *total = apply_shard(&w->tensor, pool, x, tokens, 0, n, unit);

    for (size_t i = 0; i < tokens * rows; i++)
        plain[i] = y[i];
    check_product(w, x, tokens, plain, 0);
    check_product(w, x, tokens, total, (double)(n / unit + 1) * 0x1p-25);
    free(y);
    free(plain);
    free(total);
}

static void products_match_f64(void)
{
    static const size_t row_counts[] = {1, 3, 15, 16, 17, 33, 50}, token_counts[] = {1, 2, 13};
    struct dhole__pool *pool = make_pool(1);

    for (size_t i = 0; i < 6; i++) {
        size_t step = column_step(all_types[i]);
        for (size_t cols = step; cols <= 20 * step; cols += step) {
            size_t rows = row_counts[cols / step % 7];
            struct weight w = random_weight(all_types[i], cols, rows, cols);
            float *x = random_floats(13 * cols, rows);
            for (size_t k = 0; k < 3; k++)
                check_plain_and_sum(&w, x, token_counts[k], pool);
            free(x);
            free_weight(&w);
        }
    }
    dhole__pool_free(pool);
}
TEST_EACH_SET(products_match_f64)

/* Fills the bytes of all blocks but for what is in front, scales and the like. */
static void fill_blocks(struct weight *w, unsigned char fill)
{
    enum dhole__ttype type = w->tensor.type;
    size_t n = w->tensor.shape[0], rows = w->tensor.shape[1], bytes = dhole__ttype_bytes(type);
    size_t filled = type == DHOLE__Q8_0 ? 32 : 16;
    float row[64];

    ASSERT(n <= 64);
    for (size_t b = 0; b < rows * n / 32; b++)
        memset((unsigned char *)w->memory + 1 + (b + 1) * bytes - filled, fill, filled);
    for (size_t r = 0; r < rows; r++) {
        dhole__tensor_row(&w->tensor, r, row);
        for (size_t i = 0; i < n; i++)
            w->value[r * n + i] = row[i];
    }
}

/* Weights and activations at the ends of their range: 8-bit and 16-bit sums must not
 * overflow. */
static void extremes_match_f64(void)
{
    static const unsigned char fill[] = {0x00, 0x7f, 0x80, 0xff, 0x0f, 0xf0};
    struct dhole__pool *pool = make_pool(1);
    enum { cols = 64, rows = 16, kinds = 3 };
    float x[kinds * cols];

    for (size_t i = 0; i < cols; i++) {
        x[i] = 1;
        x[cols + i] = i % 2 ? 1 : -1;
        x[2 * cols + i] =
            i % 32 < 16 ? -8.0f / 1904 : 1; /* coarse bytes of 127, fine ones of -127 */
    }
    for (size_t k = 0; k < kinds; k++) {
        for (size_t type = 3; type < 6; type++) {
            for (size_t f = 0; f < sizeof fill; f++) {
                struct weight w = random_weight(all_types[type], cols, rows, 1);
                fill_blocks(&w, fill[f]);
                check_plain_and_sum(&w, x + k * cols, 1, pool);
                free_weight(&w);
            }
        }
    }
    dhole__pool_free(pool);
}

static void batches_give_the_same_bits(void)
{
    enum { cols = 96, rows = 19, most = 17 };
    struct dhole__pool *pool = make_pool(1);
    float *x = random_floats(most * cols, 5);

    for (size_t i = 0; i < 6; i++) {
        struct weight w = random_weight(all_types[i], cols, rows, 7);
        float *alone = zeroes(most * rows, sizeof *alone);
        double *sum_alone = zeroes(most * rows, sizeof *sum_alone);
        for (size_t t = 0; t < most; t++) {
            float *y = apply(&w.tensor, pool, x + t * cols, 1);
            double *sum = apply_shard(&w.tensor, pool, x + t * cols, 1, 0, cols, 32);
            memcpy(alone + t * rows, y, rows * sizeof *y);
            memcpy(sum_alone + t * rows, sum, rows * sizeof *sum);
            free(y);
            free(sum);
        }
        for (size_t tokens = 1; tokens <= most; tokens++) {
            float *y = apply(&w.tensor, pool, x, tokens);
            double *sum = apply_shard(&w.tensor, pool, x, tokens, 0, cols, 32);
            ASSERT(memcmp(y, alone, tokens * rows * sizeof *y) == 0);
            ASSERT(memcmp(sum, sum_alone, tokens * rows * sizeof *sum) == 0);
            free(y);
            free(sum);
        }
        free(alone);
        free(sum_alone);
        free_weight(&w);
    }
    free(x);
    dhole__pool_free(pool);
}
TEST_EACH_SET(batches_give_the_same_bits)

static void threads_give_the_same_bits(void)
{
    enum { cols = 640, rows = 333, tokens = 5 };
    float *x = random_floats(tokens * cols, 5);

    for (size_t i = 0; i < 6; i++) {
        struct weight w = random_weight(all_types[i], cols, rows, 7);
        float *first = NULL;
        double *first_sum = NULL;
        for (int threads = 1; threads <= 3; threads++) {
            struct dhole__pool *pool = make_pool(threads);
            float *y = apply(&w.tensor, pool, x, tokens);
            double *sum = apply_shard(&w.tensor, pool, x, tokens, 0, cols, 160);
            if (first == NULL) {
                first = y;
                first_sum = sum;
            } else {
                ASSERT(memcmp(y, first, tokens * rows * sizeof *y) == 0);
                ASSERT(memcmp(sum, first_sum, tokens * rows * sizeof *sum) == 0);
                free(y);
                free(sum);
            }
            dhole__pool_free(pool);
        }
        free(first);
        free(first_sum);
        free_weight(&w);
    }
    free(x);
}
TEST_EACH_SET(threads_give_the_same_bits)

/* Sums the shards of ranks 0..ranks-1 of uneven sizes, from the first or the last on. */
static void check_column_split(const struct weight *w, struct dhole__pool *pool, const float *x,
                               size_t tokens, size_t unit, size_t ranks, const double *whole)
{
    size_t n = w->tensor.shape[0], count = tokens * w->tensor.shape[1];
    size_t units = (n + unit - 1) / unit;

    for (int backwards = 0; backwards < 2; backwards++) {
        double *sum = zeroes(count, sizeof *sum);
        for (size_t k = 0; k < ranks; k++) {
            size_t rank = backwards ? ranks - 1 - k : k;
            /* squares make the first shards small, or empty */
            size_t from = units * rank * rank / (ranks * ranks) * unit;
            size_t to = units * (rank + 1) * (rank + 1) / (ranks * ranks) * unit;
            to = to < n ? to : n;
            double *part = apply_shard(&w->tensor, pool, x, tokens, from, to - from, unit);
            for (size_t i = 0; i < count; i++)
                sum[i] += part[i];
            free(part);
        }
        for (size_t i = 0; i < count; i++)
            ASSERT_MSG(sum[i] == whole[i], "%zu ranks, %s: %.17g, whole %.17g", ranks,
                       dhole__ttype_name(w->tensor.type), sum[i], whole[i]);
        free(sum);
    }
}

static void column_splits_give_the_same_bits(void)
{
    enum { rows = 21, tokens = 3 };
    struct dhole__pool *pool = make_pool(1);

    for (size_t i = 0; i < 6; i++) {
        size_t step = column_step(all_types[i]), unit = 2 * step, n = 13 * step;
        struct weight w = random_weight(all_types[i], n, rows, 3);
        float *x = random_floats(tokens * n, 4);
        double *whole = apply_shard(&w.tensor, pool, x, tokens, 0, n, unit);
        for (size_t ranks = 2; ranks <= 8; ranks++)
            check_column_split(&w, pool, x, tokens, unit, ranks, whole);
        free(whole);
        free(x);
        free_weight(&w);
    }
    dhole__pool_free(pool);
}
TEST_EACH_SET(column_splits_give_the_same_bits)

/* Shards of one unit and many tokens, against the whole and one token. */
static void check_unit(const struct weight *w, struct dhole__pool *pool, const float *x,
                       size_t tokens, size_t unit)
{
    size_t n = w->tensor.shape[0], rows = w->tensor.shape[1], count = tokens * rows;
    double *whole = apply_shard(&w->tensor, pool, x, tokens, 0, n, unit);
    double *sum = zeroes(count, sizeof *sum);

    for (size_t col = 0; col < n; col += unit) {
        double *part = apply_shard(&w->tensor, pool, x, tokens, col, unit, unit);
        for (size_t i = 0; i < count; i++)
            sum[i] += part[i];
        free(part);
    }
    ASSERT(memcmp(sum, whole, count * sizeof *sum) == 0);
    for (size_t t = 0; t < tokens; t++) {
        double *alone = apply_shard(&w->tensor, pool, x + t * n, 1, 0, n, unit);
        ASSERT(memcmp(alone, whole + t * rows, rows * sizeof *alone) == 0);
        free(alone);
    }
    free(sum);
    free(whole);
}

/* Units of more blocks than are unpacked at a time, and such that begin or end among them. */
static void units_of_any_length_give_the_same_bits(void)
{
    enum { blocks = 60, rows = 17, tokens = 11 };
    static const size_t units[] = {1, 5, 20, 30, 60};
    struct dhole__pool *pool = make_pool(1);
    struct weight w = random_weight(DHOLE__Q4_1, blocks * 32, rows, 3);
    float *x = random_floats(tokens * blocks * 32, 4);

    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        check_unit(&w, pool, x, tokens, units[i] * 32);
    free(x);
    free_weight(&w);
    dhole__pool_free(pool);
}
TEST_EACH_SET(units_of_any_length_give_the_same_bits)

static void row_splits_give_the_same_bits(void)
{
    enum { cols = 160, rows = 57, tokens = 3 };
    struct dhole__pool *pool = make_pool(1);
    float *x = random_floats(tokens * cols, 4);

    for (size_t i = 0; i < 6; i++) {
        struct weight w = random_weight(all_types[i], cols, rows, 3);
        float *whole = apply(&w.tensor, pool, x, tokens), y[tokens * rows];
        struct dhole__act *act = make_act(pool, x, cols, tokens);
        for (size_t row = 0, count = 1; row < rows; row += count, count = count * 2 + 1) {
            struct dhole__linear linear;
            count = count < rows - row ? count : rows - row;
            ASSERT_OK(dhole__linear_all_to_sharded(&w.tensor, row, count, &linear));
            dhole__linear_apply(&linear, pool, act, y + row, rows);
        }
        ASSERT(memcmp(y, whole, sizeof y) == 0);
        dhole__act_free(act);
        free(whole);
        free_weight(&w);
    }
    free(x);
    dhole__pool_free(pool);
}
TEST_EACH_SET(row_splits_give_the_same_bits)

/* In twelve bits, so in steps of 16. A fine byte of -128, which is given up, costs its two
 * elements another step at the most. */
static void quantising_is_to_the_nearest(void)
{
    enum { blocks = 200 };
    float *x = random_floats(blocks * 32, 9);
    struct dhole__act_block block[blocks];
    size_t off = 0;

    memset(x, 0, 32 * sizeof *x);
    for (int i = 0; i < 32; i++)
        x[32 + i] *= 1e-30f;
    dhole__kernels()->quantise(x, blocks, block);
    for (int b = 0; b < blocks; b++) {
        double max = 0, total = 0;
        for (size_t i = 0; i < 32; i++) {
            double value = x[32 * (size_t)b + i], step = 16 * (double)block[b].scale;
            int seen = steps(&block[b], i);
            double error = fabs(value - (double)block[b].scale * seen);
            max = fmax(max, fabs(value));
            total += seen;
            off += error > step * 0.51;
            ASSERT(block[b].coarse[i] >= -127 && block[b].fine[i % 16] >= -127);
            ASSERT(error <= step * (block[b].fine[i % 16] == -127 ? 1.51 : 0.51));
        }
        ASSERT(fabs(block[b].scale - max / (256 * 119)) <= 1e-7 * max);
        ASSERT(fabs(block[b].sum - total) == 0);
    }
    ASSERT(off < blocks * 32 / 100);
    free(x);
}
TEST_EACH_SET(quantising_is_to_the_nearest)
TEST_EACH_SET(extremes_match_f64)

/* Partial sums of 0 columns, as for a rank that holds no unit. */
TEST(an_empty_shard_is_zero)
{
    struct dhole__pool *pool = make_pool(1);
    struct weight w = random_weight(DHOLE__Q8_0, 64, 5, 1);
    float x[64] = {1};
    double *total = apply_shard(&w.tensor, pool, x, 1, 64, 0, 32);

    for (int r = 0; r < 5; r++)
        ASSERT(total[r] == 0);
    free(total);
    free_weight(&w);
    dhole__pool_free(pool);
}

/* One rank of a group in this process, and its part of a layer. */
struct rank {
    int rank, size;
    const struct weight *weight;
    const float *x;
    float *y;
    size_t tokens, unit;
};

static void *apply_as_rank(void *arg)
{
    const struct rank *a = arg;
    const struct dhole__tensor *tensor = &a->weight->tensor;
    size_t n = tensor->shape[0], units = n / a->unit;
    size_t from = units * (size_t)a->rank / (size_t)a->size * a->unit;
    size_t to = units * (size_t)(a->rank + 1) / (size_t)a->size * a->unit;
    float *mine = zeroes(a->tokens * (to - from), sizeof *mine);
    double *scratch = zeroes(a->tokens * tensor->shape[1], sizeof *scratch);
    dhole_options options = DHOLE_OPTIONS_INIT;
    struct dhole__pool *pool = make_pool(1);
    struct dhole__linear linear;
    dhole_group *group = NULL;

    options.backend = "mem";
    options.rank = a->rank;
    options.size = a->size;
    ASSERT_OK(dhole_init(&options, &group));
    for (size_t t = 0; t < a->tokens; t++)
        memcpy(mine + t * (to - from), a->x + t * n + from, (to - from) * sizeof *mine);
    struct dhole__act *act = make_act(pool, mine, to - from, a->tokens);
    ASSERT_OK(dhole__linear_sharded_to_all(tensor, from, to - from, a->unit, &linear));
    ASSERT_OK(dhole__linear_apply_sum(&linear, pool, group, act, scratch, a->y));
    dhole_group_free(group);
    dhole__act_free(act);
    dhole__pool_free(pool);
    free(scratch);
    free(mine);
    return NULL;
}

TEST(ranks_get_the_bits_of_one)
{
    enum { most = 5, n = 7 * 64, rows = 37, tokens = 3 };
    struct weight w = random_weight(DHOLE__Q4_1, n, rows, 5);
    float *x = random_floats(tokens * n, 6), y[most][tokens * rows], alone[tokens * rows];
    struct rank one = {0, 1, &w, x, alone, tokens, 64}, ranks[most];
    pthread_t thread[most];

    apply_as_rank(&one);
    for (int size = 2; size <= most; size++) {
        for (int r = 0; r < size; r++) {
            ranks[r] = (struct rank){r, size, &w, x, y[r], tokens, 64};
            ASSERT_EQ(pthread_create(&thread[r], NULL, apply_as_rank, &ranks[r]), 0);
        }
        for (int r = 0; r < size; r++) {
            pthread_join(thread[r], NULL);
            ASSERT(memcmp(y[r], alone, sizeof alone) == 0);
        }
    }
    free(x);
    free_weight(&w);
}

TEST(rows_are_unpacked_exactly)
{
    enum { rows = 4, cols = 96 };

    for (size_t i = 0; i < 6; i++) {
        struct weight w = random_weight(all_types[i], cols, rows, 2);
        float out[cols];
        for (size_t r = 0; r < rows; r++) {
            dhole__tensor_row(&w.tensor, r, out);
            for (size_t c = 0; c < cols; c++)
                ASSERT(out[c] == (float)w.value[r * cols + c]);
        }
        free_weight(&w);
    }
}

TEST(cuts_through_units_or_blocks_are_refused)
{
    struct weight w = random_weight(DHOLE__Q4_1, 192, 8, 1);
    struct dhole__linear linear;

    ASSERT_ERR(dhole__linear_sharded_to_all(&w.tensor, 0, 192, 0, &linear), DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole__linear_sharded_to_all(&w.tensor, 0, 192, 48, &linear), DHOLE_ERR_INVALID);
    ASSERT_CONTAINS(dhole_error_message(), "48");
    ASSERT_ERR(dhole__linear_sharded_to_all(&w.tensor, 32, 64, 64, &linear), DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole__linear_sharded_to_all(&w.tensor, 0, 96, 64, &linear), DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole__linear_sharded_to_all(&w.tensor, 128, 128, 64, &linear), DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole__linear_sharded_to_all(&w.tensor, (size_t)-64, 128, 64, &linear),
               DHOLE_ERR_INVALID);
    ASSERT_OK(dhole__linear_sharded_to_all(&w.tensor, 128, 64, 128, &linear));
    ASSERT_OK(dhole__linear_sharded_to_all(&w.tensor, 192, 0, 128, &linear));
    free_weight(&w);
}

TEST(rows_beyond_the_weight_are_refused)
{
    struct weight w = random_weight(DHOLE__F16, 8, 8, 1);
    struct dhole__linear linear;

    ASSERT_ERR(dhole__linear_all_to_sharded(&w.tensor, 7, 2, &linear), DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole__linear_all_to_sharded(&w.tensor, 9, 0, &linear), DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole__linear_all_to_sharded(&w.tensor, 1, (size_t)-1, &linear), DHOLE_ERR_INVALID);
    ASSERT_OK(dhole__linear_all_to_sharded(&w.tensor, 8, 0, &linear));
    w.tensor.type = (enum dhole__ttype)7;
    ASSERT_ERR(dhole__linear_all_to_sharded(&w.tensor, 0, 1, &linear), DHOLE_ERR_UNSUPPORTED);
    w.tensor.type = DHOLE__F32;
    ASSERT_ERR(dhole__linear_all_to_sharded(&w.tensor, 0, 1, &linear), DHOLE_ERR_INVALID);
    free_weight(&w);
}

static void *no_memory(size_t align, size_t size)
{
    (void)align, (void)size;
    return NULL;
}

TEST(activations_without_memory_are_an_error)
{
    struct dhole__act *act = NULL;

    ASSERT_ERR(dhole__act_create(0, 1, &act), DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole__act_create(32, 0, &act), DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole__act_create((size_t)-1, 2, &act), DHOLE_ERR_INVALID);
    dhole__sys.aligned_alloc = no_memory;
    ASSERT_ERR(dhole__act_create(32, 1, &act), DHOLE_ERR_NOMEM);
    ASSERT(act == NULL);
    dhole__act_free(NULL);
}

TEST(an_unknown_kernel_set_is_not_fatal)
{
    setenv("DHOLE_KERNELS", "abacus", 1);
    setenv("DHOLE_LOG", "error", 1);
    ASSERT_STR(dhole__kernels_name(), "portable");
}

/* A part of a weight, as it is and copied. */
static void check_packed(enum dhole__ttype type, const struct dhole__linear *part,
                         struct dhole__pool *pool, const struct dhole__act *act, size_t tokens)
{
    size_t count = tokens * part->rows;
    float *y[2] = {zeroes(count, sizeof **y), zeroes(count, sizeof **y)};
    double *total = zeroes(count, sizeof *total);
    struct dhole__linear linear = *part;
    void *copy = malloc(dhole__linear_packed_size(part));

    for (int packed = 0; packed < 2; packed++) {
        if (packed)
            dhole__linear_pack(&linear, copy);
        if (part->unit > 0)
            ASSERT_OK(dhole__linear_apply_sum(&linear, pool, NULL, act, total, y[packed]));
        else
            dhole__linear_apply(&linear, pool, act, y[packed], part->rows);
    }
    ASSERT(linear.weight.data == copy);
    ASSERT_EQ(linear.tiled, dhole__ttype_elements(type) > 1 && part->rows % 16 == 0);
    ASSERT(memcmp(y[0], y[1], count * sizeof *y[0]) == 0);
    free(copy);
    free(total);
    free(y[0]);
    free(y[1]);
}

/* Any part of any weight gives the same bits from its copy, in tiles or not. */
static void packed_parts_give_the_same_bits(void)
{
    static const size_t row_counts[] = {21, 32, 80}, token_counts[] = {1, 3, 17};
    struct dhole__pool *pool = make_pool(2);

    for (size_t i = 0; i < 6 * 9; i++) {
        enum dhole__ttype type = all_types[i / 9];
        size_t rows = row_counts[i / 3 % 3], tokens = token_counts[i % 3];
        size_t step = column_step(type), n = 30 * step, cols = 27 * step;
        struct weight w = random_weight(type, n, rows + 5, 3);
        float *x = random_floats(tokens * n, 4);
        struct dhole__act *whole = make_act(pool, x, n, tokens);
        struct dhole__act *some = make_act(pool, x, cols, tokens);
        struct dhole__linear part;
        ASSERT_OK(dhole__linear_all_to_sharded(&w.tensor, 5, rows, &part));
        check_packed(type, &part, pool, whole, tokens);
        ASSERT_OK(dhole__linear_all_to_sharded(&w.tensor, 0, rows + 5, &part));
        check_packed(type, &part, pool, whole, tokens);
        w.tensor.shape[1] = rows;
        ASSERT_OK(dhole__linear_sharded_to_all(&w.tensor, 2 * step, cols, step, &part));
        check_packed(type, &part, pool, some, tokens);
        dhole__act_free(whole);
        dhole__act_free(some);
        free(x);
        free_weight(&w);
    }
    dhole__pool_free(pool);
}
TEST_EACH_SET(packed_parts_give_the_same_bits)
