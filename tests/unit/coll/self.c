#include "coll/self.h"

#include <stdlib.h>

#include "base/sys.h"
#include "test.h"

TEST(messages_come_in_order_with_their_own_types)
{
    struct dhole__self self = {0};
    int32_t integers[3] = {1, 2, 3}, got[3] = {0};
    uint8_t byte = 9, got_byte = 0;

    ASSERT_OK(dhole__self_put(&self, integers, 3, DHOLE_I32));
    ASSERT_OK(dhole__self_put(&self, &byte, 1, DHOLE_U8));
    ASSERT_OK(dhole__self_take(&self, got, 3, DHOLE_I32));
    ASSERT(memcmp(got, integers, sizeof got) == 0);
    ASSERT_OK(dhole__self_put(&self, integers, 1, DHOLE_I32));
    ASSERT_OK(dhole__self_take(&self, &got_byte, 1, DHOLE_U8));
    ASSERT_EQ(got_byte, 9);
    ASSERT_OK(dhole__self_take(&self, got, 1, DHOLE_I32));
    ASSERT_ERR(dhole__self_take(&self, got, 1, DHOLE_I32), DHOLE_ERR_MISMATCH);
    dhole__self_free(&self);
}

TEST(a_message_that_does_not_fit_stays)
{
    struct dhole__self self = {0};
    int32_t sent = 5, got = 0;

    ASSERT_OK(dhole__self_put(&self, &sent, 1, DHOLE_I32));
    ASSERT_ERR(dhole__self_take(&self, &got, 2, DHOLE_I32), DHOLE_ERR_MISMATCH);
    ASSERT_CONTAINS(dhole_error_message(), "2 int32");
    ASSERT_CONTAINS(dhole_error_message(), "1 int32");
    ASSERT_ERR(dhole__self_take(&self, &got, 1, DHOLE_U32), DHOLE_ERR_MISMATCH);
    ASSERT_EQ(got, 0);
    ASSERT_OK(dhole__self_take(&self, &got, 1, DHOLE_I32));
    ASSERT_EQ(got, 5);
}

static void *no_memory(size_t size)
{
    (void)size;
    return NULL;
}

TEST(no_room_for_a_copy_is_an_error)
{
    struct dhole__self self = {0};
    uint8_t bytes[3] = {1, 2, 3};

    ASSERT_ERR(dhole__self_put(&self, bytes, SIZE_MAX, DHOLE_U8), DHOLE_ERR_NOMEM);
    dhole__sys.malloc = no_memory;
    ASSERT_ERR(dhole__self_put(&self, bytes, 3, DHOLE_U8), DHOLE_ERR_NOMEM);
    dhole__sys.malloc = malloc;
    ASSERT_ERR(dhole__self_take(&self, bytes, 3, DHOLE_U8), DHOLE_ERR_MISMATCH);
}
