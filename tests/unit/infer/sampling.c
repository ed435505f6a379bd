/* How tokens are chosen. */
#include "infer/sampling.h"

#include <math.h>

#include "test.h"

enum { vocab = 8, draws = 20000 };

static const float logits[vocab] = {0.5f, 2.0f, -1.0f, 2.0f, 0.0f, 1.0f, -3.0f, 1.5f};

static struct dhole__sampler *make(float temperature, int top_k, float top_p, uint64_t seed,
                                   size_t size)
{
    dhole_sampling options = {
        .temperature = temperature, .top_k = top_k, .top_p = top_p, .seed = seed};
    struct dhole__sampler *sampler;

    ASSERT_OK(dhole__sampler_create(&options, size, &sampler));
    return sampler;
}

/* share[t]: how often token t came. */
static void draw(float temperature, int top_k, float top_p, double share[static vocab])
{
    struct dhole__sampler *s = make(temperature, top_k, top_p, 5, vocab);

    for (int t = 0; t < vocab; t++)
        share[t] = 0;
    for (int i = 0; i < draws; i++)
        share[dhole__sample(s, logits)] += 1.0 / draws;
    dhole__sampler_free(s);
}

/* The shares must be those of softmax(logits / temperature) over the tokens of `kept`, within five
 * standard deviations. */
static void check_shares(const double *share, double temperature, const char *kept)
{
    double total = 0;

    for (int t = 0; t < vocab; t++)
        if (kept[t] == '1')
            total += exp((double)logits[t] / temperature);
    for (int t = 0; t < vocab; t++) {
        double p = kept[t] == '1' ? exp((double)logits[t] / temperature) / total : 0;
        ASSERT_MSG(fabs(share[t] - p) <= 5 * sqrt(p * (1 - p) / draws) + 1e-9,
                   "token %d came with %.4f, expected %.4f", t, share[t], p);
    }
}

static int32_t greedy(const float *row, size_t n)
{
    struct dhole__sampler *s = make(0, 0, 1, 0, n);
    int32_t token = dhole__sample(s, row);

    dhole__sampler_free(s);
    return token;
}

TEST(greedy_takes_the_largest_and_the_lowest_of_equals)
{
    ASSERT_EQ(greedy(logits, vocab), 1);
    ASSERT_EQ(greedy((float[]){-INFINITY, -5, -4}, 3), 2);
    ASSERT_EQ(greedy((float[]){NAN, 1, NAN, 2}, 4), 3);
    ASSERT_EQ(greedy((float[]){-INFINITY, -INFINITY}, 2), 0);
}

TEST(draws_follow_the_softmax)
{
    double share[vocab];

    draw(1, 0, 1, share);
    check_shares(share, 1, "11111111");
    draw(0.4f, 0, 1, share);
    check_shares(share, (double)0.4f, "11111111");
    draw(3, 0, 1, share);
    check_shares(share, 3, "11111111");
}

TEST(top_k_keeps_the_k_largest)
{
    double share[vocab];

    draw(1, 3, 1, share);
    check_shares(share, 1, "01010001");
    draw(1, 1, 1, share); /* of the two largest, the lower */
    check_shares(share, 1, "01000000");
    draw(1, 100, 1, share);
    check_shares(share, 1, "11111111");
}

/* The probabilities in order: .293 .293 .178 .108 .065 .040 .015 .002. */
TEST(top_p_keeps_the_fewest_that_hold_p)
{
    double share[vocab];

    draw(1, 0, 0.5f, share);
    check_shares(share, 1, "01010000");
    draw(1, 0, 0.6f, share);
    check_shares(share, 1, "01010001");
    draw(1, 0, 0.001f, share);
    check_shares(share, 1, "01000000");
    draw(1, 0, 0.999f, share);
    check_shares(share, 1, "11111111");
}

/* Of the three that top-k leaves, the first two hold 0.77. */
TEST(top_p_counts_what_top_k_left)
{
    double share[vocab];

    draw(1, 3, 0.7f, share);
    check_shares(share, 1, "01010000");
    draw(1, 3, 0.8f, share);
    check_shares(share, 1, "01010001");
}

static void sequence(uint64_t seed, int32_t out[static 16])
{
    struct dhole__sampler *s = make(1, 0, 1, seed, vocab);

    for (int i = 0; i < 16; i++)
        out[i] = dhole__sample(s, logits);
    dhole__sampler_free(s);
}

TEST(a_seed_gives_one_sequence)
{
    int32_t a[16], b[16], other[16];

    sequence(42, a);
    sequence(42, b);
    sequence(43, other);
    ASSERT(memcmp(a, b, sizeof a) == 0);
    ASSERT(memcmp(a, other, sizeof a) != 0);
}

/* Computed apart from this program (Python, its own exp), so it holds on every machine. */
TEST(a_seed_gives_this_sequence)
{
    static const int32_t expected[16] = {1, 7, 5, 3, 7, 1, 5, 1, 3, 3, 5, 3, 3, 3, 1, 5};
    int32_t got[16];

    sequence(42, got);
    for (int i = 0; i < 16; i++)
        ASSERT_EQ(got[i], expected[i]);
}

TEST(numbers_that_are_none_are_never_drawn)
{
    static const float row[] = {NAN, 1, -INFINITY, 1};
    struct dhole__sampler *s = make(1, 0, 1, 1, 4);

    for (int i = 0; i < 1000; i++)
        ASSERT(dhole__sample(s, row) % 2 == 1);
    dhole__sampler_free(s);
}

static void refuse(float temperature, int top_k, float top_p, const char *words)
{
    dhole_sampling options = {.temperature = temperature, .top_k = top_k, .top_p = top_p};
    struct dhole__sampler *s = NULL;

    ASSERT_ERR(dhole__sampler_create(&options, vocab, &s), DHOLE_ERR_INVALID);
    ASSERT_CONTAINS(dhole_error_message(), words);
    ASSERT(s == NULL);
}

TEST(refuses_what_is_out_of_range)
{
    refuse(-1, 0, 1, "temperature -1");
    refuse(NAN, 0, 1, "temperature");
    refuse(INFINITY, 0, 1, "temperature");
    refuse(1, -1, 1, "top-k -1");
    refuse(1, 0, 0, "top-p 0");
    refuse(1, 0, 1.5f, "top-p 1.5");
    refuse(1, 0, NAN, "top-p");
}
