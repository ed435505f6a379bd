#include "dhole/dtype.h"

size_t dhole_dtype_size(dhole_dtype dtype)
{
    switch (dtype) {
#define SIZE(code, value, name, size) \
    case DHOLE_##code: return (size);
        DHOLE_DTYPE_MAP(SIZE)
#undef SIZE
    }
    return 0;
}

const char *dhole_dtype_name(dhole_dtype dtype)
{
    switch (dtype) {
#define NAME(code, value, name, size) \
    case DHOLE_##code: return name;
        DHOLE_DTYPE_MAP(NAME)
#undef NAME
    }
    return "?";
}
