#include "model/utf8.h"

size_t dhole__utf8_decode(const uint8_t *p, size_t n, uint32_t *code)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = 1;
    uint32_t c;

    if (n == 0)
        return 0;
    c = p[0];
    if (c >= 0x80) {
        length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
        if (c < 0xc0 || c >= 0xf8 || n < length)
            return 0;
        c &= 0x7fu >> length;
    }
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    if (c < smallest[length] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    *code = c;
    return length;
}
