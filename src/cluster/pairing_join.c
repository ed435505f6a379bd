/* The machine that was given the token. */
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/os.h"
#include "cluster/host_name.h"
#include "cluster/pairing.h"
#include "cluster/trust.h"

enum { connect_ms = 3000, call_ms = 10000 };

/* Any of the token's addresses at which the machine with its key answers. */
static dhole_err call(const dhole_identity *identity, const struct dhole__token *token,
                      int cancel_fd, dhole_link **out)
{
    dhole_link_options options = DHOLE_LINK_OPTIONS_INIT;
    dhole_err err = DHOLE_OK;

    options.identity = identity;
    options.pin = &token->pin;
    options.session = DHOLE__PAIRING_SESSION;
    options.message_max = dhole__pairing_max;
    options.connect_timeout_ms = connect_ms;
    options.timeout_ms = call_ms;
    options.cancel_fd = cancel_fd;
    options.no_retry = 1; /* it listened before it printed the token */
    for (int i = 0; i < token->count; i++) {
        err = dhole_link_connect(&options, token->address[i], out);
        if (!err || err == DHOLE_ERR_CANCELLED || err == DHOLE_ERR_NOMEM)
            break;
    }
    return err;
}

static dhole_err exchange(const dhole_identity *identity, const struct dhole__token *token,
                          dhole_link *link, struct dhole__pairing_words *words)
{
    uint8_t proofs[2][dhole__pairing_proof_size];
    dhole_err err =
        dhole__pairing_prove_link(token->secret, link, identity, DHOLE__PAIRING_JOINER, proofs);

    if (err)
        return err;
    memcpy(words->proof, proofs[DHOLE__PAIRING_JOINER], sizeof words->proof);
    err = dhole__pairing_send(link, DHOLE__PAIRING_JOINS, words);
    if (!err)
        err = dhole__pairing_recv(link, DHOLE__PAIRING_TAKEN, words);
    if (!err && CRYPTO_memcmp(words->proof, proofs[DHOLE__PAIRING_MAKER], sizeof words->proof) != 0)
        err = dhole__fail(DHOLE_ERR_AUTH, "the other machine does not have the secret");
    dhole__wipe(proofs, sizeof proofs);
    return err;
}

/* The maker does not say why it refuses, and one that has ended says nothing; but whether the token
 * has expired this machine's clock may know. */
static dhole_err explain(dhole_err err, const struct dhole__token *token, bool called)
{
    if (err == DHOLE_ERR_CANCELLED || err == DHOLE_ERR_NOMEM || (called && err == DHOLE_ERR_SYSTEM))
        return err;
    if (time(NULL) >= token->expiry)
        return dhole__fail(DHOLE_ERR_TIMEOUT,
                           "the token has expired, unless this machine's clock is wrong: make a "
                           "new one with dhole pair");
    if (called)
        return dhole__fail(DHOLE_ERR_AUTH,
                           "the machine that made the token refused: it may have been used, or "
                           "have expired; make a new one with dhole pair");
    if (err == DHOLE_ERR_TIMEOUT)
        err = DHOLE_ERR_PEER_LOST;
    return dhole__fail_in(err, "%s%s: dhole pair, which made the token, is not to be found",
                          token->address[0], token->count > 1 ? " and others" : "");
}

static dhole_err set_words(const char *name, const char *own_address,
                           struct dhole__pairing_words *out)
{
    char own_name[DHOLE_NAME_SIZE];
    dhole_err err;

    if (name == NULL) {
        dhole__host_name(own_name);
        name = own_name;
    }
    if (own_address == NULL)
        own_address = "";
    err = dhole__check_name(name);
    if (!err)
        err = dhole__check_address(own_address);
    if (err)
        return err;
    strcpy(out->name, name);
    strcpy(out->address, own_address);
    return DHOLE_OK;
}

static dhole_err join(const dhole_identity *identity, const struct dhole__token *token,
                      int cancel_fd, struct dhole__pairing_words *words)
{
    dhole_link *link = NULL;
    dhole_pin own;
    dhole_err err;

    dhole_identity_pin(identity, &own);
    if (memcmp(&own, &token->pin, sizeof own) == 0)
        return dhole__fail(DHOLE_ERR_INVALID,
                           "the token was made with this machine's own key: each machine needs a "
                           "key of its own");
    err = call(identity, token, cancel_fd, &link);
    if (!err)
        err = exchange(identity, token, link, words);
    if (err)
        err = explain(err, token, link != NULL);
    dhole_link_free(link);
    return err;
}

dhole_err dhole_pair_join(const dhole_identity *identity, const char *name, const char *own_address,
                          const char *text, int cancel_fd, dhole_trusted *out)
{
    struct dhole__pairing_words words = {0};
    struct dhole__token token;
    dhole_err err = set_words(name, own_address, &words);

    if (err)
        return err;
    err = dhole__token_decode(text, &token);
    if (err)
        return err;
    err = join(identity, &token, cancel_fd, &words);
    if (!err) {
        *out = (dhole_trusted){.pin = token.pin};
        memcpy(out->name, words.name, sizeof out->name);
        memcpy(out->address, words.address, sizeof out->address);
    }
    dhole__wipe(&words, sizeof words);
    dhole__wipe(&token, sizeof token);
    return err;
}
