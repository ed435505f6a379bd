#include "nn/tiles.h"

#include <string.h>

/* Takes a field of each row's block to the end of the tile so far; returns the new end. */
static uint8_t *gather(const uint8_t *field, size_t row_bytes, size_t bytes, uint8_t *to)
{
    for (size_t row = 0; row < dhole__tile_rows; row++, to += bytes)
        memcpy(to, field + row * row_bytes, bytes);
    return to;
}

bool dhole__tiles_fit(enum dhole__ttype type, size_t rows)
{
    return dhole__ttype_elements(type) > 1 && rows % dhole__tile_rows == 0;
}

void dhole__tile_copy(enum dhole__ttype type, const uint8_t *from, size_t row_bytes, size_t cols,
                      uint8_t *to)
{
    enum { half = 2, quad = 4 };
    const size_t bytes = dhole__ttype_bytes(type), head = type == DHOLE__Q4_1 ? 2 * half : half;

    for (size_t col = 0; col < cols; col += dhole__ttype_elements(type), from += bytes) {
        for (size_t at = 0; at < head; at += half)
            to = gather(from + at, row_bytes, half, to);
        for (size_t at = head; at < bytes; at += quad)
            to = gather(from + at, row_bytes, quad, to);
    }
}
