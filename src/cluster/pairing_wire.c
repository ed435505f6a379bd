#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "base/os.h"
#include "cluster/pairing.h"
#include "cluster/trust.h"
#include "link/link_internal.h"
#include "seal/ossl.h"

enum { exporter_size = 32 };

struct statement {
    uint8_t label[15];
    uint8_t role;
    uint8_t exporter[exporter_size];
    dhole_pin joiner, maker;
};

_Static_assert(sizeof(struct statement) == 16 + 3 * 32, "bytes only, so no padding");

dhole_err dhole__pairing_prove(const uint8_t secret[static dhole__token_secret_size],
                               const uint8_t exporter[static exporter_size],
                               const dhole_pin *joiner, const dhole_pin *maker,
                               uint8_t proofs[static 2][dhole__pairing_proof_size])
{
    struct statement statement = {.label = "dhole pairing 1", .joiner = *joiner, .maker = *maker};

    memcpy(statement.exporter, exporter, exporter_size);
    for (int role = DHOLE__PAIRING_JOINER; role <= DHOLE__PAIRING_MAKER; role++) {
        statement.role = (uint8_t)role;
        if (HMAC(EVP_sha256(), secret, dhole__token_secret_size, (const uint8_t *)&statement,
                 sizeof statement, proofs[role], NULL) == NULL)
            return dhole__fail_ossl(DHOLE_ERR_SYSTEM, "cannot compute HMAC-SHA256");
    }
    return DHOLE_OK;
}

dhole_err dhole__pairing_prove_link(const uint8_t secret[static dhole__token_secret_size],
                                    dhole_link *link, const dhole_identity *identity,
                                    enum dhole__pairing_role role,
                                    uint8_t proofs[static 2][dhole__pairing_proof_size])
{
    uint8_t exporter[exporter_size];
    dhole_pin pins[2];
    dhole_err err;

    dhole_identity_pin(identity, &pins[role]);
    dhole_link_pin(link, &pins[!role]);
    err = dhole__link_export(link, "EXPORTER-dhole-pairing", NULL, 0, exporter, sizeof exporter);
    if (!err)
        err = dhole__pairing_prove(secret, exporter, &pins[DHOLE__PAIRING_JOINER],
                                   &pins[DHOLE__PAIRING_MAKER], proofs);
    dhole__wipe(exporter, sizeof exporter);
    return err;
}

static uint8_t *put_text(uint8_t *at, const char *text)
{
    size_t length = strlen(text);

    *at = (uint8_t)length;
    memcpy(at + 1, text, length);
    return at + 1 + length;
}

size_t dhole__pairing_encode(const struct dhole__pairing_words *words,
                             uint8_t bytes[static dhole__pairing_max])
{
    uint8_t *at = bytes + dhole__pairing_proof_size;

    memcpy(bytes, words->proof, dhole__pairing_proof_size);
    at = put_text(at, words->name);
    at = put_text(at, words->address);
    return (size_t)(at - bytes);
}

/* NULL when it is longer than what is there, or than its place. */
static const uint8_t *get_text(const uint8_t *at, const uint8_t *end, char *out, size_t size)
{
    size_t length;

    if (at == NULL || at == end)
        return NULL;
    length = *at++;
    if (length > (size_t)(end - at) || length >= size)
        return NULL;
    memcpy(out, at, length);
    out[length] = '\0';
    return strlen(out) == length ? at + length : NULL;
}

dhole_err dhole__pairing_decode(const uint8_t *bytes, size_t size, struct dhole__pairing_words *out)
{
    const uint8_t *at = bytes + dhole__pairing_proof_size, *end = bytes + size;

    if (size < dhole__pairing_proof_size)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "%zu bytes for a proof of %d", size,
                           dhole__pairing_proof_size);
    memcpy(out->proof, bytes, dhole__pairing_proof_size);
    at = get_text(at, end, out->name, sizeof out->name);
    at = get_text(at, end, out->address, sizeof out->address);
    if (at != end)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "name and address do not fit %zu bytes", size);
    if (dhole__check_name(out->name) || dhole__check_address(out->address))
        return dhole__fail_in(DHOLE_ERR_PROTOCOL, "the other machine");
    return DHOLE_OK;
}

dhole_err dhole__pairing_send(dhole_link *link, enum dhole__pairing_tag tag,
                              const struct dhole__pairing_words *words)
{
    dhole_message message = {.tag = tag, .dtype = DHOLE_U8, .dims = 1};
    uint8_t bytes[dhole__pairing_max];
    dhole_err err;

    if (words != NULL)
        message.shape[0] = dhole__pairing_encode(words, bytes);
    err = dhole_link_send(link, DHOLE_CHANNEL_CONTROL, &message, bytes, 0);
    dhole__wipe(bytes, sizeof bytes);
    return err;
}

dhole_err dhole__pairing_recv(dhole_link *link, enum dhole__pairing_tag tag,
                              struct dhole__pairing_words *out)
{
    uint8_t bytes[dhole__pairing_max];
    dhole_message message;
    size_t size;
    dhole_err err = dhole_link_recv(link, DHOLE_CHANNEL_CONTROL, &message, 0);

    if (err)
        return err;
    if (message.tag == DHOLE__PAIRING_REFUSED)
        return dhole__fail(DHOLE_ERR_AUTH, "the other machine refused");
    size = dhole_message_size(&message);
    if (message.tag != (uint32_t)tag || size > sizeof bytes)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "a message of kind %u and %zu bytes, expected %d",
                           message.tag, size, tag);
    err = dhole_link_recv_data(link, DHOLE_CHANNEL_CONTROL, bytes, 0);
    if (!err)
        err = dhole__pairing_decode(bytes, size, out);
    dhole__wipe(bytes, sizeof bytes);
    return err;
}
