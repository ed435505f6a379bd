#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/os.h"
#include "base/sys.h"
#include "cli/bench_wire.h"
#include "seal/identity.h"
#include "seal/ossl.h"
#include "transport/io.h"
#include "transport/tcp/tcp.h"

enum {
    look_ms = 100,        /* how often a call that blocks looks whether to give up */
    read_ahead = 64 << 10 /* of 16 to 256 KiB, what is fastest */
};

struct tls_wire {
    struct dhole__wire base;
    int fd, cancel_fd;
    SSL *ssl;
};

/* Whether to try again after a call that gave `result`. */
static dhole_err again(const struct tls_wire *wire, int result, dhole__deadline deadline)
{
    int why = SSL_get_error(wire->ssl, result);

    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
        return dhole__fail_ossl(DHOLE_ERR_PEER_LOST, "the TLS connection ended");
    if (dhole__now() >= deadline)
        return dhole__fail(DHOLE_ERR_TIMEOUT, "nothing moved over TLS for %d s",
                           dhole__wire_timeout_ms / 1000);
    return dhole__io_check_cancelled(wire->cancel_fd);
}

static dhole_err tls_send(struct dhole__wire *base, const void *data, size_t size)
{
    const struct tls_wire *wire = (struct tls_wire *)base;
    dhole__deadline deadline = dhole__deadline_in(dhole__wire_timeout_ms);
    int n;

    while ((n = SSL_write(wire->ssl, data, (int)size)) <= 0) {
        dhole_err err = again(wire, n, deadline);
        if (err)
            return err;
    }
    return DHOLE_OK;
}

static dhole_err tls_recv(struct dhole__wire *base, void *data, size_t size)
{
    const struct tls_wire *wire = (struct tls_wire *)base;
    dhole__deadline deadline = dhole__deadline_in(dhole__wire_timeout_ms);
    uint8_t *at = data, *end = at + size;

    while (at < end) {
        int n = SSL_read(wire->ssl, at, (int)(end - at));
        dhole_err err = n > 0 ? DHOLE_OK : again(wire, n, deadline);
        if (err)
            return err;
        at += n > 0 ? n : 0;
    }
    return DHOLE_OK;
}

static void tls_close(struct dhole__wire *base)
{
    struct tls_wire *wire = (struct tls_wire *)base;

    SSL_free(wire->ssl);
    close(wire->fd);
    free(wire);
}

static const struct dhole__wire_ops tls_ops = {tls_send, tls_recv, tls_close};

static SSL *make_ssl(const dhole_identity *identity, int fd)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    SSL *ssl = NULL;

    if (ctx != NULL && SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 &&
        SSL_CTX_set_ciphersuites(ctx, "TLS_AES_256_GCM_SHA384") == 1 &&
        SSL_CTX_use_certificate(ctx, identity->certificate) == 1 &&
        SSL_CTX_use_PrivateKey(ctx, identity->key) == 1 && SSL_CTX_set_num_tickets(ctx, 0) == 1) {
        SSL_CTX_set_read_ahead(ctx, 1);
        SSL_CTX_set_default_read_buffer_len(ctx, read_ahead);
        ssl = SSL_new(ctx);
    }
    SSL_CTX_free(ctx);
    if (ssl != NULL && SSL_set_fd(ssl, fd) != 1) {
        SSL_free(ssl);
        ssl = NULL;
    }
    return ssl;
}

/* Blocking, else as the connections that it is compared with. */
static bool set_options(int fd)
{
    const struct timeval look = {.tv_usec = 1000 * look_ms};
    int on = 1;

    dhole__socket_on_host(fd);
    return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
           fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) == 0 &&
           setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &look, sizeof look) == 0 &&
           setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &look, sizeof look) == 0;
}

static dhole_err shake_hands(const struct tls_wire *wire, bool server)
{
    dhole__deadline deadline = dhole__deadline_in(dhole__wire_timeout_ms);
    int n;

    while ((n = server ? SSL_accept(wire->ssl) : SSL_connect(wire->ssl)) != 1) {
        dhole_err err = again(wire, n, deadline);
        if (err)
            return err;
    }
    return DHOLE_OK;
}

dhole_err dhole__wire_tls(int fd, int cancel_fd, const dhole_identity *identity, bool server,
                          struct dhole__wire **out)
{
    struct tls_wire *wire = dhole__sys.malloc(sizeof *wire);
    dhole_err err;

    if (wire == NULL) {
        close(fd);
        return dhole__fail_nomem(sizeof *wire, "a connection of the benchmark");
    }
    *wire = (struct tls_wire){{&tls_ops}, fd, cancel_fd, make_ssl(identity, fd)};
    if (wire->ssl == NULL)
        err = dhole__fail_ossl(DHOLE_ERR_SYSTEM, "cannot make a TLS connection");
    else if (!set_options(fd))
        err = dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot set options of a socket");
    else
        err = shake_hands(wire, server);
    if (err)
        tls_close(&wire->base);
    else
        *out = &wire->base;
    return err;
}
