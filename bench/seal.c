/* What the seal costs, over TCP on loopback: lanes beside the same connection in the clear, beside
 * TLS for everything, and beside a bare loop of AES-256-GCM records, which is as fast as sealing
 * can be there. The sides take turns, and each line is from one run.
 *
 *     bench_seal [SECONDS]     how long a side's turn lasts, 0.5 by default */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "seal/record.h"
#include "seal/seal.h"
#include "timing.h"
#include "transport/io.h"
#include "transport/tcp/tcp.h"

enum { bulk = dhole__lane_record_max, rounds = 5, latencies_max = 1 << 20 };

static void check(dhole_err err)
{
    if (err == DHOLE_OK)
        return;
    fprintf(stderr, "bench_seal: %s\n", dhole_error_message());
    exit(1);
}

static void socket_pair(int fd[2])
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof addr;
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    if (bind(listener, (struct sockaddr *)&addr, length) || listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&addr, &length))
        exit(1);
    fd[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd[0], (struct sockaddr *)&addr, length))
        exit(1);
    fd[1] = accept(listener, NULL, NULL);
    for (int i = 0; i < 2; i++)
        setsockopt(fd[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    close(listener);
}

struct bare {
    struct dhole__conn conn;
    struct dhole__conn *lower;
    EVP_CIPHER_CTX *cipher[2]; /* sends, receives */
    uint64_t number[2];
    uint8_t *record;
};

static void bare_begin(struct bare *bare, int direction)
{
    uint8_t nonce[12] = {0};

    memcpy(nonce + 4, &bare->number[direction], 8);
    bare->number[direction]++;
    EVP_CipherInit_ex(bare->cipher[direction], NULL, NULL, NULL, nonce, -1);
}

static void bare_send(struct bare *bare, const uint8_t *data, size_t size, dhole__deadline deadline)
{
    EVP_CIPHER_CTX *cipher = bare->cipher[0];
    int n;

    bare_begin(bare, 0);
    EVP_CipherUpdate(cipher, bare->record, &n, data, (int)size);
    EVP_CipherFinal_ex(cipher, bare->record + size, &n);
    EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, 16, bare->record + size);
    check(
        dhole__io_run_one(dhole__io_send(bare->lower, bare->record, size + 16, NULL, 0), deadline));
}

static void bare_recv(struct bare *bare, uint8_t *data, size_t size, dhole__deadline deadline)
{
    EVP_CIPHER_CTX *cipher = bare->cipher[1];
    int n;

    check(
        dhole__io_run_one(dhole__io_recv(bare->lower, bare->record, size + 16, NULL, 0), deadline));
    bare_begin(bare, 1);
    EVP_CipherUpdate(cipher, data, &n, bare->record, (int)size);
    EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_SET_TAG, 16, bare->record + size);
    if (EVP_CipherFinal_ex(cipher, data, &n) != 1)
        exit(1);
}

static struct bare *bare_new(struct dhole__conn *lower)
{
    static const uint8_t key[32] = {1};
    struct bare *bare = calloc(1, sizeof *bare);

    bare->lower = lower;
    bare->record = malloc(bulk + 16);
    for (int i = 0; i < 2; i++) {
        bare->cipher[i] = EVP_CIPHER_CTX_new();
        EVP_CipherInit_ex(bare->cipher[i], EVP_aes_256_gcm(), NULL, key, NULL, i == 0);
    }
    return bare;
}

enum kind { PLAIN, BARE, LANE, TLS, kinds };

static const char *const kind_names[] = {"plain TCP", "bare GCM loop", "lane", "TLS 1.3"};

struct end {
    enum kind kind;
    struct dhole__conn *conn;
    struct bare *bare;
};

struct opening {
    struct dhole__conn *lower, *tls;
    const dhole_identity *identity;
    dhole_pin pin;
};

static void *open_server(void *arg)
{
    struct opening *o = arg;

    check(dhole__tls_open(o->lower, o->identity, &o->pin, DHOLE__SEAL_SERVER,
                          dhole__deadline_in(10000), &o->tls));
    return NULL;
}

static void open_tls(struct dhole__conn *lower[2], struct dhole__conn *tls[2])
{
    struct opening server = {.lower = lower[1]};
    dhole_identity *identity;
    pthread_t thread;

    check(dhole_identity_generate(&identity));
    dhole_identity_pin(identity, &server.pin);
    server.identity = identity;
    pthread_create(&thread, NULL, open_server, &server);
    check(dhole__tls_open(lower[0], identity, &server.pin, DHOLE__SEAL_CLIENT,
                          dhole__deadline_in(10000), &tls[0]));
    pthread_join(thread, NULL);
    tls[1] = server.tls;
    dhole_identity_free(identity);
}

static void open_ends(enum kind kind, struct end end[2])
{
    static const uint8_t secret[2][dhole__lane_key_size] = {{1}, {2}};
    struct dhole__conn *lower[2], *over[2];
    int fd[2];

    socket_pair(fd);
    for (int i = 0; i < 2; i++) {
        check(dhole__tcp_conn_open(fd[i], &lower[i]));
        over[i] = lower[i];
        end[i] = (struct end){.kind = kind};
        if (kind == LANE)
            check(dhole__lane_open_keyed(lower[i], secret[i], secret[!i], &over[i]));
        if (kind == BARE)
            end[i].bare = bare_new(lower[i]);
    }
    if (kind == TLS)
        open_tls(lower, over);
    for (int i = 0; i < 2; i++)
        end[i].conn = over[i];
}

