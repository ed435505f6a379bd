/* Join tokens: one text for each, and nothing else is one. */
#include "cluster/token.h"

#include "test.h"

static struct dhole__token example(int addresses)
{
    struct dhole__token token = {.expiry = 2000000000, .count = addresses};

    for (int i = 0; i < DHOLE_PIN_SIZE; i++)
        token.pin.bytes[i] = (uint8_t)i;
    for (int i = 0; i < dhole__token_secret_size; i++)
        token.secret[i] = (uint8_t)(0xf0 + i);
    for (int i = 0; i < addresses; i++)
        snprintf(token.address[i], DHOLE_ADDRESS_SIZE, "10.0.0.%d:7777", i + 1);
    return token;
}

static void expect_refused(const char *text, const char *why)
{
    struct dhole__token token = example(1), before = token;

    ASSERT_ERR(dhole__token_decode(text, &token), DHOLE_ERR_FORMAT);
    ASSERT_CONTAINS(dhole_error_message(), why);
    ASSERT(memcmp(&token, &before, sizeof token) == 0);
}

TEST(a_token_survives_its_text)
{
    for (int n = 1; n <= dhole__token_addresses_max; n++) {
        struct dhole__token token = example(n), again;
        char text[DHOLE_TOKEN_SIZE], padded[DHOLE_TOKEN_SIZE + 8];
        ASSERT_OK(dhole__token_encode(&token, text));
        ASSERT(strncmp(text, "dhole1-", 7) == 0);
        snprintf(padded, sizeof padded, " \t%s\r\n", text);
        ASSERT_OK(dhole__token_decode(padded, &again));
        ASSERT(memcmp(&token, &again, sizeof token) == 0);
    }
}

/* The example of docs/protocol-vectors.md. */
TEST(the_text_is_what_the_protocol_says)
{
    static const char want[] =
        "dhole1-IiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIAAQIDBAUGBwgJCgsMDQ4PANJJawAAAAAC"
        "DjE5Mi4wLjIuMTo3Nzc3ElsyMDAxOmRiODo6MV06Nzc3N4g_zDo";
    struct dhole__token token = {
        .expiry = 1800000000, .count = 2, .address = {"192.0.2.1:7777", "[2001:db8::1]:7777"}};
    char text[DHOLE_TOKEN_SIZE];

    memset(token.pin.bytes, 0x22, sizeof token.pin.bytes);
    for (int i = 0; i < dhole__token_secret_size; i++)
        token.secret[i] = (uint8_t)i;
    ASSERT_OK(dhole__token_encode(&token, text));
    ASSERT_STR(text, want);
}

TEST(addresses_that_do_not_fit_are_left_out)
{
    struct dhole__token token = example(4), again;
    char text[DHOLE_TOKEN_SIZE];

    for (int i = 0; i < 4; i++) {
        memset(token.address[i], 'a' + i, 250);
        strcpy(token.address[i] + 250, ":1");
    }
    ASSERT_OK(dhole__token_encode(&token, text));
    ASSERT_OK(dhole__token_decode(text, &again));
    ASSERT_EQ(again.count, 2);
    ASSERT_STR(again.address[1], token.address[1]);
    token.count = 0;
    ASSERT_ERR(dhole__token_encode(&token, text), DHOLE_ERR_LIMIT);
}

TEST(each_cut_and_each_other_digit_is_refused)
{
    struct dhole__token token = example(2);
    char text[DHOLE_TOKEN_SIZE], bad[DHOLE_TOKEN_SIZE + 2];
    size_t length;

    ASSERT_OK(dhole__token_encode(&token, text));
    length = strlen(text);
    for (size_t i = 0; i < length; i++) {
        strcpy(bad, text);
        bad[i] = bad[i] == 'A' ? 'B' : 'A';
        expect_refused(bad, "token");
        strcpy(bad, text);
        bad[i] = '\xff';
        expect_refused(bad, "token");
        bad[i] = '\0';
        expect_refused(bad, "token");
    }
    snprintf(bad, sizeof bad, "%sA", text);
    expect_refused(bad, "damaged");
}

TEST(what_is_no_token_is_refused)
{
    char *long_text = malloc(100000);

    ASSERT(long_text != NULL);
    memset(long_text, 'A', 99999);
    memcpy(long_text, "dhole1-", 7);
    long_text[99999] = '\0';
    expect_refused("", "dhole1-");
    expect_refused("dhole2-AAAA", "dhole1-");
    expect_refused("dhole1-", "damaged");
    expect_refused("dhole1-AAAA and more", "damaged");
    expect_refused(long_text, "damaged");
    free(long_text);
}

/* Errors are printed and logged: nothing of what was read is in them. */
TEST(a_refusal_quotes_nothing)
{
    struct dhole__token token = example(1);
    char text[DHOLE_TOKEN_SIZE], part[9] = "";

    ASSERT_OK(dhole__token_encode(&token, text));
    text[strlen(text) - 1] ^= 1;
    expect_refused(text, "damaged");
    for (size_t i = 7; i + 8 < strlen(text); i++) {
        memcpy(part, text + i, 8);
        ASSERT(strstr(dhole_error_message(), part) == NULL);
    }
}
