/* The seal: filters over any connection that keep its bytes secret and whole.
 *
 * `tls` carries a pair's control connection and yields the keys; `lane` carries
 * bulk data in AES-256-GCM records under those keys. Where the connection below allows it, as tcp
 * does, one thread may send and another one receive at the same time. */
#ifndef DHOLE_SEAL_SEAL_H
#define DHOLE_SEAL_SEAL_H

#include "base/clock.h"
#include "dhole/identity.h"
#include "transport/conn.h"

enum dhole__seal_side { DHOLE__SEAL_CLIENT, DHOLE__SEAL_SERVER };

enum { dhole__lane_key_size = 32, dhole__lane_record_max = 256 << 10 };

/* Runs a TLS 1.3 handshake (RFC 8446, both sides present a certificate) over
 * `lower` until the deadline. The peer must hold the key that `pin` names, else
 * DHOLE_ERR_AUTH; nothing else of its certificate is trusted. On success *out owns
 * `lower`; on failure the caller still does. */
DHOLE__MUST_CHECK dhole_err dhole__tls_open(struct dhole__conn *lower,
                                            const dhole_identity *identity, const dhole_pin *pin,
                                            enum dhole__seal_side side, dhole__deadline deadline,
                                            struct dhole__conn **out);

/* The same without waiting. Start moves no byte; *out owns `lower` at once. Then step, whenever
 * the connection is ready (its arm says for what), until *done; after an error all that is left
 * is to close it. */
DHOLE__MUST_CHECK dhole_err dhole__tls_start(struct dhole__conn *lower,
                                             const dhole_identity *identity, const dhole_pin *pin,
                                             enum dhole__seal_side side, struct dhole__conn **out);
DHOLE__MUST_CHECK dhole_err dhole__tls_step(struct dhole__conn *tls, bool *done);

/* Whose key is accepted: the one that `pin` names, or, where that is NULL, each for which `trusts`
 * returns nonzero. It is asked before the peer has shown that it holds the key, in dhole__tls_step,
 * and must not block. */
struct dhole__tls_trust {
    const dhole_pin *pin;
    int (*trusts)(void *arg, const dhole_pin *pin);
    void *arg;
};

/* dhole__tls_start with more ways to trust. */
DHOLE__MUST_CHECK dhole_err dhole__tls_start_asking(struct dhole__conn *lower,
                                                    const dhole_identity *identity,
                                                    const struct dhole__tls_trust *trust,
                                                    enum dhole__seal_side side,
                                                    struct dhole__conn **out);

/* The key of the peer, when the handshake is done. */
void dhole__tls_pin(struct dhole__conn *tls, dhole_pin *out);

/* Keying material of a connection whose handshake is done (RFC 8446, 7.5; RFC
 * 5705): both sides get the same `length` bytes for the same label and context. */
DHOLE__MUST_CHECK dhole_err dhole__tls_export(struct dhole__conn *tls, const char *label,
                                              const void *context, size_t context_length,
                                              uint8_t *out, size_t length);

/* Wraps `lower` as lane number `lane`, at most 63, of the pair whose control connection is `tls`:
 * keys for both directions come from its exporter. The client speaks first. It can use a number
 * once; a server may take another connection for it as long as nothing authentic has come, as
 * anybody can connect.
 * On success *out owns `lower` and does not refer to `tls`; on failure the caller still owns
 * `lower`.
 *
 * A record that is not authentic, or not the next one, is DHOLE_ERR_AUTH in this and every later
 * call; none of its bytes are seen. A stream that ends, be it in the middle of a record, is
 * DHOLE_ERR_PEER_LOST, as a peer that dies looks the same. */
DHOLE__MUST_CHECK dhole_err dhole__lane_open(struct dhole__conn *lower, struct dhole__conn *tls,
                                             enum dhole__seal_side side, uint32_t lane,
                                             struct dhole__conn **out);

/* The same with secrets that the caller has, one a direction: for tests and vectors. */
DHOLE__MUST_CHECK dhole_err dhole__lane_open_keyed(
    struct dhole__conn *lower, const uint8_t send_secret[static dhole__lane_key_size],
    const uint8_t recv_secret[static dhole__lane_key_size], struct dhole__conn **out);

/* Moves to new keys every `records` records instead of 2^18; both sides, before any data. For
 * tests. */
void dhole__lane_rekey_every(struct dhole__conn *lane, uint64_t records);

#endif
