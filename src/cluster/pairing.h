/* What the two machines of a pairing say to each other: one message each.
 *
 * The joiner has the maker's key from the token, so the link shows it whom it called. The maker
 * takes any key; the proof shows it that this very link, with the keys at its two ends, is that of
 * somebody who has the token: it covers the link's exporter, so it is good for no other one. */
#ifndef DHOLE_CLUSTER_PAIRING_H
#define DHOLE_CLUSTER_PAIRING_H

#include "cluster/token.h"
#include "dhole/cluster.h"

#define DHOLE__PAIRING_SESSION "pairing"

enum dhole__pairing_tag { DHOLE__PAIRING_JOINS = 1, DHOLE__PAIRING_TAKEN, DHOLE__PAIRING_REFUSED };

enum dhole__pairing_role { DHOLE__PAIRING_JOINER, DHOLE__PAIRING_MAKER };

enum {
    dhole__pairing_proof_size = 32,
    dhole__pairing_max = dhole__pairing_proof_size + DHOLE_NAME_SIZE + DHOLE_ADDRESS_SIZE
};

struct dhole__pairing_words {
    uint8_t proof[dhole__pairing_proof_size];
    char name[DHOLE_NAME_SIZE];
    char address[DHOLE_ADDRESS_SIZE]; /* "": none */
};

/* Both proofs of a link, by role. */
DHOLE__MUST_CHECK dhole_err
dhole__pairing_prove(const uint8_t secret[static dhole__token_secret_size],
                     const uint8_t exporter[static 32], const dhole_pin *joiner,
                     const dhole_pin *maker, uint8_t proofs[static 2][dhole__pairing_proof_size]);

/* The same of `link`, on which this side has this role. */
DHOLE__MUST_CHECK dhole_err
dhole__pairing_prove_link(const uint8_t secret[static dhole__token_secret_size], dhole_link *link,
                          const dhole_identity *identity, enum dhole__pairing_role role,
                          uint8_t proofs[static 2][dhole__pairing_proof_size]);

/* Returns the size. */
size_t dhole__pairing_encode(const struct dhole__pairing_words *words,
                             uint8_t bytes[static dhole__pairing_max]);

/* DHOLE_ERR_PROTOCOL */
DHOLE__MUST_CHECK dhole_err dhole__pairing_decode(const uint8_t *bytes, size_t size,
                                                  struct dhole__pairing_words *out);

/* NULL: refused. */
DHOLE__MUST_CHECK dhole_err dhole__pairing_send(dhole_link *link, enum dhole__pairing_tag tag,
                                                const struct dhole__pairing_words *words);

/* DHOLE_ERR_AUTH: the other side refused. DHOLE_ERR_PROTOCOL: it said something else than `tag`. */
DHOLE__MUST_CHECK dhole_err dhole__pairing_recv(dhole_link *link, enum dhole__pairing_tag tag,
                                                struct dhole__pairing_words *out);

#endif
