/* That buffers wipe what they let go. The library's wiping call is taken over by this program's
 * function of the same name, since freed memory cannot be looked at. */
#include <stdint.h>

#include "base/buf.h"
#include "base/os.h"
#include "test.h"

static struct {
    void *p;
    size_t n;
} wiped[8];
static int wipes;

void explicit_bzero(void *p, size_t n);
void explicit_bzero(void *p, size_t n)
{
    volatile uint8_t *bytes = p;

    for (size_t i = 0; i < n; i++)
        bytes[i] = 0;
    if (wipes < 8) {
        wiped[wipes].p = p;
        wiped[wipes].n = n;
    }
    wipes++;
}

static void need_takeover(void)
{
    char probe[4] = "abc";

    dhole__wipe(probe, sizeof probe);
    if (wipes == 0)
        test_skip("this system's library wipes by another call than explicit_bzero");
    wipes = 0;
}

TEST(wiping_leaves_zeroes)
{
    char secret[32], zero[32] = {0};

    memset(secret, 's', sizeof secret);
    dhole__wipe(secret, sizeof secret);
    ASSERT(memcmp(secret, zero, sizeof secret) == 0);
}

TEST(a_freed_buffer_was_wiped_whole)
{
    struct dhole__buf buf;
    void *data;
    size_t capacity;

    need_takeover();
    dhole__buf_init(&buf, 1000);
    ASSERT_OK(dhole__buf_add(&buf, "secret", 6));
    dhole__buf_drop(&buf, 6); /* moved out of sight, still there */
    data = buf.data;
    capacity = buf.capacity;
    dhole__buf_free(&buf);
    ASSERT_EQ(wipes, 1);
    ASSERT(wiped[0].p == data);
    ASSERT_EQ(wiped[0].n, capacity);
}

TEST(a_growing_buffer_wipes_the_block_it_leaves)
{
    struct dhole__buf buf;
    void *data;

    need_takeover();
    dhole__buf_init(&buf, 100000);
    ASSERT_OK(dhole__buf_add(&buf, "secret", 6));
    data = buf.data;
    ASSERT_OK(dhole__buf_add(&buf, NULL, 5000));
    ASSERT_EQ(wipes, 1);
    ASSERT(wiped[0].p == data);
    ASSERT(wiped[0].n >= 6);
    ASSERT(memcmp(buf.data, "secret", 6) == 0);
    dhole__buf_free(&buf);
}
