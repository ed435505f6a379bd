#include "seal/record.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <string.h>

#include "base/os.h"
#include "seal/ossl.h"

enum { type_data = 1, nonce_size = 12 };

/* HKDF-Expand with SHA-256 (RFC 5869, 2.3). */
static bool expand(const uint8_t secret[static dhole__lane_key_size], uint8_t *out, size_t length)
{
    static char info[] = "dhole lane", digest[] = "SHA256";
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret, dhole__lane_key_size),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, sizeof info - 1),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_HKDF, NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
    bool ok = ctx != NULL && EVP_KDF_derive(ctx, out, length, params) == 1;

    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    return ok;
}

/* The next secret and the next key are the two halves of what the present secret expands to; the
 * present one is forgotten, so that a key that leaks says nothing about earlier records. */
static dhole_err next_key(struct dhole__record_key *key)
{
    uint8_t pair[2 * dhole__lane_key_size];
    dhole_err err = DHOLE_OK;

    if (expand(key->secret, pair, sizeof pair) &&
        EVP_CipherInit_ex2(key->cipher, EVP_aes_256_gcm(), pair + dhole__lane_key_size, NULL,
                           key->seals, NULL))
        memcpy(key->secret, pair, dhole__lane_key_size);
    else
        err = dhole__fail_ossl(DHOLE_ERR_SYSTEM, "cannot derive a lane's key");
    dhole__wipe(pair, sizeof pair);
    return err;
}

dhole_err dhole__record_key_init(struct dhole__record_key *key, bool seals,
                                 const uint8_t secret[static dhole__lane_key_size])
{
    dhole_err err;

    *key = (struct dhole__record_key){.seals = seals, .rekey_every = dhole__record_rekey};
    key->cipher = EVP_CIPHER_CTX_new();
    if (key->cipher == NULL)
        return dhole__fail_ossl(DHOLE_ERR_NOMEM, "cannot make a cipher");
    memcpy(key->secret, secret, sizeof key->secret);
    err = next_key(key);
    if (err)
        dhole__record_key_free(key);
    return err;
}

void dhole__record_key_free(struct dhole__record_key *key)
{
    EVP_CIPHER_CTX_free(key->cipher); /* wipes the key */
    dhole__wipe(key, sizeof *key);
}

/* Readies the cipher for the next record: its key, its nonce, its header as associated data. */
static dhole_err begin(struct dhole__record_key *key, const uint8_t *header)
{
    uint8_t nonce[nonce_size] = {0};
    int n;

    if (key->number > 0 && key->number % key->rekey_every == 0) {
        dhole_err err = next_key(key);
        if (err)
            return err;
    }
    for (int i = 0; i < 8; i++)
        nonce[4 + i] = (uint8_t)(key->number >> (56 - 8 * i));
    key->number++;
    if (!EVP_CipherInit_ex2(key->cipher, NULL, NULL, nonce, -1, NULL) ||
        !EVP_CipherUpdate(key->cipher, NULL, &n, header, dhole__record_header))
        return dhole__fail_ossl(DHOLE_ERR_SYSTEM, "cannot start a record");
    return DHOLE_OK;
}

static void put_header(uint8_t *header, size_t length)
{
    for (int i = 0; i < 4; i++)
        header[i] = (uint8_t)(length >> 8 * i);
    header[4] = type_data;
    header[5] = header[6] = header[7] = 0;
}

dhole_err dhole__record_seal(struct dhole__record_key *key, struct dhole__walk plain, size_t length,
                             uint8_t *record)
{
    uint8_t *out = record + dhole__record_header;
    dhole_err err;
    size_t step;
    int n;

    put_header(record, length);
    err = begin(key, record);
    if (err)
        return err;
    for (; length > 0; length -= step, out += step) {
        const uint8_t *piece = dhole__walk_take(&plain, length, &step);
        if (!EVP_CipherUpdate(key->cipher, out, &n, piece, (int)step))
            return dhole__fail_ossl(DHOLE_ERR_SYSTEM, "cannot seal a record");
    }
    if (!EVP_CipherFinal_ex(key->cipher, out, &n) ||
        !EVP_CIPHER_CTX_ctrl(key->cipher, EVP_CTRL_AEAD_GET_TAG, dhole__record_tag, out))
        return dhole__fail_ossl(DHOLE_ERR_SYSTEM, "cannot seal a record");
    return DHOLE_OK;
}

size_t dhole__record_size(const uint8_t header[static dhole__record_header])
{
    size_t length = 0;

    for (int i = 0; i < 4; i++)
        length |= (size_t)header[i] << 8 * i;
    if (length == 0 || length > dhole__lane_record_max || header[4] != type_data ||
        (header[5] | header[6] | header[7]) != 0)
        return 0;
    return length + dhole__record_extra;
}

static void wipe_walk(struct dhole__walk plain, size_t length)
{
    size_t step;

    for (; length > 0; length -= step) {
        uint8_t *piece = dhole__walk_take(&plain, length, &step);
        dhole__wipe(piece, step);
    }
}

/* Decrypts before the tag is known to be right, as GCM allows; the caller of this file sees the
 * bytes only after it is, or zeroes. */
static bool decrypt(struct dhole__record_key *key, const uint8_t *in, size_t length,
                    struct dhole__walk plain)
{
    uint8_t tag[dhole__record_tag];
    size_t step;
    int n;

    memcpy(tag, in + length, sizeof tag);
    for (; length > 0; length -= step, in += step) {
        uint8_t *piece = dhole__walk_take(&plain, length, &step);
        if (!EVP_CipherUpdate(key->cipher, piece, &n, in, (int)step))
            return false;
    }
    return EVP_CIPHER_CTX_ctrl(key->cipher, EVP_CTRL_AEAD_SET_TAG, sizeof tag, tag) &&
           EVP_CipherFinal_ex(key->cipher, tag, &n) > 0;
}

dhole_err dhole__record_open(struct dhole__record_key *key, const uint8_t *record, size_t size,
                             struct dhole__walk plain)
{
    size_t length = size - dhole__record_extra;
    unsigned long long number = key->number;
    dhole_err err = begin(key, record);

    if (err)
        return err;
    if (decrypt(key, record + dhole__record_header, length, plain))
        return DHOLE_OK;
    wipe_walk(plain, length);
    return dhole__fail(
        DHOLE_ERR_AUTH,
        "record %llu (%zu bytes) is not authentic: it was changed, replayed, dropped or "
        "reordered on the way, or its key is another",
        number, length);
}
