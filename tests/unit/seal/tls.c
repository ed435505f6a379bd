/* The control connection: only the pinned key gets in, and nobody waits for ever. */
#include <limits.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sys.h"
#include "fixture.h"
#include "seal/identity.h"
#include "transport/tcp/tcp.h"

enum { client, server };

static const enum dhole__seal_side sides[] = {DHOLE__SEAL_CLIENT, DHOLE__SEAL_SERVER};

static dhole_identity *identity(void)
{
    dhole_identity *out;

    ASSERT_OK(dhole_identity_generate(&out));
    return out;
}

static void send_to(struct dhole__conn *from, struct dhole__conn *to, const void *data, size_t size)
{
    uint8_t *got = malloc(size);
    struct dhole__io io[] = {
        dhole__io_send(from, data, size / 3, (const char *)data + size / 3, size - size / 3),
        dhole__io_recv(to, got, size / 2, got + size / 2, size - size / 2)};

    ASSERT_OK(dhole__io_run(io, 2, soon()));
    ASSERT(memcmp(got, data, size) == 0);
    free(got);
}

TEST(bytes_cross_both_ways)
{
    static const size_t sizes[] = {1, 2, 100, 16383, 16384, 16385, 100000, 400000};
    struct dhole__conn *tls[2];
    uint8_t *data = malloc(400000);

    open_tls(tls);
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof sizes[0]; i++) {
        fill(data, sizes[i / 2], i);
        send_to(tls[i % 2], tls[!(i % 2)], data, sizes[i / 2]);
    }
    ASSERT_EQ(tls[0]->sent, tls[1]->received);
    ASSERT_EQ(tls[1]->sent, tls[0]->received);
    free(data);
    close_both(tls);
}

/* Two ends over cut I/O, and what each of them sends below. */
static void open_logged(struct dhole__conn *tls[2], struct tape *log[2])
{
    dhole_identity *id[2] = {identity(), identity()};
    struct dhole__conn *lower[2];
    struct opener opener[2];

    ASSERT_OK(dhole__mem_pair(lower));
    for (int i = 0; i < 2; i++) {
        log[i] = tape_new();
        lower[i] = choppy_new(lower[i], 50, (unsigned)i, log[i]);
        opener[i] = opener_of(lower[i], sides[i], id[i], id[!i]);
        opener_start(&opener[i]);
    }
    for (int i = 0; i < 2; i++) {
        opener_join(&opener[i]);
        ASSERT_MSG(opener[i].err == DHOLE_OK, "%s", opener[i].message);
        tls[i] = opener[i].tls;
    }
    for (int i = 0; i < 2; i++)
        dhole_identity_free(id[i]);
}

static void close_logged(struct dhole__conn *tls[2], struct tape *log[2])
{
    close_both(tls);
    for (int i = 0; i < 2; i++)
        dhole__conn_close(&log[i]->conn);
}

/* Also what crosses below: nothing of the plaintext. */
TEST(handshake_and_bytes_over_cut_io)
{
    struct dhole__conn *tls[2];
    struct tape *log[2];
    uint8_t data[40000];

    open_logged(tls, log);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t) "activation!"[i % 11];
    for (int i = 0; i < 2; i++) {
        send_to(tls[i], tls[!i], data, sizeof data);
        ASSERT(log[i]->length > sizeof data);
        ASSERT(memmem(log[i]->data, log[i]->length, "activ", 5) == NULL);
        ASSERT(memmem(log[i]->data, log[i]->length, "ation!", 6) == NULL);
    }
    close_logged(tls, log);
}

static bool has_hybrid(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    bool has = SSL_CTX_set1_groups_list(ctx, "X25519MLKEM768") == 1;

    ERR_clear_error();
    SSL_CTX_free(ctx);
    return has;
}

/* As both hellos show: extension key_share, its length, the group, and the length of the key (RFC
 * 8446, 4.2.8; the client has the length of its list before the group). */
