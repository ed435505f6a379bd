/* When a peer is pinged, and when it is lost. */
#include "cluster/health.h"
#include "test.h"

enum { period = 1500, answer = 1000 };

static struct dhole__health health;
static dhole__deadline next;

static enum dhole__health_step look(int64_t heard, int64_t now)
{
    return dhole__health_look(&health, heard, now, period, &next);
}

TEST(a_peer_that_is_heard_is_not_pinged)
{
    dhole__health_begin(&health, 0);
    for (int64_t now = 0; now < 100000; now += period - 1) {
        ASSERT_EQ(look(now, now), DHOLE__HEALTH_FINE);
        ASSERT_EQ(next, now + period);
    }
    ASSERT_EQ(health.missed, 0);
}

TEST(a_silent_peer_is_lost_after_three_pings)
{
    dhole__health_begin(&health, 0);
    ASSERT_EQ(look(0, period - 1), DHOLE__HEALTH_FINE);
    for (int missed = 0; missed < dhole__missed_max; missed++) {
        int64_t now = period + missed * answer;
        ASSERT_EQ(next, now);
        ASSERT_EQ(look(0, now), DHOLE__HEALTH_PING);
        ASSERT_EQ(health.missed, missed);
        ASSERT_EQ(look(0, now + answer - 1), DHOLE__HEALTH_FINE);
    }
    ASSERT_EQ(look(0, 3 * period), DHOLE__HEALTH_LOST);
}

TEST(an_answer_makes_good_what_was_missed)
{
    dhole__health_begin(&health, 0);
    ASSERT_EQ(look(0, period), DHOLE__HEALTH_PING);
    ASSERT_EQ(look(0, period + answer), DHOLE__HEALTH_PING);
    ASSERT_EQ(health.missed, 1);
    ASSERT_EQ(look(period + answer + 1, period + answer + 2), DHOLE__HEALTH_FINE);
    ASSERT_EQ(health.missed, 0);
    ASSERT_EQ(next, period + answer + 1 + period);
}

TEST(a_doubtful_peer_is_asked_at_once)
{
    dhole__health_begin(&health, 0);
    health.doubtful = true;
    ASSERT_EQ(look(10, 10), DHOLE__HEALTH_PING);
    ASSERT_EQ(look(10, 11), DHOLE__HEALTH_FINE);
    ASSERT_EQ(next, 10 + answer);
}
