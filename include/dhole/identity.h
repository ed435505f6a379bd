/* Who somebody is under seal: a key pair, and what others pin of it. */
#ifndef DHOLE_IDENTITY_H
#define DHOLE_IDENTITY_H

#include <stddef.h>
#include <stdint.h>

#include "dhole/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A P-256 key pair with its self-signed certificate. Immutable, so any thread
 * may use it; free it after the last group that was given it. */
typedef struct dhole_identity dhole_identity;

enum { DHOLE_PIN_SIZE = 32 };

/* SHA-256 of a public key's SubjectPublicKeyInfo (RFC 7469): what one side pins of
 * the other. Public, safe to print. */
typedef struct dhole_pin {
    uint8_t bytes[DHOLE_PIN_SIZE];
} dhole_pin;

/* Makes a fresh key. The caller frees *out with dhole_identity_free. */
dhole_err dhole_identity_generate(dhole_identity **out);

/* Reads a private key in PEM form (PKCS #8, not encrypted, with the public key, as
 * `openssl genpkey` writes it). DHOLE_ERR_AUTH when it is not a P-256 private key. The text is
 * not kept. */
dhole_err dhole_identity_from_pem(const char *pem, size_t length, dhole_identity **out);

/* The key in a file (PEM, mode 0600), which is made when it is not there, or behind an OpenSSL
 * store URI such as "pkcs11:object=dhole", which is only read. NULL: $DHOLE_IDENTITY, else
 * $XDG_CONFIG_HOME/dhole/identity.pem, else ~/.config/dhole/identity.pem. DHOLE_ERR_AUTH when the
 * file may be read by others, DHOLE_ERR_FORMAT when it holds no P-256 key. An OpenSSL provider may
 * ask at the terminal for a PIN that the URI lacks; UI_set_default_method(UI_null()) keeps it from
 * that. The caller frees *out with dhole_identity_free. */
dhole_err dhole_identity_load(const char *where, dhole_identity **out);

/* The private key as NUL-terminated PEM text, *length bytes without the NUL. A
 * secret: the caller hands it on and gives it back to dhole_secret_free. */
dhole_err dhole_identity_to_pem(const dhole_identity *identity, char **pem, size_t *length);

void dhole_identity_pin(const dhole_identity *identity, dhole_pin *out);

enum { DHOLE_FINGERPRINT_SIZE = 72 };

/* "sha256:" and 64 hexadecimal digits, NUL-terminated; and back, DHOLE_ERR_INVALID. */
void dhole_fingerprint(const dhole_pin *pin, char out[DHOLE_FINGERPRINT_SIZE]);
dhole_err dhole_fingerprint_parse(const char *text, dhole_pin *out);

/* Wipes and frees; NULL is allowed. */
void dhole_identity_free(dhole_identity *identity);

/* Wipes `length` bytes and frees; NULL is allowed. */
void dhole_secret_free(char *secret, size_t length);

#ifdef __cplusplus
}
#endif
#endif
