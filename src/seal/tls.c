/* The control connection: OpenSSL's TLS 1.3 as a filter over any connection.
 *
 * OpenSSL reads and writes through a BIO of ours whose ends are the lower connection, so that
 * nothing is buffered twice and "would block" passes straight through.
 *
 * Trust is the pin alone: no chain, no dates, no names. In TLS 1.3 the client is done before
 * the server has seen its certificate, so the server then says one byte, and the client waits for
 * it.
 *
 * OpenSSL allows one call on a connection at a time. As no call waits, a lock is held for as long
 * as a record takes, and a sender and a receiver go side by side. */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "base/sys.h"
#include "seal/fault.h"
#include "seal/identity.h"
#include "seal/ossl.h"
#include "seal/tls.h"
#include "transport/io.h"
#include "transport/walk.h"

enum {
    accepted = 1,           /* the server's byte */
    certificate_max = 4096, /* ours have about 400 bytes */
    rekey_every = 1 << 20,  /* records; RFC 8446, 5.5 allows 2^24.5 */
    asides_max = 16,        /* messages of TLS's own; and one more for so many reads */
    reads_an_aside = 1024,
    drain_max = 64 << 10
};

enum stage { HANDSHAKE, CONFIRM, OPEN };

struct tls {
    struct dhole__conn conn;
    struct dhole__conn *lower;
    pthread_mutex_t lock; /* over all that follows, once the handshake is done */
    dhole_err lower_err;  /* of the last read or write below */
    struct dhole__fault fault;

    SSL *ssl;
    BIO_METHOD *method;

    dhole_pin own, pinned, presented;
    struct dhole__tls_trust trust; /* its pin, unless NULL, is `pinned` */
    bool refused;                  /* the peer's key, with the reason in `why` */
    char why[256];

    enum stage stage;
    int wants;            /* what OpenSSL waits for: SSL_ERROR_WANT_READ or _WRITE */
    bool recv_wants_send; /* a key update must go out first */
    uint64_t records;
    uint64_t reads, asides; /* with data; of what TLS says for itself, such as new keys */
    uint64_t lanes;         /* that a client has opened */

    /* The record on its way: OpenSSL wants the same bytes again after it could not write. */
    size_t pending;
    uint8_t record[SSL3_RT_MAX_PLAIN_LENGTH];
};

static int bio_write(BIO *bio, const char *data, int length)
{
    struct tls *tls = BIO_get_data(bio);
    struct iovec iov = {(void *)data, (size_t)length};
    size_t moved;

    BIO_clear_retry_flags(bio);
    tls->lower_err = dhole__conn_send(tls->lower, &iov, 1, &moved);
    if (tls->lower_err)
        return -1;
    if (moved == 0) {
        BIO_set_retry_write(bio);
        return -1;
    }
    return (int)moved;
}

static int bio_read(BIO *bio, char *data, int length)
{
    struct tls *tls = BIO_get_data(bio);
    struct iovec iov = {data, (size_t)length};
    size_t moved;

    BIO_clear_retry_flags(bio);
    if (tls->asides > asides_max + tls->reads / reads_an_aside)
        tls->lower_err = dhole__fail(DHOLE_ERR_PROTOCOL, "the peer changes keys all the time");
    else
        tls->lower_err = dhole__conn_recv(tls->lower, &iov, 1, &moved);
    if (tls->lower_err)
        return -1;
    if (moved == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    return (int)moved;
}

/* OpenSSL goes on reading for as long as no data comes: who sends new keys without end would keep
 * it in one call. */
static void note_aside(int sent, int version, int type, const void *data, size_t length, SSL *ssl,
                       void *arg)
{
    struct tls *tls = arg;

    (void)version, (void)data, (void)length, (void)ssl;
    if (!sent && type == SSL3_RT_HANDSHAKE && tls->stage != HANDSHAKE)
        tls->asides++;
}

static long bio_ctrl(BIO *bio, int command, long number, void *data)
{
    (void)bio, (void)number, (void)data;
    return command == BIO_CTRL_FLUSH;
}

/* Whether the key that the peer presented is trusted; false: `why` is set. */
static bool is_trusted(struct tls *tls)
{
    char want[dhole__pin_text_size], got[dhole__pin_text_size];

    dhole__pin_text(&tls->presented, got);
    if (tls->trust.pin == NULL) {
        if (tls->trust.trusts(tls->trust.arg, &tls->presented))
            return true;
        snprintf(tls->why, sizeof tls->why, "the peer's key %s is not a trusted one", got);
        return false;
    }
    if (CRYPTO_memcmp(tls->presented.bytes, tls->pinned.bytes, DHOLE_PIN_SIZE) == 0)
        return true;
    snprintf(tls->why, sizeof tls->why,
             "the peer's key %s is not the pinned %s: it is another machine, or its key has "
             "changed and must be pinned anew",
             got, dhole__pin_text(&tls->pinned, want));
    return false;
}

/* Stands in for OpenSSL's chain verification: trusted keys and nothing else. */
static int verify(X509_STORE_CTX *store, void *ignored)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls *tls = SSL_get_app_data(ssl);
    char want[dhole__pin_text_size];

    (void)ignored;
    if (dhole__pin_of_certificate(X509_STORE_CTX_get0_cert(store), &tls->presented)) {
        if (is_trusted(tls))
            return 1;
    } else if (tls->trust.pin != NULL) {
        snprintf(tls->why, sizeof tls->why, "the peer's key is not a P-256 key; %s is pinned",
                 dhole__pin_text(&tls->pinned, want));
    } else {
        snprintf(tls->why, sizeof tls->why, "the peer's key is not a P-256 key");
    }
    tls->refused = true;
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
    return 0;
}

