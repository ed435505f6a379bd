/* Identities and pins: one text for each key, and no key left in memory. */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdbool.h>
#include <stdint.h>

#include "dhole/identity.h"
#include "seal/identity.h"
#include "test.h"

static dhole_identity *generate(void)
{
    dhole_identity *out;

    ASSERT_OK(dhole_identity_generate(&out));
    return out;
}

static dhole_pin pin_of(const dhole_identity *identity)
{
    dhole_pin pin;

    dhole_identity_pin(identity, &pin);
    return pin;
}

TEST(a_key_survives_pem)
{
    dhole_identity *id = generate(), *again;
    dhole_pin a = pin_of(id), b;
    size_t length;
    char *pem;

    ASSERT_OK(dhole_identity_to_pem(id, &pem, &length));
    ASSERT_EQ(strlen(pem), length);
    ASSERT_CONTAINS(pem, "-----BEGIN PRIVATE KEY-----");
    ASSERT_OK(dhole_identity_from_pem(pem, length, &again));
    b = pin_of(again);
    ASSERT(memcmp(&a, &b, sizeof a) == 0);
    dhole_secret_free(pem, length);
    dhole_identity_free(id);
    dhole_identity_free(again);
}

/* As anyone computes it: openssl pkey -pubout -outform DER | sha256sum. */
TEST(a_pin_is_the_digest_of_the_public_key)
{
    dhole_identity *id = generate();
    unsigned char *spki = NULL;
    int length = i2d_PUBKEY(id->key, &spki);
    dhole_pin pin = pin_of(id), want;

    ASSERT_EQ(length, 91);
    ASSERT(EVP_Digest(spki, (size_t)length, want.bytes, NULL, EVP_sha256(), NULL));
    ASSERT(memcmp(&pin, &want, sizeof pin) == 0);
    OPENSSL_free(spki);
    dhole_identity_free(id);
}

TEST(two_keys_differ)
{
    dhole_identity *a = generate(), *b = generate();
    dhole_pin pa = pin_of(a), pb = pin_of(b);

    ASSERT(memcmp(&pa, &pb, sizeof pa) != 0);
    dhole_identity_free(a);
    dhole_identity_free(b);
}

/* The PEM text of a key in OpenSSL's hands, which it frees. */
static dhole_err read_back(EVP_PKEY *key, const EVP_CIPHER *cipher, dhole_identity **out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    dhole_err err;
    char *text;
    long length;

    ASSERT(key != NULL);
    ASSERT(PEM_write_bio_PKCS8PrivateKey(bio, key, cipher, "secret", 6, NULL, NULL) == 1);
    length = BIO_get_mem_data(bio, &text);
    err = dhole_identity_from_pem(text, (size_t)length, out);
    BIO_free(bio);
    EVP_PKEY_free(key);
    return err;
}

TEST(other_keys_are_refused)
{
    dhole_identity *id;

    ASSERT_ERR(read_back(EVP_RSA_gen(2048), NULL, &id), DHOLE_ERR_AUTH);
    ASSERT_ERR(read_back(EVP_EC_gen("P-384"), NULL, &id), DHOLE_ERR_AUTH);
    ASSERT_ERR(read_back(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), NULL, &id), DHOLE_ERR_AUTH);
    ASSERT_ERR(read_back(EVP_PKEY_Q_keygen(NULL, NULL, "X25519"), NULL, &id), DHOLE_ERR_AUTH);
}

/* As a token gives it that keeps the two halves under different ids. */
TEST(half_a_key_is_refused)
{
    static char curve[] = "P-256";
    unsigned char number[32] = {1};
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, curve, 0),
        OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_PRIV_KEY, number, sizeof number),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY *key = NULL;
    dhole_identity *id;

    ASSERT(EVP_PKEY_fromdata_init(ctx) == 1);
    ASSERT(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params) == 1);
    ASSERT_ERR(dhole__identity_new(key, &id), DHOLE_ERR_SYSTEM);
    ASSERT_CONTAINS(dhole_error_message(), "public half");
    EVP_PKEY_CTX_free(ctx);
}

/* Another encoding of the same curve would give the same key a second pin. */
TEST(explicit_curve_parameters_are_refused)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    dhole_identity *id;

    ASSERT(EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_ENCODING, "explicit"));
    ASSERT_ERR(read_back(key, NULL, &id), DHOLE_ERR_AUTH);
}

/* The test would wait on the terminal if a password were asked for. */
TEST(an_encrypted_key_is_refused)
{
    dhole_identity *id;

    ASSERT_ERR(read_back(EVP_EC_gen("P-256"), EVP_aes_256_cbc(), &id), DHOLE_ERR_AUTH);
}

