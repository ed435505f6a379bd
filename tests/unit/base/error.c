#include "base/error.h"

#include <errno.h>
#include <pthread.h>

#include "test.h"

TEST(every_code_has_its_own_name_and_text)
{
#define CHECK(code, value, text)                                      \
    ASSERT_STR(dhole_error_name((dhole_err)(value)), "DHOLE_" #code); \
    ASSERT_STR(dhole_error_text((dhole_err)(value)), text);           \
    for (int other = 0; other < (value); other++)                     \
        ASSERT(strcmp(dhole_error_text((dhole_err)other), text) != 0);
    DHOLE_ERR_MAP(CHECK)
#undef CHECK
}

TEST(the_values_of_codes_are_fixed)
{
    ASSERT_EQ(DHOLE_OK, 0);
    ASSERT_EQ(DHOLE_ERR_INVALID, 1);
    ASSERT_EQ(DHOLE_ERR_NOMEM, 2);
    ASSERT_EQ(DHOLE_ERR_SYSTEM, 3);
    ASSERT_EQ(DHOLE_ERR_CONFIG, 4);
    ASSERT_EQ(DHOLE_ERR_TIMEOUT, 5);
    ASSERT_EQ(DHOLE_ERR_PEER_LOST, 6);
    ASSERT_EQ(DHOLE_ERR_MISMATCH, 7);
    ASSERT_EQ(DHOLE_ERR_AUTH, 8);
    ASSERT_EQ(DHOLE_ERR_PROTOCOL, 9);
    ASSERT_EQ(DHOLE_ERR_ABORTED, 10);
    ASSERT_EQ(DHOLE_ERR_FORMAT, 11);
    ASSERT_EQ(DHOLE_ERR_UNSUPPORTED, 12);
    ASSERT_EQ(DHOLE_ERR_LIMIT, 13);
    ASSERT_EQ(DHOLE_ERR_CANCELLED, 14);
}

TEST(an_unknown_code_has_a_name_and_a_text)
{
    ASSERT_STR(dhole_error_name((dhole_err)99), "DHOLE_ERR_?");
    ASSERT_STR(dhole_error_text((dhole_err)-1), "unknown error");
}

TEST(the_message_is_empty_at_first)
{
    ASSERT_STR(dhole_error_message(), "");
}

TEST(fail_returns_the_code_and_sets_the_message)
{
    ASSERT_EQ(dhole__fail(DHOLE_ERR_LIMIT, "%d is more than %s", 7, "six"), DHOLE_ERR_LIMIT);
    ASSERT_STR(dhole_error_message(), "7 is more than six");
}

TEST(fail_errno_ends_with_the_system_error)
{
    errno = EMFILE;
    ASSERT_EQ(dhole__fail_errno(DHOLE_ERR_SYSTEM, "no socket for rank %d", 3), DHOLE_ERR_SYSTEM);
    ASSERT_CONTAINS(dhole_error_message(), "no socket for rank 3: ");
    ASSERT_CONTAINS(dhole_error_message(), strerror(EMFILE));
}

TEST(fail_in_puts_the_context_in_front)
{
    ASSERT_EQ(dhole__fail(DHOLE_ERR_FORMAT, "a bad count"), DHOLE_ERR_FORMAT);
    ASSERT_EQ(dhole__fail_in(DHOLE_ERR_FORMAT, "tensor %s", "w"), DHOLE_ERR_FORMAT);
    ASSERT_STR(dhole_error_message(), "tensor w: a bad count");
}

TEST(fail_nomem_says_how_much_for_what)
{
    ASSERT_EQ(dhole__fail_nomem(4096, "the tests"), DHOLE_ERR_NOMEM);
    ASSERT_CONTAINS(dhole_error_message(), "4096 bytes for the tests");
}

TEST(the_old_message_may_be_an_argument)
{
    dhole__fail(DHOLE_ERR_SYSTEM, "inner");
    dhole__fail(DHOLE_ERR_SYSTEM, "outer (%s)", dhole_error_message());
    ASSERT_STR(dhole_error_message(), "outer (inner)");
}

TEST(a_long_message_is_cut_not_overrun)
{
    char text[5000];

    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    errno = EIO;
    dhole__fail_errno(DHOLE_ERR_SYSTEM, "%s", text);
    dhole__fail_in(DHOLE_ERR_SYSTEM, "%s", text);
    ASSERT(strlen(dhole_error_message()) >= 500 && strlen(dhole_error_message()) < sizeof text);
    ASSERT(strspn(dhole_error_message(), "x") == strlen(dhole_error_message()));
}

static void *fail_elsewhere(void *arg)
{
    (void)arg;
    ASSERT_STR(dhole_error_message(), "");
    dhole__fail(DHOLE_ERR_SYSTEM, "the other thread's");
    return NULL;
}

TEST(messages_belong_to_threads)
{
    pthread_t thread;

    dhole__fail(DHOLE_ERR_SYSTEM, "mine");
    ASSERT_EQ(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
    pthread_join(thread, NULL);
    ASSERT_STR(dhole_error_message(), "mine");
}

TEST(a_message_has_no_byte_that_a_terminal_obeys_or_json_refuses)
{
    static const struct {
        const char *said, *shown;
    } cases[] = {
        {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x95", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x95"},
        {"\x1b[2J\r\n\x7f", "?[2J???"},
        {"\xc2\x9b\x32J\xc2\xa0", "??2J\xc2\xa0"},
        {"\xc3", "?"},
        {"\xe2\x82", "??"},
        {"\x80\xff\xfe", "???"},
        {"\xc0\xaf\xe0\x80\xaf", "?????"},
        {"\xed\xa0\x80", "???"},
        {"\xf4\x90\x80\x80\xf8\x88\x80\x80\x80", "?????????"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ASSERT_ERR(dhole__fail(DHOLE_ERR_PROTOCOL, "%s", cases[i].said), DHOLE_ERR_PROTOCOL);
        ASSERT_STR(dhole_error_message(), cases[i].shown);
    }
}
