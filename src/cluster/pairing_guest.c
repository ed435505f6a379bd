/* A guest's message, and what it is told. */
#include <openssl/crypto.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/os.h"
#include "cluster/own_addresses.h"
#include "cluster/pairing_maker.h"

struct verdict {
    bool taken;
    bool final; /* no other guest is heard after this one */
    dhole_err err;
};

/* Costs the same whatever it says. */
static struct verdict judge(struct dhole_pairing *pairing, bool right)
{
    struct verdict verdict = {0};

    pthread_mutex_lock(&pairing->lock);
    if (!pairing->decided) {
        bool late = time(NULL) >= pairing->token.expiry;
        bool worn = !right && ++pairing->wrong >= dhole__pairing_tries;
        verdict.taken = right && !late;
        verdict.final = right || late || worn;
        verdict.err = late ? DHOLE_ERR_TIMEOUT : worn ? DHOLE_ERR_AUTH : DHOLE_OK;
        pairing->decided = verdict.final;
    }
    pthread_mutex_unlock(&pairing->lock);
    return verdict;
}

static dhole_err take(struct dhole_pairing *pairing, dhole_link *link,
                      const struct dhole__pairing_words *words,
                      const uint8_t proof[static dhole__pairing_proof_size])
{
    struct dhole__pairing_words own = {0};
    dhole_trusted *joiner = &pairing->joiner;

    memcpy(joiner->name, words->name, sizeof joiner->name);
    memcpy(joiner->address, words->address, sizeof joiner->address);
    dhole__replace_wildcard(joiner->address, dhole_link_address(link));
    dhole_link_pin(link, &joiner->pin);

    memcpy(own.proof, proof, sizeof own.proof);
    memcpy(own.name, pairing->name, sizeof own.name);
    return dhole__pairing_send(link, DHOLE__PAIRING_TAKEN, &own);
}

static dhole_err refuse(dhole_link *link, const char *why)
{
    dhole_err err = dhole__pairing_send(link, DHOLE__PAIRING_REFUSED, NULL);

    return err ? err : dhole__fail(DHOLE_ERR_AUTH, "%s", why);
}

static dhole_err answer(struct dhole_pairing *pairing, dhole_link *link,
                        const struct dhole__pairing_words *words)
{
    uint8_t proofs[2][dhole__pairing_proof_size];
    const uint8_t *proof = proofs[DHOLE__PAIRING_JOINER];
    struct verdict verdict;
    bool right;
    dhole_err err = dhole__pairing_prove_link(pairing->token.secret, link, pairing->identity,
                                              DHOLE__PAIRING_MAKER, proofs);

    if (err)
        return err;
    right = CRYPTO_memcmp(words->proof, proof, dhole__pairing_proof_size) == 0;
    verdict = judge(pairing, right);
    if (verdict.taken)
        err = take(pairing, link, words, proofs[DHOLE__PAIRING_MAKER]);
    else
        err = refuse(link, right ? "the token is used or has expired" : "a wrong secret");
    if (verdict.final) {
        pairing->err = verdict.taken && err ? DHOLE_ERR_PEER_LOST : verdict.err;
        (void)!write(pairing->done[1], "", 1);
    }
    dhole__wipe(proofs, sizeof proofs);
    return err;
}

void dhole__guest_attend(struct dhole__guest *guest)
{
    struct dhole__pairing_words words;
    dhole_err err = dhole__pairing_recv(guest->link, DHOLE__PAIRING_JOINS, &words);

    if (!err)
        err = answer(guest->pairing, guest->link, &words);
    else if (err == DHOLE_ERR_PROTOCOL)
        err = refuse(guest->link, "it does not speak as who joins does");
    if (err)
        dhole__log(DHOLE__LOG_INFO, "pairing: %s is refused: %s", dhole_link_address(guest->link),
                   dhole_error_message());
    dhole__wipe(&words, sizeof words);
}