TEST(the_key_exchange_is_the_best_that_openssl_has)
{
    static const uint8_t x25519[2][8] = {{0x00, 0x26, 0x00, 0x24, 0x00, 0x1d, 0x00, 0x20},
                                         {0x00, 0x33, 0x00, 0x24, 0x00, 0x1d, 0x00, 0x20}};
    static const uint8_t hybrid[2][8] = {{0x04, 0xc6, 0x04, 0xc4, 0x11, 0xec, 0x04, 0xc0},
                                         {0x00, 0x33, 0x04, 0x64, 0x11, 0xec, 0x04, 0x60}};
    struct dhole__conn *tls[2];
    struct tape *log[2];

    open_logged(tls, log);
    for (int i = 0; i < 2; i++)
        ASSERT(memmem(log[i]->data, log[i]->length, has_hybrid() ? hybrid[i] : x25519[i], 8) !=
               NULL);
    close_logged(tls, log);
}

TEST(arm_says_no_while_bytes_are_held)
{
    struct dhole__conn *tls[2];
    uint8_t data[10] = {1}, got[10];
    struct pollfd pfd;

    open_tls(tls);
    ASSERT_OK(dhole__io_run_one(dhole__io_send(tls[0], data, 10, NULL, 0), soon()));
    ASSERT_OK(dhole__io_run_one(dhole__io_recv(tls[1], got, 4, NULL, 0), soon()));
    ASSERT(!tls[1]->ops->arm(tls[1], false, true, &pfd));
    ASSERT_OK(dhole__io_run_one(dhole__io_recv(tls[1], got, 6, NULL, 0), soon()));
    ASSERT(tls[1]->ops->arm(tls[1], false, true, &pfd));
    close_both(tls);
}

TEST(exporter_is_equal_on_both_sides_and_differs_by_label)
{
    struct dhole__conn *tls[2];
    uint8_t a[32], b[32], c[32], d[32];

    open_tls(tls);
    ASSERT_OK(dhole__tls_export(tls[0], "EXPORTER-test", "x", 1, a, sizeof a));
    ASSERT_OK(dhole__tls_export(tls[1], "EXPORTER-test", "x", 1, b, sizeof b));
    ASSERT_OK(dhole__tls_export(tls[0], "EXPORTER-test", "y", 1, c, sizeof c));
    ASSERT_OK(dhole__tls_export(tls[0], "EXPORTER-tesu", "x", 1, d, sizeof d));
    ASSERT(memcmp(a, b, 32) == 0);
    ASSERT(memcmp(a, c, 32) != 0);
    ASSERT(memcmp(a, d, 32) != 0);
    close_both(tls);
    open_tls(tls);
    ASSERT_OK(dhole__tls_export(tls[0], "EXPORTER-test", "x", 1, b, sizeof b));
    ASSERT(memcmp(a, b, 32) != 0);
    close_both(tls);
}

TEST(a_closed_peer_is_lost_after_its_last_bytes)
{
    struct dhole__conn *tls[2];
    uint8_t byte = 7;

    open_tls(tls);
    ASSERT_OK(dhole__io_run_one(dhole__io_send(tls[0], &byte, 1, NULL, 0), soon()));
    dhole__conn_close(tls[0]);
    ASSERT_ERR(dhole__io_run_one(dhole__io_send(tls[1], &byte, 1, NULL, 0), soon()),
               DHOLE_ERR_PEER_LOST);
    byte = 0;
    ASSERT_OK(dhole__io_run_one(dhole__io_recv(tls[1], &byte, 1, NULL, 0), soon()));
    ASSERT_EQ(byte, 7);
    for (int i = 0; i < 2; i++)
        ASSERT_ERR(dhole__io_run_one(dhole__io_recv(tls[1], &byte, 1, NULL, 0), soon()),
                   DHOLE_ERR_PEER_LOST);
    dhole__conn_close(tls[1]);
}

static void *shut_down(void *conn)
{
    struct dhole__conn *tls = conn;

    tls->ops->shutdown(tls);
    return NULL;
}

