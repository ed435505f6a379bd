/* OpenSSL's decoders and encoders of private keys free copies of the key unwiped (seen with 3.0).
 * PKCS #8 of a P-256 key has one usual shape, 138 bytes, so it is read and written here; the
 * watching allocator in the tests sees to it that no copy stays behind. */
#include "seal/pem.h"

#include <limits.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <string.h>

#include "base/os.h"
#include "base/sys.h"
#include "seal/ossl.h"

enum { scalar_size = 32, point_size = 65 };

/* RFC 5208 around RFC 5915: {version 0, {ecPublicKey, prime256v1}, {version 1, scalar, [1] point}}.
 */
struct pkcs8 {
    uint8_t head[36];
    uint8_t scalar[scalar_size];
    uint8_t middle[5];
    uint8_t point[point_size];
};

_Static_assert(sizeof(struct pkcs8) == 138, "bytes only, so no padding");

static const struct pkcs8 shape = {
    .head = {0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86,
             0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
             0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02, 0x01, 0x01, 0x04, 0x20},
    .middle = {0xa1, 0x44, 0x03, 0x42, 0x00},
};

static bool has_shape(const struct pkcs8 *der)
{
    return memcmp(der->head, shape.head, sizeof shape.head) == 0 &&
           memcmp(der->middle, shape.middle, sizeof shape.middle) == 0;
}

/* Whether the private and the public half belong together. */
static bool is_pair(EVP_PKEY *key)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    bool ok = ctx != NULL && EVP_PKEY_pairwise_check(ctx) == 1;

    EVP_PKEY_CTX_free(ctx);
    return ok;
}

/* NULL when the numbers are not a key. */
static EVP_PKEY *key_of(struct pkcs8 *der)
{
    static char curve[] = "prime256v1";
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    BIGNUM *scalar = BN_bin2bn(der->scalar, scalar_size, NULL);
    uint8_t native[scalar_size];
    EVP_PKEY *key = NULL;

    if (ctx != NULL && scalar != NULL && BN_bn2nativepad(scalar, native, scalar_size) > 0) {
        OSSL_PARAM params[] = {
            OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, curve, 0),
            OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_PRIV_KEY, native, scalar_size),
            OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, der->point, point_size),
            OSSL_PARAM_construct_end(),
        };
        if (EVP_PKEY_fromdata_init(ctx) != 1 ||
            EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params) != 1)
            key = NULL;
    }
    if (key != NULL && !is_pair(key)) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    dhole__wipe(native, sizeof native);
    BN_clear_free(scalar);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

/* The bytes of the first PEM block into *der; false when it is not a private key of the shape. */
static bool decode(const char *text, size_t length, struct pkcs8 *der)
{
    BIO *bio = BIO_new_mem_buf(text, (int)length);
    char *name = NULL, *header = NULL;
    unsigned char *data = NULL;
    long n = 0;
    bool ok = bio != NULL &&
              PEM_read_bio_ex(bio, &name, &header, &data, &n, PEM_FLAG_SECURE) == 1 &&
              strcmp(name, PEM_STRING_PKCS8INF) == 0 && n == sizeof *der;

    if (ok) {
        memcpy(der, data, sizeof *der);
        ok = has_shape(der);
    }
    OPENSSL_secure_free(name);
    OPENSSL_secure_free(header);
    OPENSSL_secure_clear_free(data, (size_t)n);
    BIO_free(bio);
    return ok;
}

dhole_err dhole__pem_read(const char *text, size_t length, EVP_PKEY **out)
{
    dhole_err err = DHOLE_OK;
    struct pkcs8 der;

    if (text == NULL || length > INT_MAX)
        return dhole__fail(DHOLE_ERR_INVALID, "no PEM text, or %zu bytes of it", length);
    if (!decode(text, length, &der)) {
        err = dhole__fail_ossl(DHOLE_ERR_AUTH,
                               "not the unencrypted PKCS #8 PEM text of a P-256 private key");
    } else {
        EVP_PKEY *key = key_of(&der);
        if (key != NULL)
            *out = key;
        else
            err = dhole__fail_ossl(DHOLE_ERR_AUTH, "the private key is damaged");
    }
    dhole__wipe(&der, sizeof der);
    return err;
}

/* NULL when the key's store does not give it out. */
static BIGNUM *private_number(EVP_PKEY *key)
{
    BIGNUM *scalar = NULL;

    return EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &scalar) == 1 ? scalar : NULL;
}

static bool encode(EVP_PKEY *key, BIGNUM *scalar, struct pkcs8 *der)
{
    size_t n;

    *der = shape;
    return BN_bn2binpad(scalar, der->scalar, scalar_size) == scalar_size &&
           EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, der->point, point_size,
                                           &n) == 1 &&
           n == point_size;
}

dhole_err dhole__pem_write(EVP_PKEY *key, char **text, size_t *length)
{
    BIGNUM *scalar = private_number(key);
    BIO *bio = BIO_new(BIO_s_mem());
    dhole_err err = DHOLE_OK;
    struct pkcs8 der;
    char *data, *copy;
    size_t n;

    if (scalar == NULL) {
        err = dhole__fail_ossl(DHOLE_ERR_UNSUPPORTED,
                               "the private key is needed as text, but its store keeps it");
        goto out;
    }
    if (bio == NULL || !encode(key, scalar, &der) ||
        !PEM_write_bio(bio, PEM_STRING_PKCS8INF, "", (uint8_t *)&der, sizeof der)) {
        err = dhole__fail_ossl(DHOLE_ERR_SYSTEM, "cannot write the private key");
        goto out;
    }
    n = (size_t)BIO_get_mem_data(bio, &data);
    copy = dhole__sys.malloc(n + 1);
    if (copy == NULL) {
        err = dhole__fail_nomem(n + 1, "a private key");
        goto out;
    }
    memcpy(copy, data, n);
    copy[n] = '\0';
    *text = copy;
    *length = n;
out:
    dhole__wipe(&der, sizeof der);
    BN_clear_free(scalar);
    BIO_free(bio); /* wipes its bytes */
    return err;
}
