/* What machines say of themselves on the network; tests/cluster/discovery.py has the network. */
#include "cluster/discovery.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "test.h"

static const dhole_pin pin = {{1, 2, 3}};

static struct dhole__claim claim_of(const struct dhole__txt *txt)
{
    struct dhole__claim claim = {.shown = 0};

    for (int key = 0; key < dhole__txt_keys; key++)
        dhole__claim_item(&claim, txt->item[key], strlen(txt->item[key]));
    return claim;
}

static struct dhole__claim claim_by(const char *name)
{
    struct dhole__txt txt;

    ASSERT_OK(dhole__txt_make(name, 1, &pin, &txt));
    return claim_of(&txt);
}

static const struct sockaddr *v4(const char *host, int port)
{
    static struct sockaddr_in address;

    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    ASSERT_EQ(inet_pton(AF_INET, host, &address.sin_addr), 1);
    return (const struct sockaddr *)&address;
}

static const struct sockaddr *v6(const char *host, int port, uint32_t scope)
{
    static struct sockaddr_in6 address;

    address = (struct sockaddr_in6){
        .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_scope_id = scope};
    ASSERT_EQ(inet_pton(AF_INET6, host, &address.sin6_addr), 1);
    return (const struct sockaddr *)&address;
}

TEST(discovery_claims_what_was_announced)
{
    struct dhole__claim claim = claim_by("studio-1");

    ASSERT(dhole__claim_is_whole(&claim));
    ASSERT_STR(claim.name, "studio-1");
    ASSERT(memcmp(&claim.pin, &pin, sizeof pin) == 0);
}

TEST(discovery_refuses_to_announce_nonsense)
{
    struct dhole__txt txt;

    ASSERT_ERR(dhole__txt_make("", 1, &pin, &txt), DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole__txt_make("a b", 1, &pin, &txt), DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole__txt_make("a", 0, &pin, &txt), DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole__txt_make("a", 65536, &pin, &txt), DHOLE_ERR_INVALID);
}

/* Whatever the bytes are, they are read within their bounds, and what is whole is well-formed. */
TEST(discovery_reads_any_bytes)
{
    static const char *const starts[] = {"version=1", "fingerprint=sha256:", "name=a", "NAME=", ""};
    unsigned long long state = 7;

    for (int i = 0; i < 20000; i++) {
        struct dhole__claim claim = claim_by("a");
        const char *start = starts[test_random(&state) % 5];
        size_t length = strlen(start), size = length + test_random(&state) % 256;
        char *item = malloc(size + 1);

        memcpy(item, start, length);
        for (size_t at = length; at < size; at++)
            item[at] = (char)test_random(&state);
        if (i % 2)
            claim = (struct dhole__claim){.shown = 0};
        dhole__claim_item(&claim, item, size);
        ASSERT(strnlen(claim.name, sizeof claim.name) < sizeof claim.name);
        free(item);
    }
}

TEST(discovery_takes_each_key_once)
{
    struct dhole__claim claim = claim_by("a");

    dhole__claim_item(&claim, "name=b", 6);
    ASSERT(!dhole__claim_is_whole(&claim));
}

TEST(discovery_passes_other_keys_over)
{
    struct dhole__claim claim = claim_by("a");

    dhole__claim_item(&claim, "names=b", 7);
    dhole__claim_item(&claim, "name", 4);
    dhole__claim_item(&claim, "", 0);
    ASSERT(dhole__claim_is_whole(&claim));
}

static struct dhole__sightings sightings;

TEST(discovery_keeps_the_best_address)
{
    struct dhole__claim claim = claim_by("a");

    dhole__sightings_add(&sightings, "a", &claim, v6("fe80::1", 7, 1));
    ASSERT_EQ(sightings.count, 1);
    ASSERT_CONTAINS(sightings.seen[0].machine.address, "[fe80::1%");
    dhole__sightings_add(&sightings, "a", &claim, v6("2001:db8::1", 7, 0));
    ASSERT_STR(sightings.seen[0].machine.address, "[2001:db8::1]:7");
    dhole__sightings_add(&sightings, "a", &claim, v4("169.254.0.1", 7));
    ASSERT_STR(sightings.seen[0].machine.address, "[2001:db8::1]:7");
    dhole__sightings_add(&sightings, "a", &claim, v4("10.0.0.1", 7));
    dhole__sightings_add(&sightings, "a", &claim, v6("2001:db8::1", 7, 0));
    ASSERT_STR(sightings.seen[0].machine.address, "10.0.0.1:7");
    ASSERT_EQ(sightings.count, 1);
}

TEST(discovery_passes_over_addresses_of_nobody)
{
    static const char *const hosts[] = {"0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"};
    static const char *const hosts6[] = {"::", "::1", "ff02::1", "::ffff:10.0.0.1", "fe80::1"};
    struct dhole__claim claim = claim_by("a");

    for (int i = 0; i < 4; i++)
        dhole__sightings_add(&sightings, "a", &claim, v4(hosts[i], 7));
    for (int i = 0; i < 5; i++)
        dhole__sightings_add(&sightings, "a", &claim, v6(hosts6[i], 7, 0));
    dhole__sightings_add(&sightings, "a", &claim, v4("10.0.0.1", 0));
    ASSERT_EQ(sightings.count, 0);
}

TEST(discovery_lets_nobody_take_anothers_place)
{
    struct dhole__claim claim = claim_by("a"), other = claim;

    other.pin.bytes[0] ^= 1;
    dhole__sightings_add(&sightings, "a", &claim, v6("fe80::1", 7, 1));
    dhole__sightings_add(&sightings, "a", &other, v4("10.0.0.9", 7));
    dhole__sightings_add(&sightings, "b", &claim, v4("10.0.0.9", 7));
    ASSERT_EQ(sightings.count, 3);
    ASSERT_CONTAINS(sightings.seen[0].machine.address, "fe80::1");
}

static void count(void *arg, const dhole_found *machine)
{
    ASSERT_CONTAINS(machine->address, "10.0.0.1:7");
    ++*(int *)arg;
}

TEST(discovery_is_bounded)
{
    struct dhole__claim claim = claim_by("a");
    int found = 0;

    for (int i = 0; i < 1000; i++) {
        char service[16];
        snprintf(service, sizeof service, "%d", i);
        dhole__sightings_add(&sightings, service, &claim, v4("10.0.0.1", 7));
    }
    dhole__sightings_report(&sightings, count, &found);
    ASSERT_EQ(found, dhole__sightings_max);
    ASSERT(sightings.more);
}
