/* Addresses of a session. */
#include "cluster/where.h"

#include "test.h"

static const char *localised(const char *address, const char *own)
{
    static char text[DHOLE_ADDRESS_SIZE];

    snprintf(text, sizeof text, "%s", address);
    dhole__where_localise(text, sizeof text, own);
    return text;
}

TEST(where_a_scope_is_this_machines)
{
    ASSERT_STR(localised("[fe80::1%en5]:7", "[fe80::2%eth0]:1"), "[fe80::1%eth0]:7");
    ASSERT_STR(localised("[fe80::1]:7", "[fe80::2%eth0]:1"), "[fe80::1%eth0]:7");
    ASSERT_STR(localised("[FEBF::1%en5]:7", "[fe80::2%4]:1"), "[FEBF::1%4]:7");
    ASSERT_STR(localised("[fe80::1%en5]:7", "10.0.0.1:1"), "[fe80::1]:7");
    ASSERT_STR(localised("[fe80::1%en5]:7", "[2001:db8::1]:1"), "[fe80::1]:7");
}

TEST(where_other_addresses_stay)
{
    static const char *const others[] = {"10.0.0.1:7",
                                         "[2001:db8::1]:7",
                                         "fe80.example:7",
                                         "[::]:0",
                                         "[fe",
                                         "[fe80::1%en5",
                                         "%]",
                                         "]",
                                         ""};

    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        ASSERT_STR(localised(others[i], "[fe80::2%eth0]:1"), others[i]);
}

TEST(where_what_does_not_fit_stays)
{
    char text[] = "[fe80::1]:7";

    dhole__where_localise(text, sizeof text, "[fe80::2%eth0]:1");
    ASSERT_STR(text, "[fe80::1]:7");
}
