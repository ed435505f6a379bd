#include "base/hex.h"

#include <string.h>

#include "test.h"

TEST(bytes_survive_being_written_as_digits)
{
    uint8_t bytes[256], back[256];
    char text[2 * 256 + 1];

    for (int i = 0; i < 256; i++)
        bytes[i] = (uint8_t)i;
    dhole__hex_write(bytes, 256, text);
    ASSERT(strncmp(text, "000102", 6) == 0 && strcmp(text + 506, "fdfeff") == 0);
    ASSERT(dhole__hex_read(text, 256, back));
    ASSERT(memcmp(bytes, back, 256) == 0);
    ASSERT(dhole__hex_read("", 0, back));
    ASSERT(dhole__hex_read("aBcD", 2, back) && back[0] == 0xab && back[1] == 0xcd);
}

TEST(what_is_no_number_of_that_length_is_refused)
{
    uint8_t bytes[2];

    for (const char **text =
             (const char *[]){"", "abc", "abcde", "abcg", "ab d", "0x12", "-123", NULL};
         *text != NULL; text++)
        ASSERT_MSG(!dhole__hex_read(*text, 2, bytes), "\"%s\"", *text);
}
