#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "dhole/identity.h"

static const char prefix[] = "sha256:";

enum { prefix_length = sizeof prefix - 1, digits = 2 * DHOLE_PIN_SIZE };

void dhole_fingerprint(const dhole_pin *pin, char out[DHOLE_FINGERPRINT_SIZE])
{
    memcpy(out, prefix, prefix_length);
    for (int i = 0; i < DHOLE_PIN_SIZE; i++)
        snprintf(out + prefix_length + 2 * i, 3, "%02x", pin->bytes[i]);
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

dhole_err dhole_fingerprint_parse(const char *text, dhole_pin *out)
{
    const char *hex = text + prefix_length;
    dhole_pin pin;

    if (strncmp(text, prefix, prefix_length) != 0 || strlen(hex) != digits)
        return dhole__fail(DHOLE_ERR_INVALID,
                           "\"%.80s\" is no fingerprint: expected sha256: and %d hexadecimal "
                           "digits, as dhole id prints them",
                           text, digits);
    for (int i = 0; i < DHOLE_PIN_SIZE; i++) {
        int high = digit_value(hex[2 * i]), low = digit_value(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return dhole__fail(DHOLE_ERR_INVALID,
                               "\"%.80s\" is no fingerprint: character %d is no hexadecimal digit",
                               text, prefix_length + 2 * i + (high < 0 ? 1 : 2));
        pin.bytes[i] = (uint8_t)(high << 4 | low);
    }
    *out = pin;
    return DHOLE_OK;
}
