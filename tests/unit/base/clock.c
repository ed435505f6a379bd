#include "base/clock.h"

#include <limits.h>

#include "test.h"

TEST(time_does_not_go_back)
{
    int64_t before = dhole__now();

    for (int i = 0; i < 1000; i++) {
        int64_t now = dhole__now();
        ASSERT(now >= before);
        before = now;
    }
}

TEST(a_deadline_counts_down)
{
    int left = dhole__deadline_ms(dhole__deadline_in(100000));

    ASSERT(left > 50000 && left <= 100000);
}

TEST(a_past_deadline_has_nothing_left)
{
    ASSERT_EQ(dhole__deadline_ms(dhole__deadline_in(0)), 0);
    ASSERT_EQ(dhole__deadline_ms(dhole__deadline_in(-5)), 0);
    ASSERT_EQ(dhole__deadline_ms(dhole__deadline_in(INT64_MIN)), 0);
    ASSERT_EQ(dhole__deadline_ms(dhole__now() - 1000000000), 0);
}

TEST(a_far_deadline_saturates)
{
    ASSERT(dhole__deadline_in(INT64_MAX) == INT64_MAX);
    ASSERT(dhole__deadline_in(INT64_MAX / 1000000) == INT64_MAX);
    ASSERT_EQ(dhole__deadline_ms(INT64_MAX), INT_MAX);
}

/* So that poll() with what is left never returns before the deadline. */
TEST(what_is_left_is_rounded_up)
{
    dhole__deadline deadline = dhole__now() + 3600ll * 1000000000;
    int64_t exact = deadline - dhole__now();
    int left = dhole__deadline_ms(deadline);

    ASSERT(left <= (exact + 999999) / 1000000);
    ASSERT((int64_t)left * 1000000 >= deadline - dhole__now());
}

TEST(the_earlier_deadline_counts)
{
    ASSERT(dhole__deadline_min(3, 7) == 3);
    ASSERT(dhole__deadline_min(INT64_MAX, 7) == 7);
}