/* A hybrid key exchange where the library has it keeps today's traffic safe from tomorrow's quantum
 * computers. */
static bool set_groups(SSL_CTX *ctx)
{
    ERR_set_mark();
    if (SSL_CTX_set1_groups_list(ctx, "X25519MLKEM768:X25519")) {
        ERR_clear_last_mark();
        return true;
    }
    ERR_pop_to_mark();
    return SSL_CTX_set1_groups_list(ctx, "X25519");
}

static bool configure(SSL_CTX *ctx, EVP_PKEY *key, X509 *certificate)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    /* Without the records that pretend to be TLS 1.2: nothing authenticates them. */
    SSL_CTX_clear_options(ctx, SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_cert_list(ctx, certificate_max);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, verify, NULL);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) &&
           SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) && SSL_CTX_set_num_tickets(ctx, 0) &&
           SSL_CTX_set_max_early_data(ctx, 0) &&
           SSL_CTX_set_ciphersuites(ctx, "TLS_AES_256_GCM_SHA384") && set_groups(ctx) &&
           SSL_CTX_set1_sigalgs_list(ctx, "ECDSA+SHA256") &&
           SSL_CTX_set1_client_sigalgs_list(ctx, "ECDSA+SHA256") &&
           SSL_CTX_use_certificate(ctx, certificate) && SSL_CTX_use_PrivateKey(ctx, key);
}

dhole_err dhole__tls_context_new(EVP_PKEY *key, X509 *certificate, SSL_CTX **out)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());

    if (ctx != NULL && configure(ctx, key, certificate)) {
        *out = ctx;
        return DHOLE_OK;
    }
    SSL_CTX_free(ctx);
    return dhole__fail_ossl(DHOLE_ERR_SYSTEM, "OpenSSL cannot set up TLS 1.3");
}

static bool make_ssl(struct tls *tls, const dhole_identity *identity, enum dhole__seal_side side)
{
    BIO *bio;

    tls->ssl = SSL_new(identity->tls);
    tls->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "dhole");
    if (tls->ssl == NULL || tls->method == NULL || !BIO_meth_set_write(tls->method, bio_write) ||
        !BIO_meth_set_read(tls->method, bio_read) || !BIO_meth_set_ctrl(tls->method, bio_ctrl))
        return false;
    SSL_set_app_data(tls->ssl, tls);
    SSL_set_msg_callback(tls->ssl, note_aside);
    SSL_set_msg_callback_arg(tls->ssl, tls);
    bio = BIO_new(tls->method);
    if (bio == NULL)
        return false;
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    if (side == DHOLE__SEAL_SERVER)
        SSL_set_accept_state(tls->ssl);
    else
        SSL_set_connect_state(tls->ssl);
    return true;
}

/* Everything but the lower connection. */
static void tls_free(struct tls *tls)
{
    SSL_free(tls->ssl);
    BIO_meth_free(tls->method);
    pthread_mutex_destroy(&tls->lock);
    dhole__wipe(tls, sizeof *tls);
    free(tls);
}

