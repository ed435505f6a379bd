#include "model/tensor.h"

const char *dhole__ttype_name(enum dhole__ttype type)
{
    switch (type) {
#define NAME(code, value, name, elements, bytes) \
    case DHOLE__##code: return name;
        DHOLE__TTYPE_MAP(NAME)
#undef NAME
    }
    return NULL;
}

size_t dhole__ttype_elements(enum dhole__ttype type)
{
    switch (type) {
#define ELEMENTS(code, value, name, elements, bytes) \
    case DHOLE__##code: return elements;
        DHOLE__TTYPE_MAP(ELEMENTS)
#undef ELEMENTS
    }
    return 0;
}

size_t dhole__ttype_bytes(enum dhole__ttype type)
{
    switch (type) {
#define BYTES(code, value, name, elements, bytes) \
    case DHOLE__##code: return bytes;
        DHOLE__TTYPE_MAP(BYTES)
#undef BYTES
    }
    return 0;
}