TEST(damaged_text_is_refused)
{
    dhole_identity *id = generate(), *again;
    size_t length;
    char *pem;

    ASSERT_OK(dhole_identity_to_pem(id, &pem, &length));
    for (size_t cut = 0; cut < length - 2; cut += 7)
        ASSERT_ERR(dhole_identity_from_pem(pem, cut, &again), DHOLE_ERR_AUTH);
    ASSERT_ERR(dhole_identity_from_pem(NULL, 0, &again), DHOLE_ERR_INVALID);
    /* Inside the private number: it does not fit the public key any more. */
    pem[28 + 60] = pem[28 + 60] == 'A' ? 'B' : 'A';
    ASSERT_ERR(dhole_identity_from_pem(pem, length, &again), DHOLE_ERR_AUTH);
    dhole_secret_free(pem, length);
    dhole_identity_free(id);
}

/* An allocator for OpenSSL that looks for a secret in whatever is freed. */
enum { front = 16 };

static uint8_t secret[32];
static char text[32]; /* where the PEM text has it */
static bool looking;
static int traces;
static int allocations_left = INT32_MAX;

static void *watch_malloc(size_t size, const char *file, int line)
{
    size_t *block = allocations_left-- > 0 ? malloc(size + front) : NULL;

    (void)file, (void)line;
    if (block == NULL)
        return NULL;
    *block = size;
    return (char *)block + front;
}

static void watch_free(void *p, const char *file, int line)
{
    uint8_t reversed[32];
    size_t size;

    (void)file, (void)line;
    if (p == NULL)
        return;
    for (int i = 0; i < 32; i++)
        reversed[i] = secret[31 - i]; /* as a BIGNUM has it */
    size = *(size_t *)((char *)p - front);
    if (looking && (memmem(p, size, secret, 32) || memmem(p, size, reversed, 32) ||
                    memmem(p, size, text, sizeof text)))
        traces++;
    free((char *)p - front);
}

static void *watch_realloc(void *p, size_t size, const char *file, int line)
{
    void *fresh;
    size_t old;

    if (p == NULL)
        return watch_malloc(size, file, line);
    if (size == 0) {
        watch_free(p, file, line);
        return NULL;
    }
    fresh = watch_malloc(size, file, line);
    if (fresh == NULL)
        return NULL;
    old = *(size_t *)((char *)p - front);
    memcpy(fresh, p, old < size ? old : size);
    watch_free(p, file, line);
    return fresh;
}

static void watch(void)
{
    ASSERT(CRYPTO_set_mem_functions(watch_malloc, watch_realloc, watch_free));
}

static void learn_secret(const dhole_identity *id)
{
    BIGNUM *number = NULL;

    ASSERT(EVP_PKEY_get_bn_param(id->key, OSSL_PKEY_PARAM_PRIV_KEY, &number));
    ASSERT_EQ(BN_bn2binpad(number, secret, 32), 32);
    BN_clear_free(number);
    looking = true;
    memset(text, '~', sizeof text);
}

TEST(a_freed_identity_leaves_no_trace)
{
    dhole_identity *id;

    watch();
    id = generate();
    learn_secret(id);
    /* The watch sees what is not wiped. */
    char *copy = OPENSSL_malloc(32);
    memcpy(copy, secret, 32);
    OPENSSL_free(copy);
    ASSERT_EQ(traces, 1);
    dhole_identity_free(id);
    ASSERT_EQ(traces, 1);
}

TEST(pem_leaves_no_trace)
{
    dhole_identity *id, *again;
    size_t length;
    char *pem;

    watch();
    id = generate();
    learn_secret(id);
    ASSERT_OK(dhole_identity_to_pem(id, &pem, &length));
    /* Bytes 48 to 71 of the DER form, which has the number at 36: the second line, of 64 a line. */
    memcpy(text, strchr(pem, '\n') + 1 + 65, sizeof text);
    dhole_secret_free(pem, length);
    ASSERT_OK(dhole_identity_to_pem(id, &pem, &length));
    ASSERT_EQ(traces, 0);
    ASSERT_OK(dhole_identity_from_pem(pem, length, &again));
    ASSERT_EQ(traces, 0);
    dhole_identity_free(again);
    dhole_identity_free(id);
    ASSERT_EQ(traces, 0);
    dhole_secret_free(pem, length);
}

/* Each allocation of ours and of OpenSSL's fails in turn. Leaks show under AddressSanitizer. */
TEST(each_failed_allocation_is_an_error)
{
    dhole_identity *id, *again;
    size_t length;
    char *pem;
    int failures = 0;

    watch();
    id = generate();
    ASSERT_OK(dhole_identity_to_pem(id, &pem, &length));
    for (dhole_err err = DHOLE_ERR_NOMEM; err; failures++) {
        allocations_left = failures;
        err = dhole_identity_from_pem(pem, length, &again);
        allocations_left = INT32_MAX;
    }
    ASSERT(failures > 10);
    dhole_identity_free(again);
    dhole_identity_free(id);
    dhole_secret_free(pem, length);
}