TEST(shutdown_from_another_thread_ends_a_wait)
{
    struct dhole__conn *tls[2];
    pthread_t thread;
    uint8_t byte;

    open_tls(tls);
    ASSERT(pthread_create(&thread, NULL, shut_down, tls[0]) == 0);
    ASSERT_ERR(dhole__io_run_one(dhole__io_recv(tls[0], &byte, 1, NULL, 0), soon()),
               DHOLE_ERR_PEER_LOST);
    pthread_join(thread, NULL);
    close_both(tls);
}

TEST(a_silent_peer_meets_the_deadline)
{
    dhole_identity *id = identity();
    struct dhole__conn *lower[2];

    for (int i = 0; i < 2; i++) {
        struct opener opener;
        ASSERT_OK(dhole__mem_pair(lower));
        opener = opener_of(lower[0], sides[i], id, id);
        opener.deadline = dhole__deadline_in(20);
        opener_start(&opener);
        opener_join(&opener);
        ASSERT_EQ(opener.err, DHOLE_ERR_TIMEOUT);
        dhole__conn_close(lower[1]);
    }
    dhole_identity_free(id);
}

TEST(a_peer_that_leaves_in_the_handshake_is_lost)
{
    dhole_identity *id = identity();
    struct dhole__conn *lower[2];

    for (int i = 0; i < 2; i++) {
        struct opener opener;
        ASSERT_OK(dhole__mem_pair(lower));
        dhole__conn_close(lower[1]);
        opener = opener_of(lower[0], sides[i], id, id);
        opener_start(&opener);
        opener_join(&opener);
        ASSERT_EQ(opener.err, DHOLE_ERR_PEER_LOST);
        ASSERT_CONTAINS(opener.message, "handshake");
    }
    dhole_identity_free(id);
}

/* Both sides over a socket, where closing one can overtake what it said last. */
static void open_over_socket(struct opener opener[2], dhole_identity *const id[2],
                             dhole_identity *const trusted[2])
{
    int fd[2];

    ASSERT(socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0);
    for (int i = 0; i < 2; i++) {
        struct dhole__conn *lower;
        ASSERT_OK(dhole__tcp_conn_open(fd[i], &lower));
        opener[i] = opener_of(lower, sides[i], id[i], trusted[i]);
        opener_start(&opener[i]);
    }
    for (int i = 0; i < 2; i++)
        opener_join(&opener[i]);
}

static void check_refusal(const struct opener *opener, const dhole_identity *pinned,
                          const dhole_identity *presented)
{
    char text[dhole__pin_text_size];

    ASSERT_MSG(opener->err == DHOLE_ERR_AUTH, "%s: %s", dhole_error_name(opener->err),
               opener->message);
    ASSERT_CONTAINS(opener->message, "is not the pinned");
    ASSERT_CONTAINS(opener->message, dhole__pin_text(&pinned->pin, text));
    ASSERT_CONTAINS(opener->message, dhole__pin_text(&presented->pin, text));
}

/* The side that was refused learns that it was, and with which key. */
static void check_refused(const struct opener *opener)
{
    char text[dhole__pin_text_size];

    ASSERT_MSG(opener->err == DHOLE_ERR_AUTH, "%s: %s", dhole_error_name(opener->err),
               opener->message);
    ASSERT_CONTAINS(opener->message, "refused");
    ASSERT_CONTAINS(opener->message, dhole__pin_text(&opener->identity->pin, text));
}

TEST(a_wrong_key_is_an_error_on_both_sides)
{
    dhole_identity *id[2] = {identity(), identity()}, *other = identity();
    struct opener opener[2];

    open_over_socket(opener, id, (dhole_identity *[]){id[server], other});
    check_refusal(&opener[server], other, id[client]);
    check_refused(&opener[client]);

    open_over_socket(opener, id, (dhole_identity *[]){other, id[client]});
    check_refusal(&opener[client], other, id[server]);
    check_refused(&opener[server]);

    for (int i = 0; i < 2; i++)
        dhole_identity_free(id[i]);
    dhole_identity_free(other);
}

