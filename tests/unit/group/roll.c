/* Stances on the wire, and who is woken by them. */
#include "group/roll.h"

#include <fcntl.h>
#include <unistd.h>

#include "test.h"

TEST(a_stance_survives_the_wire)
{
    struct dhole__stance stance = {.round = 70000,
                                   .phase = DHOLE__HAS_BUILT,
                                   .members = 0x8000000000000005,
                                   .nonce = 0xfeedf00d12345678,
                                   .port_count = 2,
                                   .port = {1, 65535}};
    struct dhole__stance out;
    uint8_t bytes[dhole__stance_size];

    dhole__stance_encode(&stance, bytes);
    ASSERT(dhole__stance_decode(bytes, &out));
    ASSERT_EQ(out.round, stance.round);
    ASSERT_EQ(out.phase, stance.phase);
    ASSERT(out.members == stance.members && out.nonce == stance.nonce);
    ASSERT_EQ(out.port_count, 2);
    ASSERT(out.port[0] == 1 && out.port[1] == 65535);
}

TEST(what_no_rank_says_is_refused)
{
    struct dhole__stance stance = {.round = 1}, out;
    uint8_t bytes[dhole__stance_size];

    dhole__stance_encode(&stance, bytes);
    ASSERT(dhole__stance_decode(bytes, &out));
    bytes[4] = DHOLE__HAS_AGREED + 1;
    ASSERT(!dhole__stance_decode(bytes, &out));
    bytes[4] = DHOLE__COMES;
    bytes[5] = dhole__rails_max + 1;
    ASSERT(!dhole__stance_decode(bytes, &out));
    bytes[5] = 0;
    bytes[0] = 0; /* round 0 */
    ASSERT(!dhole__stance_decode(bytes, &out));
}

static bool has_rung(int fd)
{
    char bytes[16];

    return read(fd, bytes, sizeof bytes) > 0;
}

TEST(the_bell_rings_for_its_causes_only)
{
    struct dhole__stance first = {.round = 1}, second = {.round = 2};
    struct dhole__roll roll;
    int bell[2];

    ASSERT(pipe(bell) == 0 && fcntl(bell[0], F_SETFL, O_NONBLOCK) == 0);
    dhole__roll_init(&roll);
    dhole__roll_hear(&roll, 1, &first);
    dhole__roll_set_bell(&roll, bell[1], 2 | 4, 1);
    ASSERT(!has_rung(bell[0]));
    dhole__roll_hear(&roll, 2, &first);
    dhole__roll_strike(&roll, 3);
    dhole__roll_hear(&roll, 4, &second);
    ASSERT(!has_rung(bell[0]));
    dhole__roll_hear(&roll, 2, &second); /* a member in a later round */
    ASSERT(has_rung(bell[0]));
    dhole__roll_set_bell(&roll, bell[1], 2, 1);
    ASSERT(!has_rung(bell[0]));
    dhole__roll_strike(&roll, 1); /* a member that is gone */
    ASSERT(has_rung(bell[0]));
    dhole__roll_set_bell(&roll, bell[1], 2, 1); /* it still is */
    ASSERT(has_rung(bell[0]));
    dhole__roll_set_bell(&roll, bell[1], 0, 0); /* at every change */
    has_rung(bell[0]);
    dhole__roll_hear(&roll, 5, &first);
    ASSERT(has_rung(bell[0]));
    dhole__roll_set_bell(&roll, -1, 0, 0);
    dhole__roll_hear(&roll, 5, &second);
    ASSERT(!has_rung(bell[0]));
    dhole__roll_destroy(&roll);
}
