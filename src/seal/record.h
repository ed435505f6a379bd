/* One direction of a lane: AES-256-GCM records under a key that only that direction has.
 *
 * A record is an 8-byte header {u32 length, little-endian; u8 type 1; three zero bytes}, `length`
 * bytes of ciphertext, and a 16-byte tag. The header is associated data. The nonce is the record's
 * number, which both sides count and nobody sends, so that a record that is replayed, dropped or
 * out of order fails its tag. Every 2^18 records both sides move to the next key. */
#ifndef DHOLE_SEAL_RECORD_H
#define DHOLE_SEAL_RECORD_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "seal/seal.h"
#include "transport/walk.h"

enum {
    dhole__record_header = 8,
    dhole__record_tag = 16,
    dhole__record_extra = dhole__record_header + dhole__record_tag,
    /* 2^18 records of 2^18 bytes: at most 64 GiB, 2^32 blocks, under one key. */
    dhole__record_rekey = 1 << 18
};

struct dhole__record_key {
    EVP_CIPHER_CTX *cipher;
    bool seals;                           /* else opens */
    uint64_t number;                      /* of the next record */
    uint64_t rekey_every;                 /* records */
    uint8_t secret[dhole__lane_key_size]; /* the next key and secret come from it */
};

/* DHOLE_ERR_NOMEM or DHOLE_ERR_SYSTEM; *key needs no free then. */
DHOLE__MUST_CHECK dhole_err dhole__record_key_init(
    struct dhole__record_key *key, bool seals, const uint8_t secret[static dhole__lane_key_size]);

/* Wipes. */
void dhole__record_key_free(struct dhole__record_key *key);

/* Seals the next `length` bytes of `plain`, 1..dhole__lane_record_max, into record[0..length +
 * dhole__record_extra). */
DHOLE__MUST_CHECK dhole_err dhole__record_seal(struct dhole__record_key *key,
                                               struct dhole__walk plain, size_t length,
                                               uint8_t *record);

/* Reads a header: the size of the whole record, or 0 when no honest peer sends it. */
size_t dhole__record_size(const uint8_t header[static dhole__record_header]);

/* Opens a record of `size` bytes as dhole__record_size told, into `plain`, which has room, and may
 * be where the ciphertext is. DHOLE_ERR_AUTH: `plain` has been wiped. */
DHOLE__MUST_CHECK dhole_err dhole__record_open(struct dhole__record_key *key, const uint8_t *record,
                                               size_t size, struct dhole__walk plain);

#endif
