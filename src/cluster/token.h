/* Join tokens: what dhole pair prints and dhole join takes. A secret: to be wiped. */
#ifndef DHOLE_CLUSTER_TOKEN_H
#define DHOLE_CLUSTER_TOKEN_H

#include "base/error.h"
#include "dhole/cluster.h"

enum { dhole__token_secret_size = 16, dhole__token_addresses_max = 8 };

struct dhole__token {
    dhole_pin pin; /* of who made it */
    uint8_t secret[dhole__token_secret_size];
    int64_t expiry; /* seconds since 1970 */
    int count;      /* of addresses, at least 1; the likeliest first */
    char address[dhole__token_addresses_max][DHOLE_ADDRESS_SIZE];
};

/* Leaves out the last addresses when not all fit; DHOLE_ERR_LIMIT when none does. */
DHOLE__MUST_CHECK dhole_err dhole__token_encode(const struct dhole__token *token,
                                                char text[static DHOLE_TOKEN_SIZE]);

/* White space around the text is ignored. DHOLE_ERR_FORMAT, which quotes nothing of it. */
DHOLE__MUST_CHECK dhole_err dhole__token_decode(const char *text, struct dhole__token *out);

#endif
