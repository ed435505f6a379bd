#include "dhole/version.h"

#define TEXT(x)    TEXT_OF(x)
#define TEXT_OF(x) #x

const char *dhole_version(void)
{
    return TEXT(DHOLE_VERSION_MAJOR) "." TEXT(DHOLE_VERSION_MINOR) "." TEXT(DHOLE_VERSION_PATCH);
}
