/* P-256 private keys as PEM text and back. */
#ifndef DHOLE_SEAL_PEM_H
#define DHOLE_SEAL_PEM_H

#include <openssl/evp.h>

#include "base/error.h"

/* As dhole_identity_from_pem; the caller owns *out. */
DHOLE__MUST_CHECK dhole_err dhole__pem_read(const char *text, size_t length, EVP_PKEY **out);

/* As dhole_identity_to_pem. */
DHOLE__MUST_CHECK dhole_err dhole__pem_write(EVP_PKEY *key, char **text, size_t *length);

#endif
