/* Numbers as bytes, little-endian: what crosses a connection. */
#ifndef DHOLE_BASE_BYTES_H
#define DHOLE_BASE_BYTES_H

#include <stdint.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "as is every processor we support");

static inline void dhole__put16(uint8_t *dst, unsigned value)
{
    uint16_t low = (uint16_t)value;

    memcpy(dst, &low, sizeof low);
}

static inline void dhole__put32(uint8_t *dst, uint32_t value)
{
    memcpy(dst, &value, sizeof value);
}

static inline void dhole__put64(uint8_t *dst, uint64_t value)
{
    memcpy(dst, &value, sizeof value);
}

static inline unsigned dhole__get16(const uint8_t *src)
{
    uint16_t value;

    memcpy(&value, src, sizeof value);
    return value;
}

static inline uint32_t dhole__get32(const uint8_t *src)
{
    uint32_t value;

    memcpy(&value, src, sizeof value);
    return value;
}

static inline uint64_t dhole__get64(const uint8_t *src)
{
    uint64_t value;

    memcpy(&value, src, sizeof value);
    return value;
}

#endif
