#include "dhole/error.h"
#include "test.h"
#include "transport/tcp/tcp.h"

TEST(numeric_addresses_resolve)
{
    struct dhole__address address;

    ASSERT_OK(dhole__tcp_resolve("127.0.0.1:80", &address));
    ASSERT_EQ(address.family, AF_INET);
    ASSERT(dhole__tcp_is_loopback(&address));
    ASSERT_OK(dhole__tcp_resolve("[::1]:65535", &address));
    ASSERT_EQ(address.family, AF_INET6);
    ASSERT(dhole__tcp_is_loopback(&address));
    ASSERT_OK(dhole__tcp_resolve("[::ffff:127.0.0.2]:1", &address));
    ASSERT(dhole__tcp_is_loopback(&address));
    ASSERT_OK(dhole__tcp_resolve("10.1.2.3:4", &address));
    ASSERT(!dhole__tcp_is_loopback(&address));
}

TEST(malformed_addresses_are_quoted)
{
    static const char *const bad[] = {
        "",       ":80",     "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "1.2.3.4:65536",
        "::1:80", "[::1]80", "[::1:80",   "1.2.3.4:-1", "1.2.3.4:8 0",
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct dhole__address address;
        ASSERT_MSG(dhole__tcp_resolve(bad[i], &address) == DHOLE_ERR_CONFIG, "\"%s\" passed",
                   bad[i]);
        ASSERT_CONTAINS(dhole_error_message(), bad[i]);
    }
}

TEST(several_addresses_are_told_apart)
{
    static const char text[] = "10.0.0.1:1,[::1]:2,127.0.0.1:3";
    struct dhole__address address;

    ASSERT_EQ(dhole__tcp_rails("10.0.0.1:1"), 1);
    ASSERT_EQ(dhole__tcp_rails(text), 3);
    ASSERT_OK(dhole__tcp_resolve(text, &address));
    ASSERT(!dhole__tcp_is_loopback(&address));
    ASSERT_OK(dhole__tcp_resolve_rail(text, 1, &address));
    ASSERT_EQ(address.family, AF_INET6);
    ASSERT_OK(dhole__tcp_resolve_rail(text, 2, &address));
    ASSERT_EQ(address.family, AF_INET);
    ASSERT(dhole__tcp_is_loopback(&address));
    ASSERT_ERR(dhole__tcp_resolve_rail("10.0.0.1:1,", 1, &address), DHOLE_ERR_CONFIG);
}
