/* A side's options: checked, complete, and with copies of all but the identity. */
#ifndef DHOLE_LINK_TERMS_H
#define DHOLE_LINK_TERMS_H

#include "base/error.h"
#include "dhole/link.h"
#include "seal/seal.h"

enum { dhole__link_session_max = 64, dhole__link_agreement_max = 1024 };

struct dhole__link_terms {
    dhole_link_options options; /* its texts and pin are those below */
    dhole_pin pin;
    char session[dhole__link_session_max + 1];
    char agreement[dhole__link_agreement_max + 1];
};

/* DHOLE_ERR_INVALID. The terms must stay where they are. */
DHOLE__MUST_CHECK dhole_err dhole__link_terms_init(struct dhole__link_terms *terms,
                                                   const dhole_link_options *options);

struct dhole__tls_trust dhole__link_terms_trust(const struct dhole__link_terms *terms);

#endif
