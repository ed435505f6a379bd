#include "seal/ossl.h"

#include <openssl/err.h>

dhole_err dhole__fail_ossl(dhole_err err, const char *what)
{
    unsigned long code = ERR_peek_error();
    const char *reason = ERR_reason_error_string(code);

    if (ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE)
        err = DHOLE_ERR_NOMEM;
    ERR_clear_error();
    return dhole__fail(err, "%s: %s", what, reason != NULL ? reason : "OpenSSL gave no reason");
}