/* A pin that differs in one bit, the last. */
TEST(a_nearly_right_pin_is_wrong)
{
    dhole_identity *id[2] = {identity(), identity()};
    struct dhole__conn *lower[2];
    struct opener opener[2];

    ASSERT_OK(dhole__mem_pair(lower));
    for (int i = 0; i < 2; i++)
        opener[i] = opener_of(lower[i], sides[i], id[i], id[!i]);
    opener[client].pin.bytes[DHOLE_PIN_SIZE - 1] ^= 1;
    for (int i = 0; i < 2; i++)
        opener_start(&opener[i]);
    for (int i = 0; i < 2; i++) {
        opener_join(&opener[i]);
        ASSERT_EQ(opener[i].err, DHOLE_ERR_AUTH);
        dhole_identity_free(id[i]);
    }
}

/* Peers that are not dhole: OpenSSL itself on the other side. */

struct guest {
    int fd;
    bool serves;
    int version;           /* the highest it speaks */
    const char *groups;    /* or NULL */
    EVP_PKEY *key;         /* or NULL */
    bool resumes;          /* asks for tickets */
    const char *plaintext; /* says that instead of TLS */
    int updates;           /* of its key, before it says a byte */
    int sessions, completed;
    char reason[200];
};

static X509 *certificate_of(EVP_PKEY *key)
{
    X509 *certificate = X509_new();

    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    ASSERT(X509_sign(certificate, key, EVP_PKEY_is_a(key, "ED25519") ? NULL : EVP_sha256()) > 0);
    return certificate;
}

static int count_session(SSL *ssl, SSL_SESSION *session)
{
    struct guest *guest = SSL_get_app_data(ssl);

    (void)session;
    guest->sessions++;
    return 0;
}

/* A blocking handshake and one read. Trusts anybody. */
static void *be_guest(void *arg)
{
    struct guest *guest = arg;
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    char byte;
    SSL *ssl;

    if (guest->plaintext != NULL) {
        ASSERT(write(guest->fd, guest->plaintext, strlen(guest->plaintext)) > 0);
        while (read(guest->fd, &byte, 1) > 0)
            ;
        goto out;
    }
    SSL_CTX_set_max_proto_version(ctx, guest->version);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT);
    SSL_CTX_sess_set_new_cb(ctx, count_session);
    if (guest->groups != NULL)
        ASSERT(SSL_CTX_set1_groups_list(ctx, guest->groups));
    if (guest->key != NULL) {
        X509 *certificate = certificate_of(guest->key);
        ASSERT(SSL_CTX_use_certificate(ctx, certificate) == 1);
        ASSERT(SSL_CTX_use_PrivateKey(ctx, guest->key) == 1);
        X509_free(certificate);
    }
    ssl = SSL_new(ctx);
    SSL_set_app_data(ssl, guest);
    SSL_set_fd(ssl, guest->fd);
    guest->completed = (guest->serves ? SSL_accept(ssl) : SSL_connect(ssl)) == 1;
    if (guest->completed && guest->serves)
        SSL_write(ssl, "\1", 1);
    else if (guest->completed)
        guest->completed = SSL_read(ssl, &byte, 1) == 1 && byte == 1;
    for (int i = 0; i < guest->updates; i++)
        if (SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1 || SSL_do_handshake(ssl) != 1)
            break;
    if (guest->updates > 0)
        SSL_write(ssl, "x", 1);
    if (!guest->completed)
        ERR_error_string_n(ERR_peek_error(), guest->reason, sizeof guest->reason);
    ERR_clear_error();
    SSL_free(ssl);
out:
    SSL_CTX_free(ctx);
    close(guest->fd);
    return NULL;
}

