#include "dhole/version.h"

#include "test.h"

TEST(the_library_has_the_version_of_its_headers)
{
    char text[64];

    snprintf(text, sizeof text, "%d.%d.%d", DHOLE_VERSION_MAJOR, DHOLE_VERSION_MINOR,
             DHOLE_VERSION_PATCH);
    ASSERT_STR(dhole_version(), text);
}