/* Why OpenSSL gave up, from its error queue. */
static dhole_err explain(struct tls *tls)
{
    unsigned long code = ERR_peek_error();
    char own[dhole__pin_text_size], text[160];

    if (tls->lower_err)
        return tls->lower_err;
    if (tls->refused)
        return dhole__fail(DHOLE_ERR_AUTH, "%s", tls->why);
    if (ERR_GET_LIB(code) != ERR_LIB_SSL || ERR_GET_REASON(code) < SSL_AD_REASON_OFFSET)
        return dhole__fail_ossl(DHOLE_ERR_AUTH, "the peer could not be authenticated");
    snprintf(text, sizeof text,
             ERR_GET_REASON(code) == SSL_R_SSLV3_ALERT_BAD_CERTIFICATE
                 ? "the peer refused this side's key %s; pin it there"
                 : "the peer refused this side, whose key is %s",
             dhole__pin_text(&tls->own, own));
    return dhole__fail_ossl(DHOLE_ERR_AUTH, text);
}

/* After an SSL call that did not succeed: DHOLE_OK when it only has to wait, `wants` says for
 * what. Failures below do not stick here: what the peer said last can still be read when writing
 * has become impossible. */
static dhole_err after(struct tls *tls)
{
    dhole_err err;

    tls->wants = SSL_get_error(tls->ssl, 0);
    switch (tls->wants) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: return DHOLE_OK;
    case SSL_ERROR_ZERO_RETURN:
        return dhole__fail(DHOLE_ERR_PEER_LOST, "the peer closed the connection");
    }
    err = explain(tls);
    return tls->lower_err ? err : dhole__fault_keep(&tls->fault, err);
}

/* Readies OpenSSL for a call. */
static dhole_err before(struct tls *tls)
{
    if (tls->fault.err)
        return dhole__fault_repeat(&tls->fault);
    ERR_clear_error(); /* SSL_get_error reads what is left there */
    tls->lower_err = DHOLE_OK;
    return DHOLE_OK;
}

/* Fills the empty record with the next bytes of `walk`. */
static void fill_record(struct tls *tls, struct dhole__walk walk)
{
    const uint8_t *piece;
    size_t length;

    while ((piece = dhole__walk_take(&walk, sizeof tls->record - tls->pending, &length)) != NULL &&
           length > 0) {
        memcpy(tls->record + tls->pending, piece, length);
        tls->pending += length;
    }
}

