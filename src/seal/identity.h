/* What the seal knows of an identity, and how it names public keys. */
#ifndef DHOLE_SEAL_IDENTITY_H
#define DHOLE_SEAL_IDENTITY_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>

#include "dhole/identity.h"

struct dhole_identity {
    EVP_PKEY *key;
    X509 *certificate;
    dhole_pin pin;
};

/* The pin of the key in a certificate; false when that is not a P-256 key in its usual form
 * (named curve, uncompressed point). */
bool dhole__pin_of_certificate(const X509 *certificate, dhole_pin *out);

enum { dhole__pin_text_size = sizeof "sha256:0123456789abcdef.." };

/* The first 8 bytes, for a person to compare. */
const char *dhole__pin_text(const dhole_pin *pin, char text[static dhole__pin_text_size]);

#endif
