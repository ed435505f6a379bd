/* What the seal knows of an identity, and how it names public keys. */
#ifndef DHOLE_SEAL_IDENTITY_H
#define DHOLE_SEAL_IDENTITY_H

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdbool.h>

#include "base/file.h"
#include "dhole/identity.h"

struct dhole_identity {
    EVP_PKEY *key;
    X509 *certificate;
    SSL_CTX *tls; /* of all its connections: set up once, and not changed any more */
    dhole_pin pin;
};

/* Takes the key over, also on failure. */
DHOLE__MUST_CHECK dhole_err dhole__identity_new(EVP_PKEY *key, dhole_identity **out);

/* As dhole_identity_load, but makes nothing: *there says whether there is a key. */
DHOLE__MUST_CHECK dhole_err dhole__identity_find(const char *where, bool *there,
                                                 dhole_identity **out);

/* The same key once more, to be freed on its own. */
DHOLE__MUST_CHECK dhole_err dhole__identity_share(const dhole_identity *identity,
                                                  dhole_identity **out);

/* Path of a file that is kept beside the identity that dhole_identity_load(NULL) finds. */
DHOLE__MUST_CHECK dhole_err dhole__identity_beside(const char *name,
                                                   char out[static dhole__path_max]);

/* The pin of the key in a certificate; false when that is not a P-256 key in its usual form
 * (named curve, uncompressed point). */
bool dhole__pin_of_certificate(const X509 *certificate, dhole_pin *out);

enum { dhole__pin_text_size = sizeof "sha256:0123456789abcdef.." };

/* The first 8 bytes, for a person to compare. */
const char *dhole__pin_text(const dhole_pin *pin, char text[static dhole__pin_text_size]);

#endif
