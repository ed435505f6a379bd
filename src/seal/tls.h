/* What lanes and identities need of the control connection beyond seal.h. */
#ifndef DHOLE_SEAL_TLS_H
#define DHOLE_SEAL_TLS_H

#include <openssl/ssl.h>

#include "seal/seal.h"

enum { dhole__lanes_max = 64 };

/* What all connections of an identity have in common, ready for any thread. It has references of
 * its own to both. */
DHOLE__MUST_CHECK dhole_err dhole__tls_context_new(EVP_PKEY *key, X509 *certificate, SSL_CTX **out);

/* Checks that a lane may be opened: DHOLE_ERR_INVALID when `lane` is not below dhole__lanes_max,
 * when `side` is not the connection's, or, on a client, when it was opened before: the second one
 * would use the same keys and nonces again. */
DHOLE__MUST_CHECK dhole_err dhole__tls_claim_lane(struct dhole__conn *tls,
                                                  enum dhole__seal_side side, uint32_t lane);

#endif