static void send_to(struct end *end, const uint8_t *data, size_t size)
{
    dhole__deadline deadline = dhole__deadline_in(10000);

    if (end->kind == BARE)
        bare_send(end->bare, data, size, deadline);
    else
        check(dhole__io_run_one(dhole__io_send(end->conn, data, size, NULL, 0), deadline));
}

static void recv_from(struct end *end, uint8_t *data, size_t size)
{
    dhole__deadline deadline = dhole__deadline_in(10000);

    if (end->kind == BARE)
        bare_recv(end->bare, data, size, deadline);
    else
        check(dhole__io_run_one(dhole__io_recv(end->conn, data, size, NULL, 0), deadline));
}

struct side {
    struct end *end;
    size_t size;
    int64_t until;
    double seconds;
    size_t messages;
};

/* The first byte of a message says whether another one follows. */
static void *sink(void *arg)
{
    struct side *side = arg;
    uint8_t *data = malloc(side->size);

    do
        recv_from(side->end, data, side->size);
    while (data[0] != 0);
    free(data);
    return NULL;
}

static void *echo(void *arg)
{
    struct side *side = arg;
    uint8_t *data = malloc(side->size);

    do {
        recv_from(side->end, data, side->size);
        send_to(side->end, data, side->size);
    } while (data[0] != 0);
    free(data);
    return NULL;
}

/* Bytes a second, one way. */
static double stream(struct end end[2], size_t size, double seconds)
{
    int64_t start = dhole__now(), until = start + (int64_t)(seconds * 1e9);
    struct side other = {.end = &end[1], .size = size};
    uint8_t *data = calloc(1, size);
    size_t messages = 0;
    pthread_t thread;

    pthread_create(&thread, NULL, sink, &other);
    do {
        data[0] = dhole__now() < until;
        send_to(&end[0], data, size);
        messages++;
    } while (data[0]);
    pthread_join(thread, NULL);
    free(data);
    return (double)(messages * size) / ((double)(dhole__now() - start) / 1e9);
}

/* Half a round trip in microseconds: the median and the 99th percentile. */
static void ping(struct end end[2], size_t size, double seconds, double *p50, double *p99)
{
    int64_t until = dhole__now() + (int64_t)(seconds * 1e9);
    struct side other = {.end = &end[1], .size = size};
    double *us = malloc(latencies_max * sizeof *us);
    uint8_t *data = calloc(1, size);
    size_t n = 0;
    pthread_t thread;

    pthread_create(&thread, NULL, echo, &other);
    do {
        int64_t start = dhole__now();
        data[0] = start < until && n + 1 < latencies_max;
        send_to(&end[0], data, size);
        recv_from(&end[0], data, size);
        us[n++] = (double)(dhole__now() - start) / 2e3;
    } while (data[0]);
    pthread_join(thread, NULL);
    qsort(us, n, sizeof *us, by_value);
    *p50 = us[n / 2];
    *p99 = us[n * 99 / 100];
    free(us);
    free(data);
}

static void bench_stream(struct end ends[kinds][2], double seconds)
{
    double rate[kinds][rounds], mid[kinds];

    for (int round = 0; round < rounds; round++)
        for (int k = 0; k < kinds; k++)
            rate[k][round] = stream(ends[k], bulk, seconds);
    for (int k = 0; k < kinds; k++)
        mid[k] = median(rate[k], rounds);
    printf("\n%-14s %10s %10s\n", "256 KiB", "GB/s", "of bare");
    for (int k = 0; k < kinds; k++)
        printf("%-14s %10.2f %10.2f\n", kind_names[k], mid[k] / 1e9, mid[k] / mid[BARE]);
}

static void bench_ping(struct end ends[kinds][2], size_t size, double seconds)
{
    double p50[kinds][rounds], p99[kinds][rounds], plain = 0;

    for (int round = 0; round < rounds; round++)
        for (int k = 0; k < kinds; k++)
            ping(ends[k], size, seconds, &p50[k][round], &p99[k][round]);
    printf("\n%-14zu %10s %10s %10s\n", size, "p50 us", "p99 us", "over plain");
    for (int k = 0; k < kinds; k++) {
        double mid = median(p50[k], rounds);
        if (k == PLAIN)
            plain = mid;
        printf("%-14s %10.2f %10.2f %10.2f\n", kind_names[k], mid, median(p99[k], rounds),
               mid - plain);
    }
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 0.5;
    struct end ends[kinds][2];

    for (int k = 0; k < kinds; k++)
        open_ends(k, ends[k]);
    printf("%s, TCP on loopback, median of %d turns of %.1f s each\n",
           OpenSSL_version(OPENSSL_VERSION), rounds, seconds);
    bench_stream(ends, seconds);
    bench_ping(ends, 64, seconds);
    bench_ping(ends, 4640, seconds);
    bench_ping(ends, 65536, seconds);
    return 0;
}