/* Lets the guest in against us; `key` is what we pin of it, or our own key where it has none. */
static struct opener meet(struct guest *guest, const dhole_pin *pin)
{
    enum dhole__seal_side side = guest->serves ? DHOLE__SEAL_CLIENT : DHOLE__SEAL_SERVER;
    dhole_identity *id = identity();
    struct dhole__conn *lower;
    struct opener opener;
    pthread_t thread;
    int fd[2];

    ASSERT(socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0);
    guest->fd = fd[1];
    ASSERT_OK(dhole__tcp_conn_open(fd[0], &lower));
    opener = opener_of(lower, side, id, id);
    if (pin != NULL)
        opener.pin = *pin;
    ASSERT(pthread_create(&thread, NULL, be_guest, guest) == 0);
    opener_start(&opener);
    opener_join(&opener);
    if (opener.tls != NULL && guest->updates > 0) {
        char byte;
        opener.err = dhole__io_run_one(dhole__io_recv(opener.tls, &byte, 1, NULL, 0), soon());
        snprintf(opener.message, sizeof opener.message, "%s", dhole_error_message());
    }
    if (opener.tls != NULL)
        dhole__conn_close(opener.tls);
    pthread_join(thread, NULL);
    opener.identity = NULL;
    dhole_identity_free(id);
    EVP_PKEY_free(guest->key);
    return opener;
}

static dhole_pin pin_of(EVP_PKEY *key)
{
    unsigned char *spki = NULL;
    int length = i2d_PUBKEY(key, &spki);
    dhole_pin pin;

    ASSERT(length > 0 && EVP_Digest(spki, (size_t)length, pin.bytes, NULL, EVP_sha256(), NULL));
    OPENSSL_free(spki);
    return pin;
}

/* The guest presents a key that is pinned, but is not one that we use. */
static void check_key_refused(EVP_PKEY *key)
{
    dhole_pin pin = pin_of(key);

    for (int serves = 0; serves < 2; serves++) {
        struct guest guest = {.serves = serves, .version = TLS1_3_VERSION, .key = key};
        EVP_PKEY_up_ref(key);
        struct opener opener = meet(&guest, &pin);
        ASSERT_MSG(opener.err == DHOLE_ERR_AUTH, "%s", opener.message);
        ASSERT(!guest.completed);
    }
    EVP_PKEY_free(key);
}

/* The control: an honest guest gets in, so that what the other tests change is what matters. */
TEST(openssl_with_the_pinned_key_gets_in)
{
    for (int serves = 0; serves < 2; serves++) {
        struct guest guest = {
            .serves = serves, .version = TLS1_3_VERSION, .key = EVP_EC_gen("P-256")};
        dhole_pin pin = pin_of(guest.key);
        struct opener opener = meet(&guest, &pin);
        ASSERT_MSG(opener.err == DHOLE_OK, "%s", opener.message);
        ASSERT_MSG(guest.completed, "%s", guest.reason);
        ASSERT_EQ(guest.sessions, 0); /* no tickets */
    }
}

/* Each costs some work, and OpenSSL would take them as fast as they come without ever returning. */
TEST(who_changes_keys_all_the_time_is_refused)
{
    signal(SIGPIPE, SIG_IGN); /* for OpenSSL's own sockets */
    for (int i = 0; i < 4; i++) {
        bool many = i / 2;
        struct guest guest = {.serves = i % 2,
                              .version = TLS1_3_VERSION,
                              .key = EVP_EC_gen("P-256"),
                              .updates = many ? 1000 : 10};
        dhole_pin pin = pin_of(guest.key);
        struct opener opener = meet(&guest, &pin);
        ASSERT_MSG(opener.err == (many ? DHOLE_ERR_PROTOCOL : DHOLE_OK), "%s", opener.message);
    }
}

TEST(a_client_without_a_certificate_is_refused)
{
    struct guest guest = {.version = TLS1_3_VERSION};
    struct opener opener = meet(&guest, NULL);

    ASSERT_EQ(opener.err, DHOLE_ERR_AUTH);
    ASSERT_CONTAINS(opener.message, "certificate");
    ASSERT(!guest.completed);
}

