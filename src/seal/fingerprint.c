#include <string.h>

#include "base/error.h"
#include "base/hex.h"
#include "dhole/identity.h"

static const char prefix[] = "sha256:";

enum { prefix_length = sizeof prefix - 1 };

void dhole_fingerprint(const dhole_pin *pin, char out[DHOLE_FINGERPRINT_SIZE])
{
    memcpy(out, prefix, prefix_length);
    dhole__hex_write(pin->bytes, DHOLE_PIN_SIZE, out + prefix_length);
}

dhole_err dhole_fingerprint_parse(const char *text, dhole_pin *out)
{
    dhole_pin pin;

    if (strncmp(text, prefix, prefix_length) != 0 ||
        !dhole__hex_read(text + prefix_length, DHOLE_PIN_SIZE, pin.bytes))
        return dhole__fail(DHOLE_ERR_INVALID,
                           "\"%.80s\" is no fingerprint: expected sha256: and %d hexadecimal "
                           "digits, as dhole id prints them",
                           text, 2 * DHOLE_PIN_SIZE);
    *out = pin;
    return DHOLE_OK;
}
