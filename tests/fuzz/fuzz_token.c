/* Any text as a join token: it is refused, or it is the one text of what it says. The same bytes as
 * what two machines that pair say to each other. */
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/pairing.h"
#include "fuzz.h"

static void decode_token(const char *text)
{
    struct dhole__token token;
    char again[DHOLE_TOKEN_SIZE];
    const char *start = text + strspn(text, " \t\r\n");

    if (dhole__token_decode(text, &token) != DHOLE_OK)
        return;
    if (token.count < 1 || token.count > dhole__token_addresses_max ||
        dhole__token_encode(&token, again) != DHOLE_OK || strncmp(again, start, strlen(again)) != 0)
        abort();
}

/* The bytes behind the text, with the check that belongs to them. */
static void decode_bytes(const uint8_t *data, size_t size)
{
    uint8_t bytes[760], digest[SHA256_DIGEST_LENGTH];
    char text[DHOLE_TOKEN_SIZE + 8] = "dhole1-";

    size = size < sizeof bytes - 4 ? size : sizeof bytes - 4;
    memcpy(bytes, data, size);
    SHA256(bytes, size, digest);
    memcpy(bytes + size, digest, 4);
    EVP_EncodeBlock((uint8_t *)text + 7, bytes, (int)size + 4);
    for (char *c = text + 7; *c != '\0'; c++)
        *c = (char)(*c == '+' ? '-' : *c == '/' ? '_' : *c == '=' ? '\0' : *c);
    decode_token(text);
}

static void decode_words(const uint8_t *data, size_t size)
{
    struct dhole__pairing_words words;
    uint8_t again[dhole__pairing_max];

    if (dhole__pairing_decode(data, size, &words) != DHOLE_OK)
        return;
    if (dhole__pairing_encode(&words, again) != size || memcmp(again, data, size) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    decode_token(text);
    decode_bytes(data, size);
    decode_words(data, size);
    free(text);
    return 0;
}
