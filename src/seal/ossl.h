/* OpenSSL's error queue as one of our errors. */
#ifndef DHOLE_SEAL_OSSL_H
#define DHOLE_SEAL_OSSL_H

#include "base/error.h"

/* "<what>: <OpenSSL's reason>"; empties the queue. A failed allocation turns err into
 * DHOLE_ERR_NOMEM. */
dhole_err dhole__fail_ossl(dhole_err err, const char *what);

#endif