TEST(rsa_is_refused)
{
    check_key_refused(EVP_RSA_gen(2048));
}

TEST(another_curve_is_refused)
{
    check_key_refused(EVP_EC_gen("P-384"));
    check_key_refused(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
}

TEST(tls_1_2_is_refused)
{
    for (int serves = 0; serves < 2; serves++) {
        struct guest guest = {
            .serves = serves, .version = TLS1_2_VERSION, .key = EVP_EC_gen("P-256")};
        dhole_pin pin = pin_of(guest.key);
        struct opener opener = meet(&guest, &pin);
        ASSERT_EQ(opener.err, DHOLE_ERR_AUTH);
        ASSERT_CONTAINS(opener.message, "TLS 1.3");
        ASSERT(!guest.completed);
    }
}

TEST(another_key_exchange_is_refused)
{
    struct guest guest = {.version = TLS1_3_VERSION, .groups = "P-256", .key = EVP_EC_gen("P-256")};
    dhole_pin pin = pin_of(guest.key);
    struct opener opener = meet(&guest, &pin);

    ASSERT_EQ(opener.err, DHOLE_ERR_AUTH);
    ASSERT(!guest.completed);
}

/* Like one whose OpenSSL is too old for the hybrid; as the server it asks for another share. */
TEST(a_peer_with_x25519_alone_gets_in)
{
    for (int serves = 0; serves < 2; serves++) {
        struct guest guest = {.serves = serves,
                              .version = TLS1_3_VERSION,
                              .groups = "X25519",
                              .key = EVP_EC_gen("P-256")};
        dhole_pin pin = pin_of(guest.key);
        struct opener opener = meet(&guest, &pin);
        ASSERT_MSG(opener.err == DHOLE_OK, "%s", opener.message);
        ASSERT_MSG(guest.completed, "%s", guest.reason);
    }
}

TEST(plaintext_is_refused)
{
    static const char *const texts[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                                        "hello, I am a peer, let me in please"};

    for (int i = 0; i < 4; i++) {
        struct guest guest = {.serves = i % 2, .plaintext = texts[i / 2]};
        struct opener opener = meet(&guest, NULL);
        ASSERT_MSG(opener.err == DHOLE_ERR_AUTH, "%s", opener.message);
    }
}

/* Carries bytes between two sockets and changes one on its way from `source`. */
struct meddler {
    int fd[2];
    int source;
    size_t at; /* the byte to change; SIZE_MAX none */
    size_t seen;
};

static void *meddle(void *arg)
{
    struct meddler *m = arg;
    struct pollfd pfd[2] = {{.fd = m->fd[0], .events = POLLIN}, {.fd = m->fd[1], .events = POLLIN}};
    uint8_t data[4096];

    for (;;) {
        poll(pfd, 2, -1);
        for (int i = 0; i < 2; i++) {
            ssize_t n = pfd[i].revents ? read(m->fd[i], data, sizeof data) : 0;
            if (pfd[i].revents && n <= 0)
                goto out;
            if (i == m->source && m->at - m->seen < (size_t)n)
                data[m->at - m->seen] ^= 1;
            if (i == m->source)
                m->seen += (size_t)n;
            if (n > 0 && write(m->fd[!i], data, (size_t)n) < 0)
                goto out;
        }
    }
out:
    close(m->fd[0]);
    close(m->fd[1]);
    return NULL;
}

/* Whether both sides came through; none may hang. */
static bool open_through(struct meddler *m, dhole_identity *const id[2])
{
    struct opener opener[2];
    pthread_t thread;
    int a[2], b[2];
    bool ok = true;

    ASSERT(socketpair(AF_UNIX, SOCK_STREAM, 0, a) == 0);
    ASSERT(socketpair(AF_UNIX, SOCK_STREAM, 0, b) == 0);
    m->fd[0] = a[1];
    m->fd[1] = b[1];
    ASSERT(pthread_create(&thread, NULL, meddle, m) == 0);
    for (int i = 0; i < 2; i++) {
        struct dhole__conn *lower;
        ASSERT_OK(dhole__tcp_conn_open(i == 0 ? a[0] : b[0], &lower));
        opener[i] = opener_of(lower, sides[i], id[i], id[!i]);
        /* A length that grew leaves both waiting for each other. */
        if (m->at != SIZE_MAX)
            opener[i].deadline = dhole__deadline_in(1000);
        opener_start(&opener[i]);
    }
    for (int i = 0; i < 2; i++) {
        opener_join(&opener[i]);
        ok &= opener[i].err == DHOLE_OK;
        dhole__conn_close(opener[i].tls);
    }
    pthread_join(thread, NULL);
    return ok;
}

/* Every 7th byte, to be done in time. Left out are the version that the first record claims, which
 * TLS 1.3 ignores, and the last 60 bytes, which come after the handshake: the server's byte and the
 * farewell. */
TEST_LIMIT(a_changed_handshake_fails, 120)
{
    dhole_identity *id[2] = {identity(), identity()};

    signal(SIGPIPE, SIG_IGN);
    for (int source = 0; source < 2; source++) {
        struct meddler m = {.source = source, .at = SIZE_MAX};
        size_t total;
        ASSERT(open_through(&m, id));
        total = m.seen;
        for (size_t at = 3; at + 60 < total; at += 7) {
            m = (struct meddler){.source = source, .at = at};
            ASSERT_MSG(!open_through(&m, id), "byte %zu of side %d", at, source);
        }
    }
    for (int i = 0; i < 2; i++)
        dhole_identity_free(id[i]);
}

static atomic_int allocations_left = INT_MAX;

static void *failing_calloc(size_t count, size_t size)
{
    return atomic_fetch_sub(&allocations_left, 1) > 0 ? calloc(count, size) : NULL;
}

static void *failing_malloc(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return atomic_fetch_sub(&allocations_left, 1) > 0 ? malloc(size) : NULL;
}

static void *failing_realloc(void *p, size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return atomic_fetch_sub(&allocations_left, 1) > 0 ? realloc(p, size) : NULL;
}

static void plain_free(void *p, const char *file, int line)
{
    (void)file, (void)line;
    free(p);
}

/* Ours and OpenSSL's, on either side: an error, no leak and no wait, wherever memory ends. */
TEST_LIMIT(a_handshake_without_memory_ends, 240)
{
    struct dhole__conn *tls[2];
    dhole_identity *id[2];
    int failures = 0;
    bool open = false;

    ASSERT(CRYPTO_set_mem_functions(failing_malloc, failing_realloc, plain_free));
    dhole__sys.calloc = failing_calloc;
    open_tls(tls); /* what OpenSSL sets up once fails for good when it fails */
    close_both(tls);
    id[0] = identity();
    id[1] = identity();
    for (int budget = 0; !open && budget < 100000; budget += 1 + budget / 200) {
        struct dhole__conn *lower[2];
        struct opener opener[2];
        atomic_store(&allocations_left, INT_MAX);
        ASSERT_OK(dhole__mem_pair(lower));
        for (int i = 0; i < 2; i++)
            opener[i] = opener_of(lower[i], sides[i], id[i], id[!i]);
        atomic_store(&allocations_left, budget);
        for (int i = 0; i < 2; i++)
            opener_start(&opener[i]);
        open = true;
        for (int i = 0; i < 2; i++) {
            opener_join(&opener[i]);
            open &= opener[i].err == DHOLE_OK;
            ASSERT(opener[i].err != DHOLE_ERR_TIMEOUT);
            failures += opener[i].err != DHOLE_OK;
        }
        for (int i = 0; i < 2; i++)
            dhole__conn_close(opener[i].tls);
    }
    ASSERT(open && failures > 50);
    atomic_store(&allocations_left, INT_MAX);
    for (int i = 0; i < 2; i++)
        dhole_identity_free(id[i]);
}
