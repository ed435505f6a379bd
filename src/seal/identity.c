#include "seal/identity.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "base/sys.h"
#include "seal/ossl.h"
#include "seal/pem.h"
#include "seal/tls.h"

enum { spki_size = 91, serial_bits = 127 };

/* How the SubjectPublicKeyInfo of a P-256 key begins when it names the curve and spells
 * the point out (RFC 5480); the 64 bytes of the point follow. Requiring it leaves one encoding, so
 * one pin, for each key. */
static const uint8_t spki_head[] = {
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
    0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
};

bool dhole__pin_of_certificate(const X509 *certificate, dhole_pin *out)
{
    unsigned char *spki = NULL;
    int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &spki);
    bool ok = length == spki_size && memcmp(spki, spki_head, sizeof spki_head) == 0;

    if (ok)
        SHA256(spki, spki_size, out->bytes);
    OPENSSL_free(spki);
    return ok;
}

const char *dhole__pin_text(const dhole_pin *pin, char text[static dhole__pin_text_size])
{
    const uint8_t *b = pin->bytes;

    snprintf(text, dhole__pin_text_size, "sha256:%02x%02x%02x%02x%02x%02x%02x%02x..", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7]);
    return text;
}

static bool set_random_serial(X509 *certificate)
{
    BIGNUM *serial = BN_new();
    bool ok = serial != NULL && BN_rand(serial, serial_bits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) &&
              BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(certificate)) != NULL;

    BN_free(serial);
    return ok;
}

/* TLS wants a certificate around the key, which is yet to sign it. Nobody checks its dates, as
 * clocks may be wrong; they say "always" (RFC 5280, 4.1.2.5). */
static X509 *certificate_around(EVP_PKEY *key)
{
    X509 *certificate = X509_new();
    X509_NAME *name;

    if (certificate == NULL)
        return NULL;
    name = X509_get_subject_name(certificate);
    if (X509_set_version(certificate, X509_VERSION_3) && set_random_serial(certificate) &&
        ASN1_TIME_set_string(X509_getm_notBefore(certificate), "19700101000000Z") &&
        ASN1_TIME_set_string(X509_getm_notAfter(certificate), "99991231235959Z") &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"dhole", -1, -1,
                                   0) &&
        X509_set_issuer_name(certificate, name) && X509_set_pubkey(certificate, key))
        return certificate;
    X509_free(certificate);
    return NULL;
}

dhole_err dhole__identity_new(EVP_PKEY *key, dhole_identity **out)
{
    dhole_identity *identity = dhole__sys.calloc(1, sizeof *identity);
    dhole_err err;

    if (identity == NULL) {
        EVP_PKEY_free(key);
        return dhole__fail_nomem(sizeof *identity, "an identity");
    }
    identity->key = key;
    identity->certificate = certificate_around(key);
    if (identity->certificate == NULL) {
        err = dhole__fail_ossl(DHOLE_ERR_SYSTEM,
                               "the public half of the key is not to be had, which a token must "
                               "keep under the same id (CKA_ID) as the private one");
        goto fail;
    }
    if (!X509_sign(identity->certificate, key, EVP_sha256())) {
        err = dhole__fail_ossl(DHOLE_ERR_SYSTEM, "the key cannot sign its certificate");
        goto fail;
    }
    if (!dhole__pin_of_certificate(identity->certificate, &identity->pin)) {
        err = dhole__fail(DHOLE_ERR_SYSTEM, "OpenSSL writes the public key in an unusual form");
        goto fail;
    }
    err = dhole__tls_context_new(key, identity->certificate, &identity->tls);
    if (err)
        goto fail;
    *out = identity;
    return DHOLE_OK;
fail:
    dhole_identity_free(identity);
    return err;
}

dhole_err dhole_identity_generate(dhole_identity **out)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");

    if (key == NULL)
        return dhole__fail_ossl(DHOLE_ERR_SYSTEM, "cannot make a P-256 key");
    return dhole__identity_new(key, out);
}

dhole_err dhole_identity_from_pem(const char *pem, size_t length, dhole_identity **out)
{
    EVP_PKEY *key;
    dhole_err err = dhole__pem_read(pem, length, &key);

    return err ? err : dhole__identity_new(key, out);
}

dhole_err dhole_identity_to_pem(const dhole_identity *identity, char **pem, size_t *length)
{
    return dhole__pem_write(identity->key, pem, length);
}

void dhole_identity_pin(const dhole_identity *identity, dhole_pin *out)
{
    *out = identity->pin;
}

dhole_err dhole__identity_share(const dhole_identity *identity, dhole_identity **out)
{
    dhole_identity *share = dhole__sys.calloc(1, sizeof *share);

    if (share == NULL)
        return dhole__fail_nomem(sizeof *share, "an identity");
    *share = *identity;
    EVP_PKEY_up_ref(share->key);
    X509_up_ref(share->certificate);
    SSL_CTX_up_ref(share->tls);
    *out = share;
    return DHOLE_OK;
}

void dhole_identity_free(dhole_identity *identity)
{
    if (identity == NULL)
        return;
    SSL_CTX_free(identity->tls);
    X509_free(identity->certificate);
    EVP_PKEY_free(identity->key); /* wipes the private number */
    free(identity);
}

void dhole_secret_free(char *secret, size_t length)
{
    if (secret != NULL)
        dhole__wipe(secret, length);
    free(secret);
}
