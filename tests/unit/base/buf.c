#include "base/buf.h"

#include "base/sys.h"
#include "test.h"

static void *no_memory(size_t size)
{
    (void)size;
    return NULL;
}

TEST(a_buffer_keeps_what_was_added)
{
    struct dhole__buf buf;
    char byte;

    dhole__buf_init(&buf, 10000);
    for (int i = 0; i < 10000; i++) {
        byte = (char)i;
        ASSERT_OK(dhole__buf_add(&buf, &byte, 1));
    }
    ASSERT_EQ(buf.len, 10000);
    for (int i = 0; i < 10000; i++)
        ASSERT_EQ((char)buf.data[i], (char)i);
    dhole__buf_free(&buf);
}

TEST(a_buffer_never_exceeds_its_maximum)
{
    struct dhole__buf buf;

    dhole__buf_init(&buf, 300);
    ASSERT_OK(dhole__buf_add(&buf, NULL, 299));
    ASSERT_ERR(dhole__buf_add(&buf, "ab", 2), DHOLE_ERR_LIMIT);
    ASSERT_CONTAINS(dhole_error_message(), "300");
    ASSERT_ERR(dhole__buf_add(&buf, NULL, SIZE_MAX), DHOLE_ERR_LIMIT);
    ASSERT_EQ(buf.len, 299);
    ASSERT_OK(dhole__buf_add(&buf, "a", 1));
    ASSERT_EQ(buf.len, 300);
    ASSERT(buf.capacity <= 300);
    ASSERT_OK(dhole__buf_add(&buf, "", 0));
    dhole__buf_free(&buf);
}

TEST(a_huge_maximum_does_not_overflow_the_growth)
{
    struct dhole__buf buf;

    dhole__buf_init(&buf, SIZE_MAX);
    ASSERT_OK(dhole__buf_add(&buf, "x", 1));
    dhole__sys.malloc = no_memory;
    ASSERT_ERR(dhole__buf_add(&buf, NULL, SIZE_MAX - 1), DHOLE_ERR_NOMEM);
    ASSERT_EQ(buf.len, 1);
    dhole__buf_free(&buf);
}

TEST(a_buffer_is_unchanged_when_memory_runs_out)
{
    struct dhole__buf buf;

    dhole__buf_init(&buf, 1 << 20);
    ASSERT_OK(dhole__buf_add(&buf, "abc", 3));
    dhole__sys.malloc = no_memory;
    ASSERT_ERR(dhole__buf_add(&buf, NULL, 1 << 19), DHOLE_ERR_NOMEM);
    ASSERT_EQ(buf.len, 3);
    ASSERT(memcmp(buf.data, "abc", 3) == 0);
    dhole__buf_free(&buf);
}

TEST(dropping_takes_from_the_front)
{
    struct dhole__buf buf;

    dhole__buf_init(&buf, 16);
    ASSERT_OK(dhole__buf_add(&buf, "abcdef", 6));
    dhole__buf_drop(&buf, 2);
    ASSERT_EQ(buf.len, 4);
    ASSERT(memcmp(buf.data, "cdef", 4) == 0);
    dhole__buf_drop(&buf, 4);
    ASSERT_EQ(buf.len, 0);
    dhole__buf_free(&buf);
}

TEST(a_freed_buffer_can_be_used_again)
{
    struct dhole__buf buf;

    dhole__buf_init(&buf, 4);
    ASSERT_OK(dhole__buf_add(&buf, "abcd", 4));
    dhole__buf_free(&buf);
    dhole__buf_free(&buf);
    ASSERT_EQ(buf.len, 0);
    ASSERT_OK(dhole__buf_add(&buf, "efgh", 4));
    ASSERT_ERR(dhole__buf_add(&buf, "i", 1), DHOLE_ERR_LIMIT);
    dhole__buf_free(&buf);
}
