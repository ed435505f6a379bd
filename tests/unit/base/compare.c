#include "base/compare.h"

#include "dhole/error.h"
#include "test.h"

static dhole_err compare(const char *ours, const char *theirs)
{
    return dhole__compare(DHOLE_ERR_MISMATCH, "colour", "rank 0",
                          (struct dhole__quote){ours, strlen(ours)}, "rank 1",
                          (struct dhole__quote){theirs, strlen(theirs)});
}

TEST(the_same_is_no_error)
{
    ASSERT_OK(compare("", ""));
    ASSERT_OK(compare("red", "red"));
}

TEST(a_difference_is_quoted)
{
    ASSERT_ERR(compare("red", "redder"), DHOLE_ERR_MISMATCH);
    ASSERT_STR(dhole_error_message(), "the colour differs: rank 0 has \"red\", rank 1 \"redder\"");
    ASSERT_ERR(compare("", "x"), DHOLE_ERR_MISMATCH);
    ASSERT_CONTAINS(dhole_error_message(), "rank 0 has \"\", rank 1 \"x\"");
}

TEST(what_a_terminal_would_obey_is_not_shown)
{
    ASSERT_ERR(compare("a", "\033[2Jb\n"), DHOLE_ERR_MISMATCH);
    ASSERT_CONTAINS(dhole_error_message(), "\"?[2Jb?\"");
}

TEST(of_long_texts_the_part_that_differs_is_shown)
{
    char ours[901], theirs[901];

    memset(ours, 'a', 900);
    memset(theirs, 'a', 900);
    ours[900] = theirs[900] = '\0';
    theirs[500] = 'b';
    ASSERT_ERR(compare(ours, theirs), DHOLE_ERR_MISMATCH);
    ASSERT_CONTAINS(dhole_error_message(), "aab");
    ASSERT(strlen(dhole_error_message()) < 500);
    theirs[500] = '\0';
    ASSERT_ERR(compare(ours, theirs), DHOLE_ERR_MISMATCH);
}
