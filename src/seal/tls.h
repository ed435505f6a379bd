/* What lanes need of the control connection beyond seal.h. */
#ifndef DHOLE_SEAL_TLS_H
#define DHOLE_SEAL_TLS_H

#include "seal/seal.h"

enum { dhole__lanes_max = 64 };

/* Marks a lane as opened on this side: a second one would use the same keys and nonces again.
 * DHOLE_ERR_INVALID when it was, when `lane` is not below dhole__lanes_max, or when `side` is not
 * the connection's. */
DHOLE__MUST_CHECK dhole_err dhole__tls_claim_lane(struct dhole__conn *tls,
                                                  enum dhole__seal_side side, uint32_t lane);

#endif
