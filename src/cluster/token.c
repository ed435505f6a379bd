#include "cluster/token.h"

#include <openssl/sha.h>
#include <string.h>

#include "base/bytes.h"
#include "base/os.h"
#include "cluster/trust.h"

static const char prefix[] = "dhole1-";
static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

enum {
    prefix_length = sizeof prefix - 1,
    expiry_at = DHOLE_PIN_SIZE + dhole__token_secret_size,
    count_at = expiry_at + 8,
    addresses_at = count_at + 1,
    check_size = 4, /* tells a token that was cut or mistyped */
    text_max = DHOLE_TOKEN_SIZE - 1,
    bytes_max = (text_max - prefix_length) / 4 * 3
};

/* Base64url without padding (RFC 4648, 5). */
static void write_digits(const uint8_t *bytes, size_t length, char *text)
{
    uint32_t bits = 0;
    int have = 0;

    for (size_t i = 0; i < length; i++) {
        bits = bits << 8 | bytes[i];
        for (have += 8; have >= 6; have -= 6)
            *text++ = digits[bits >> (have - 6) & 63];
    }
    if (have > 0)
        *text++ = digits[bits << (6 - have) & 63];
    *text = '\0';
}

/* False unless these are the digits that write_digits writes for some bytes. */
static bool read_digits(const char *text, size_t length, uint8_t *bytes, size_t *size)
{
    uint32_t bits = 0;
    int have = 0;

    *size = 0;
    for (size_t i = 0; i < length; i++) {
        const char *digit = text[i] != '\0' ? strchr(digits, text[i]) : NULL;
        if (digit == NULL)
            return false;
        bits = bits << 6 | (uint32_t)(digit - digits);
        have += 6;
        if (have >= 8) {
            have -= 8;
            bytes[(*size)++] = (uint8_t)(bits >> have);
        }
    }
    return have < 6 && (bits & ((1U << have) - 1)) == 0;
}

static void put_check(const uint8_t *bytes, size_t length, uint8_t check[static check_size])
{
    uint8_t digest[SHA256_DIGEST_LENGTH];

    SHA256(bytes, length, digest);
    memcpy(check, digest, check_size);
}

dhole_err dhole__token_encode(const struct dhole__token *token, char text[static DHOLE_TOKEN_SIZE])
{
    uint8_t bytes[bytes_max];
    size_t size = addresses_at;

    memcpy(bytes, token->pin.bytes, DHOLE_PIN_SIZE);
    memcpy(bytes + DHOLE_PIN_SIZE, token->secret, dhole__token_secret_size);
    dhole__put64(bytes + expiry_at, (uint64_t)token->expiry);
    bytes[count_at] = 0;
    for (int i = 0; i < token->count; i++) {
        size_t length = strlen(token->address[i]);
        if (size + 1 + length + check_size > sizeof bytes)
            break;
        bytes[size] = (uint8_t)length;
        memcpy(bytes + size + 1, token->address[i], length);
        size += 1 + length;
        bytes[count_at]++;
    }
    if (bytes[count_at] == 0)
        return dhole__fail(DHOLE_ERR_LIMIT, "no address fits into a token");
    put_check(bytes, size, bytes + size);
    memcpy(text, prefix, prefix_length);
    write_digits(bytes, size + check_size, text + prefix_length);
    dhole__wipe(bytes, sizeof bytes);
    return DHOLE_OK;
}

static bool read_addresses(const uint8_t *at, const uint8_t *end, struct dhole__token *out)
{
    for (int i = 0; i < out->count; i++) {
        size_t length = at < end ? *at++ : 0;
        if (length == 0 || length > (size_t)(end - at))
            return false;
        memcpy(out->address[i], at, length);
        out->address[i][length] = '\0';
        if (strlen(out->address[i]) != length || dhole__check_address(out->address[i]))
            return false;
        at += length;
    }
    return at == end;
}

static bool read_bytes(const uint8_t *bytes, size_t size, struct dhole__token *out)
{
    uint8_t check[check_size];

    if (size < addresses_at + check_size)
        return false;
    size -= check_size;
    put_check(bytes, size, check);
    memcpy(out->pin.bytes, bytes, DHOLE_PIN_SIZE);
    memcpy(out->secret, bytes + DHOLE_PIN_SIZE, dhole__token_secret_size);
    out->expiry = (int64_t)dhole__get64(bytes + expiry_at);
    out->count = bytes[count_at];
    return memcmp(check, bytes + size, check_size) == 0 && out->expiry >= 0 && out->count > 0 &&
           out->count <= dhole__token_addresses_max &&
           read_addresses(bytes + addresses_at, bytes + size, out);
}

dhole_err dhole__token_decode(const char *text, struct dhole__token *out)
{
    static const char spaces[] = " \t\r\n";
    uint8_t bytes[bytes_max + 3];
    struct dhole__token token = {0};
    dhole_err err = DHOLE_OK;
    size_t length, size;

    text += strspn(text, spaces);
    length = strcspn(text, spaces);
    if (strncmp(text, prefix, prefix_length) != 0)
        err = dhole__fail(DHOLE_ERR_FORMAT,
                          "this is no join token: expected \"%s\" and what follows it, as dhole "
                          "pair prints it",
                          prefix);
    else if (length > text_max || text[length + strspn(text + length, spaces)] != '\0' ||
             !read_digits(text + prefix_length, length - prefix_length, bytes, &size) ||
             !read_bytes(bytes, size, &token))
        err = dhole__fail(DHOLE_ERR_FORMAT,
                          "the join token is damaged: it must be whole, as dhole pair printed it");
    else
        *out = token;
    dhole__wipe(bytes, sizeof bytes);
    dhole__wipe(&token, sizeof token);
    return err;
}
