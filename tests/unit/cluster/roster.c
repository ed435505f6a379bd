/* The roster as bytes, ours and anybody's. */
#include "cluster/roster.h"
#include "test.h"

static const char *const keys[] = {
    "sha256:000000000000000000000000000000000000000000000000000000000000000a",
    "sha256:000000000000000000000000000000000000000000000000000000000000000b",
    "sha256:000000000000000000000000000000000000000000000000000000000000000c",
};

static void put(dhole_trusted *who, const char *name, const char *address, const char *key)
{
    memset(who, 0, sizeof *who);
    strcpy(who->name, name);
    strcpy(who->address, address);
    ASSERT_OK(dhole_fingerprint_parse(key, &who->pin));
}

static struct dhole__roster make(void)
{
    struct dhole__roster roster = {
        .session = "00112233445566778899aabbccddeeff", .epoch = 7, .rank = 1, .size = 2};

    put(&roster.who[0], "alpha", "10.0.0.1:7420", keys[0]);
    put(&roster.who[1], "beta", "[fe80::1]:7420", keys[1]);
    return roster;
}

TEST(what_is_encoded_is_decoded)
{
    struct dhole__roster roster = make(), back;
    json_t *json = dhole__roster_encode(&roster, 1);
    char *text = json_dumps(json, JSON_COMPACT);

    ASSERT_OK(dhole__roster_decode(text, strlen(text), &back));
    ASSERT(memcmp(&roster, &back, sizeof roster) == 0);
    free(text);
    json_decref(json);
}

#define HEAD "\"session\":\"00112233445566778899aabbccddeeff\",\"epoch\":1,\"rank\":0,"
#define RANK(name, address, key) \
    "{\"name\":\"" name "\",\"address\":\"" address "\",\"key\":\"" key "\"}"
#define KEY_A "sha256:000000000000000000000000000000000000000000000000000000000000000a"
#define KEY_B "sha256:000000000000000000000000000000000000000000000000000000000000000b"

TEST(rubbish_is_refused_with_a_reason)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"", "malformed"},
        {"[]", "session"},
        {"{\"session\":\"short\",\"epoch\":1,\"rank\":0,\"ranks\":[]}", "32 hexadecimal digits"},
        {"{" HEAD "\"ranks\":[]}", "0 ranks"},
        {"{" HEAD "\"ranks\":7}", "0 ranks"},
        {"{" HEAD "\"ranks\":[7]}", "\"name\""},
        {"{" HEAD "\"ranks\":[" RANK("../a", "h:1", KEY_A) "]}", "../a"},
        {"{" HEAD "\"ranks\":[" RANK("a", "nowhere", KEY_A) "]}", "nowhere"},
        {"{" HEAD "\"ranks\":[" RANK("a", "", KEY_A) "]}", "no address"},
        {"{" HEAD "\"ranks\":[" RANK("a", "h:1", "sha256:0") "]}", "malformed"},
        {"{" HEAD "\"ranks\":[" RANK("a", "h:1", KEY_A) "," RANK("a", "h:2", KEY_B) "]}",
         "same name or key"},
        {"{" HEAD "\"ranks\":[" RANK("a", "h:1", KEY_A) "," RANK("b", "h:2", KEY_A) "]}",
         "same name or key"},
        {"{\"session\":\"00112233445566778899aabbccddeeff\",\"epoch\":0,\"rank\":0,\"ranks\":"
         "[" RANK("a", "h:1", KEY_A) "]}",
         "epoch"},
        {"{\"session\":\"00112233445566778899aabbccddeeff\",\"epoch\":1,\"rank\":1,\"ranks\":"
         "[" RANK("a", "h:1", KEY_A) "]}",
         "rank"},
    };
    struct dhole__roster roster;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ASSERT_ERR(dhole__roster_decode(cases[i].text, strlen(cases[i].text), &roster),
                   DHOLE_ERR_PROTOCOL);
        ASSERT_CONTAINS(dhole_error_message(), cases[i].why);
    }
}

TEST(a_roster_of_too_many_ranks_is_refused)
{
    static char text[64 << 10] = "{" HEAD "\"ranks\":[";
    struct dhole__roster roster;

    for (int i = 0; i <= dhole__rank_max; i++) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used,
                 "%s{\"name\":\"m%d\",\"address\":\"h:1\",\"key\":\"sha256:%064x\"}",
                 i > 0 ? "," : "", i, (unsigned)i);
    }
    strcat(text, "]}");
    ASSERT_ERR(dhole__roster_decode(text, strlen(text), &roster), DHOLE_ERR_PROTOCOL);
    ASSERT_CONTAINS(dhole_error_message(), "65 ranks");
}

TEST(addresses_are_ordered_as_numbers)
{
    static const char *const order[] = {"9.0.0.1:80", "10.0.0.2:9", "10.0.0.2:80", "[::1]:5"};
    dhole_trusted who[4];

    put(&who[0], "a", order[2], keys[0]);
    put(&who[1], "b", order[3], keys[0]);
    put(&who[2], "c", order[0], keys[0]);
    put(&who[3], "d", order[1], keys[0]);
    ASSERT_OK(dhole__roster_order(who, 4));
    for (int i = 0; i < 4; i++)
        ASSERT_STR(who[i].address, order[i]);
}
