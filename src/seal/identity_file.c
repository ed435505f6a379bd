/* Where this machine's key is kept: a file, or what OpenSSL's stores reach (RFC 7512 for tokens).
 */
#include <ctype.h>
#include <openssl/err.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <stdlib.h>
#include <string.h>

#include "base/change.h"
#include "seal/identity.h"

enum {
    file_max = 16 << 10,
    mode_of_secrets = 0600,
    denied_to_others = 077,
    shown_max = 80,   /* bytes of a URI */
    store_max = 1000, /* objects that are looked at */
};

/* Whether it begins with a scheme (RFC 3986, 3.1), which no path with a slash before the colon
 * does. */
static bool is_uri(const char *where)
{
    size_t length = strcspn(where, ":");

    if (where[length] == '\0' || length < 2 || !isalpha((unsigned char)where[0]))
        return false;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)where[i]) && strchr("+-.", where[i]) == NULL)
            return false;
    return true;
}

/* The first private key that the store has; *more says whether there is another one. */
static EVP_PKEY *first_key(OSSL_STORE_CTX *store, bool *more)
{
    EVP_PKEY *key = NULL;

    *more = false;
    for (int n = 0; n < store_max && !*more && !OSSL_STORE_eof(store); n++) {
        OSSL_STORE_INFO *info = OSSL_STORE_load(store);
        if (info != NULL && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY) {
            *more = key != NULL;
            if (key == NULL)
                key = OSSL_STORE_INFO_get1_PKEY(info);
        }
        OSSL_STORE_INFO_free(info);
    }
    return key;
}

/* How much of a URI may be shown: a PIN stands in its query, though providers take it in the path
 * too. */
static int length_to_show(const char *uri)
{
    size_t length = strcspn(uri, "?");
    const char *pin = strstr(uri, "pin-");

    if (pin != NULL && (size_t)(pin - uri) < length)
        length = (size_t)(pin - uri);
    return length < shown_max ? (int)length : shown_max;
}

/* The last error is the provider's; those before it are OpenSSL's search for one. */
static const char *reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *text =
        ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);

    return text != NULL ? text : "it does not say why";
}

static dhole_err fail_open(const char *uri, int shown)
{
    if (ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_OSSL_STORE)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "OpenSSL has no provider for the key store %.*s: its configuration, "
                           "which OPENSSL_CONF names, must load one",
                           shown, uri);
    return dhole__fail(DHOLE_ERR_CONFIG,
                       "OpenSSL's provider cannot open the key store %.*s: %s; check the rest of "
                       "the URI, and the provider's settings",
                       shown, uri, reason());
}

static dhole_err check_key(const char *uri, int shown, EVP_PKEY *key, bool more)
{
    char group[32] = "";

    if (key == NULL)
        return dhole__fail(DHOLE_ERR_FORMAT,
                           "OpenSSL's provider gives no private key at %.*s: %s; there is none of "
                           "that name, or the PIN is missing or wrong",
                           shown, uri, reason());
    if (more)
        return dhole__fail(DHOLE_ERR_FORMAT,
                           "there are several private keys at %.*s: name one of them, as with "
                           "token=, object= or id=",
                           shown, uri);
    if (!EVP_PKEY_is_a(key, "EC") || EVP_PKEY_get_group_name(key, group, sizeof group, NULL) != 1 ||
        (strcmp(group, "prime256v1") != 0 && strcmp(group, "P-256") != 0))
        return dhole__fail(DHOLE_ERR_FORMAT, "the key at %.*s is not a P-256 key", shown, uri);
    return DHOLE_OK;
}

/* Asks nobody for a PIN. */
static dhole_err load_from_store(const char *uri, dhole_identity **out)
{
    int shown = length_to_show(uri);
    OSSL_STORE_CTX *store;
    EVP_PKEY *key = NULL;
    bool more;
    dhole_err err;

    ERR_clear_error();
    store = OSSL_STORE_open(uri, UI_null(), NULL, NULL, NULL);
    if (store == NULL || OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY) != 1) {
        err = fail_open(uri, shown);
    } else {
        key = first_key(store, &more);
        err = check_key(uri, shown, key, more);
    }
    OSSL_STORE_close(store);
    ERR_clear_error();
    if (!err)
        return dhole__identity_new(key, out);
    EVP_PKEY_free(key);
    return err;
}

static dhole_err read_file(const char *path, bool *there, dhole_identity **out)
{
    struct dhole__buf text;
    dhole_err err;

    dhole__buf_init(&text, file_max);
    err = dhole__file_read(path, denied_to_others, &text, there);
    if (!err && *there) {
        err = dhole_identity_from_pem((const char *)text.data, text.len, out);
        if (err == DHOLE_ERR_AUTH || err == DHOLE_ERR_INVALID)
            err = dhole__fail_in(DHOLE_ERR_FORMAT, "%s", path);
    }
    dhole__buf_free(&text);
    return err;
}

static dhole_err make_and_commit(struct dhole__change *change, dhole_identity **out)
{
    dhole_identity *identity;
    char *pem = NULL;
    size_t length = 0;
    dhole_err err = dhole_identity_generate(&identity);

    if (err) {
        dhole__change_drop(change);
        return err;
    }
    err = dhole_identity_to_pem(identity, &pem, &length);
    if (err)
        dhole__change_drop(change);
    else
        err = dhole__change_commit(change, mode_of_secrets, pem, length);
    dhole_secret_free(pem, length);
    if (err)
        dhole_identity_free(identity);
    else
        *out = identity;
    return err;
}

/* Looks again when it is its turn, as another process may have made the file. */
static dhole_err make_file(const char *path, dhole_identity **out)
{
    struct dhole__change change;
    bool there = false;
    dhole_err err = dhole__change_begin(path, &change);

    if (err)
        return err;
    err = read_file(path, &there, out);
    if (!err && !there)
        return make_and_commit(&change, out);
    dhole__change_drop(&change);
    return err;
}

/* $DHOLE_IDENTITY or NULL. */
static const char *named_by_environment(void)
{
    const char *where = getenv("DHOLE_IDENTITY");

    return where != NULL && *where != '\0' ? where : NULL;
}

dhole_err dhole__identity_beside(const char *name, char out[static dhole__path_max])
{
    const char *where = named_by_environment();

    if (where != NULL && !is_uri(where))
        return dhole__path_beside(where, name, out);
    return dhole__config_path(name, out);
}

/* A path or a URI. */
static dhole_err locate(const char *given, char path[static dhole__path_max], const char **where)
{
    *where = given != NULL ? given : named_by_environment();
    if (*where != NULL)
        return DHOLE_OK;
    *where = path;
    return dhole__config_path("identity.pem", path);
}

dhole_err dhole__identity_find(const char *given, bool *there, dhole_identity **out)
{
    char path[dhole__path_max];
    const char *where;
    dhole_err err = locate(given, path, &where);

    *there = true;
    if (err)
        return err;
    return is_uri(where) ? load_from_store(where, out) : read_file(where, there, out);
}

dhole_err dhole_identity_load(const char *given, dhole_identity **out)
{
    char path[dhole__path_max];
    const char *where;
    bool there;
    dhole_err err = locate(given, path, &where);

    if (!err)
        err = dhole__identity_find(where, &there, out);
    return err || there ? err : make_file(where, out);
}