static dhole_err send_records(struct tls *tls, const struct iovec *iov, int n, size_t *moved)
{
    struct dhole__walk walk = {iov, n, 0};
    size_t left, written;
    dhole_err err;

    *moved = 0;
    err = before(tls);
    while (!err && (left = dhole__walk_left(walk)) > 0) {
        if (tls->pending == 0)
            fill_record(tls, walk);
        if (tls->pending > left)
            return dhole__fail_offer(left, tls->pending);
        if (!SSL_write_ex(tls->ssl, tls->record, tls->pending, &written))
            return after(tls);
        dhole__walk_skip(&walk, tls->pending);
        *moved += tls->pending;
        tls->pending = 0;
        if (++tls->records % rekey_every == 0)
            SSL_key_update(tls->ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
    }
    return err;
}

/* An error after some bytes have moved comes again with the next call. */
static dhole_err recv_records(struct tls *tls, const struct iovec *iov, int n, size_t *moved)
{
    struct dhole__walk walk = {iov, n, 0};
    size_t length, got;
    uint8_t *piece;
    dhole_err err;

    *moved = 0;
    tls->recv_wants_send = false;
    err = before(tls);
    while (!err && (piece = dhole__walk_piece(&walk, SIZE_MAX, &length)) != NULL) {
        if (!SSL_read_ex(tls->ssl, piece, length, &got)) {
            err = after(tls);
            tls->recv_wants_send = tls->wants == SSL_ERROR_WANT_WRITE;
            return *moved > 0 ? DHOLE_OK : err;
        }
        dhole__walk_skip(&walk, got);
        *moved += got;
        tls->reads++;
    }
    return err;
}

static dhole_err tls_send(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    struct tls *tls = (struct tls *)conn;
    dhole_err err;

    pthread_mutex_lock(&tls->lock);
    err = send_records(tls, iov, n, moved);
    pthread_mutex_unlock(&tls->lock);
    return err;
}

static dhole_err tls_recv(struct dhole__conn *conn, const struct iovec *iov, int n, size_t *moved)
{
    struct tls *tls = (struct tls *)conn;
    dhole_err err;

    pthread_mutex_lock(&tls->lock);
    err = recv_records(tls, iov, n, moved);
    pthread_mutex_unlock(&tls->lock);
    return err;
}

static bool arm(struct tls *tls, bool want_send, bool want_recv, struct pollfd *pfd)
{
    if (tls->fault.err || (want_recv && SSL_pending(tls->ssl) > 0))
        return false;
    want_send |= want_recv && tls->recv_wants_send;
    if (tls->stage != OPEN) {
        want_send = tls->wants == SSL_ERROR_WANT_WRITE;
        want_recv = !want_send;
    }
    return tls->lower->ops->arm(tls->lower, want_send, want_recv, pfd);
}

static bool tls_arm(struct dhole__conn *conn, bool want_send, bool want_recv, struct pollfd *pfd)
{
    struct tls *tls = (struct tls *)conn;
    bool armed;

    pthread_mutex_lock(&tls->lock);
    armed = arm(tls, want_send, want_recv, pfd);
    pthread_mutex_unlock(&tls->lock);
    return armed;
}

static void tls_shutdown(struct dhole__conn *conn)
{
    struct tls *tls = (struct tls *)conn;

    tls->lower->ops->shutdown(tls->lower);
}

static void tls_close(struct dhole__conn *conn)
{
    struct tls *tls = (struct tls *)conn;
    struct dhole__conn *lower = tls->lower;

    if (!tls->fault.err && !tls->lower_err)
        SSL_shutdown(tls->ssl); /* says goodbye if that can be done at once */
    ERR_clear_error();
    tls_free(tls);
    dhole__conn_close(lower);
}

static const struct dhole__conn_ops tls_ops = {
    .name = "tls",
    .send = tls_send,
    .recv = tls_recv,
    .arm = tls_arm,
    .shutdown = tls_shutdown,
    .close = tls_close,
};

/* The server's byte, which says that it accepted the client. */
static dhole_err confirm(struct tls *tls, bool *done)
{
    uint8_t byte = accepted;
    const struct iovec iov = {&byte, 1};
    size_t moved;
    dhole_err err = SSL_is_server(tls->ssl) ? tls_send(&tls->conn, &iov, 1, &moved)
                                            : tls_recv(&tls->conn, &iov, 1, &moved);

    *done = !err && moved == 1;
    if (*done && byte != accepted)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "the server confirmed with %d, not %d", byte,
                           accepted);
    return err;
}

static dhole_err handshake(struct tls *tls, bool *done)
{
    dhole_err err = before(tls);

    if (err)
        return err;
    *done = SSL_do_handshake(tls->ssl) == 1;
    return *done ? DHOLE_OK : after(tls);
}

/* Takes what the peer has sent already: TCP would answer it with a reset, which can overtake our
 * alert. */
static void drain(struct dhole__conn *lower)
{
    uint8_t scrap[1024];
    struct iovec iov = {scrap, sizeof scrap};
    size_t moved;

    for (size_t i = 0; i < drain_max / sizeof scrap; i++)
        if (dhole__conn_recv(lower, &iov, 1, &moved) != DHOLE_OK || moved == 0)
            return;
}

dhole_err dhole__tls_start_asking(struct dhole__conn *lower, const dhole_identity *identity,
                                  const struct dhole__tls_trust *trust, enum dhole__seal_side side,
                                  struct dhole__conn **out)
{
    struct tls *tls = dhole__sys.calloc(1, sizeof *tls);
    dhole_err err;

    if (tls == NULL)
        return dhole__fail_nomem(sizeof *tls, "a TLS connection");
    pthread_mutex_init(&tls->lock, NULL);
    tls->conn.ops = &tls_ops;
    tls->lower = lower;
    tls->own = identity->pin;
    tls->trust = *trust;
    if (trust->pin != NULL) {
        tls->pinned = *trust->pin;
        tls->trust.pin = &tls->pinned;
    }
    if (!make_ssl(tls, identity, side)) {
        err = dhole__fail_ossl(DHOLE_ERR_SYSTEM, "OpenSSL cannot set up TLS 1.3");
        tls_free(tls);
        return err;
    }
    *out = &tls->conn;
    return DHOLE_OK;
}

dhole_err dhole__tls_start(struct dhole__conn *lower, const dhole_identity *identity,
                           const dhole_pin *pin, enum dhole__seal_side side,
                           struct dhole__conn **out)
{
    return dhole__tls_start_asking(lower, identity, &(struct dhole__tls_trust){.pin = pin}, side,
                                   out);
}

dhole_err dhole__tls_step(struct dhole__conn *conn, bool *done)
{
    struct tls *tls = (struct tls *)conn;
    bool through = true;
    dhole_err err = DHOLE_OK;

    while (!err && through && tls->stage != OPEN) {
        err = tls->stage == HANDSHAKE ? handshake(tls, &through) : confirm(tls, &through);
        if (!err && through)
            tls->stage++;
    }
    *done = tls->stage == OPEN;
    if (!err)
        return DHOLE_OK;
    if (tls->fault.err) {
        drain(tls->lower);
        dhole__fault_repeat(&tls->fault);
    }
    return dhole__fail_in(err, "TLS 1.3 handshake as the %s",
                          SSL_is_server(tls->ssl) ? "server" : "client");
}

dhole_err dhole__tls_open(struct dhole__conn *lower, const dhole_identity *identity,
                          const dhole_pin *pin, enum dhole__seal_side side,
                          dhole__deadline deadline, struct dhole__conn **out)
{
    struct dhole__conn *conn;
    dhole_err err = dhole__tls_start(lower, identity, pin, side, &conn);
    bool done = false;

    if (err)
        return err;
    while (!err) {
        struct pollfd pfd;
        err = dhole__tls_step(conn, &done);
        if (done)
            break;
        if (!err && conn->ops->arm(conn, true, true, &pfd))
            err = dhole__io_poll(&pfd, 1, deadline);
        if (!err && dhole__now() >= deadline)
            err = dhole__fail(DHOLE_ERR_TIMEOUT, "the deadline passed");
    }
    if (err) {
        tls_free((struct tls *)conn);
        return err;
    }
    *out = conn;
    return DHOLE_OK;
}

/* NULL when conn is not one of ours. */
static struct tls *tls_of(struct dhole__conn *conn)
{
    if (conn != NULL && conn->ops == &tls_ops)
        return (struct tls *)conn;
    dhole__fail(DHOLE_ERR_INVALID, "not a connection that dhole__tls_open made");
    return NULL;
}

void dhole__tls_pin(struct dhole__conn *conn, dhole_pin *out)
{
    *out = ((struct tls *)conn)->presented;
}

dhole_err dhole__tls_export(struct dhole__conn *conn, const char *label, const void *context,
                            size_t context_length, uint8_t *out, size_t length)
{
    struct tls *tls = tls_of(conn);
    int exported;

    if (tls == NULL)
        return DHOLE_ERR_INVALID;
    pthread_mutex_lock(&tls->lock);
    exported = SSL_export_keying_material(tls->ssl, out, length, label, strlen(label), context,
                                          context_length, 1);
    pthread_mutex_unlock(&tls->lock);
    if (exported != 1)
        return dhole__fail_ossl(DHOLE_ERR_SYSTEM, "cannot export a key from TLS");
    return DHOLE_OK;
}

dhole_err dhole__tls_claim_lane(struct dhole__conn *conn, enum dhole__seal_side side, uint32_t lane)
{
    struct tls *tls = tls_of(conn);

    if (tls == NULL)
        return DHOLE_ERR_INVALID;
    if (SSL_is_server(tls->ssl) != (side == DHOLE__SEAL_SERVER))
        return dhole__fail(DHOLE_ERR_INVALID,
                           "lane %u has another side than its control connection", lane);
    if (lane >= dhole__lanes_max)
        return dhole__fail(DHOLE_ERR_INVALID, "lane %u is not below %d", lane, dhole__lanes_max);
    if (tls->lanes >> lane & 1)
        return dhole__fail(DHOLE_ERR_INVALID, "lane %u was opened before", lane);
    if (side == DHOLE__SEAL_CLIENT)
        tls->lanes |= UINT64_C(1) << lane;
    return DHOLE_OK;
}
