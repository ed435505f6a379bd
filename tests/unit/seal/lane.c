/* Lanes: every byte arrives, and nothing else does. */
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/sys.h"
#include "fixture.h"
#include "seal/record.h"

enum { client, server };

static const uint8_t secret_a[dhole__lane_key_size] = {1, 2, 3},
                     secret_b[dhole__lane_key_size] = {4};

static struct dhole__conn *lane_over(struct dhole__conn *lower, int side)
{
    struct dhole__conn *lane;

    if (side == client)
        ASSERT_OK(dhole__lane_open_keyed(lower, secret_a, secret_b, &lane));
    else
        ASSERT_OK(dhole__lane_open_keyed(lower, secret_b, secret_a, &lane));
    return lane;
}

static void send_all(struct dhole__conn *conn, const void *data, size_t length)
{
    struct iovec iov = {(void *)data, length};
    size_t moved;

    ASSERT_OK(dhole__conn_send(conn, &iov, 1, &moved));
    ASSERT_EQ(moved, length);
}

static dhole_err recv_some(struct dhole__conn *conn, void *data, size_t length, size_t *moved)
{
    struct iovec iov = {data, length};

    return dhole__conn_recv(conn, &iov, 1, moved);
}

static const size_t sizes[] = {1,
                               2,
                               15,
                               16,
                               17,
                               31,
                               100,
                               4608,
                               16384,
                               65535,
                               65536,
                               65537,
                               262143,
                               262144,
                               262145,
                               300000,
                               524288,
                               524289,
                               (1 << 20) + 3,
                               3,
                               262144 * 3 + 1};

enum { size_count = sizeof sizes / sizeof sizes[0], size_max = 1 << 21 };

/* Sends every size one way while every size, in reverse, comes the other way. */
static void exchange(struct dhole__conn *lane, int side)
{
    uint8_t *out = malloc(size_max), *in = malloc(size_max), *want = malloc(size_max);

    for (int i = 0; i < size_count; i++) {
        size_t out_size = sizes[side == client ? i : size_count - 1 - i];
        size_t in_size = sizes[side == client ? size_count - 1 - i : i];
        size_t out_head = out_size / 3, in_head = in_size / 2;

        fill(out, out_size, (unsigned)(2 * i + side));
        fill(want, in_size, (unsigned)(2 * i + !side));
        struct dhole__io io[] = {
            dhole__io_send(lane, out, out_head, out + out_head, out_size - out_head),
            dhole__io_recv(lane, in, in_head, in + in_head, in_size - in_head),
        };
        ASSERT_OK(dhole__io_run(io, 2, soon()));
        ASSERT_MSG(memcmp(in, want, in_size) == 0, "%zu bytes differ", in_size);
    }
    free(out);
    free(in);
    free(want);
}

static void *exchange_as_server(void *lane)
{
    exchange(lane, server);
    return NULL;
}

static void exchange_over(size_t most)
{
    struct dhole__conn *end[2];
    pthread_t thread;

    ASSERT_OK(dhole__mem_pair(end));
    for (int i = 0; i < 2; i++)
        end[i] = lane_over(most > 0 ? choppy_new(end[i], most, (unsigned)i, NULL) : end[i], i);
    ASSERT(pthread_create(&thread, NULL, exchange_as_server, end[server]) == 0);
    exchange(end[client], client);
    pthread_join(thread, NULL);
    close_both(end);
}

TEST(sizes_both_ways_at_once)
{
    exchange_over(0);
}

TEST(sizes_over_cut_io)
{
    exchange_over(5000);
}

TEST(small_sizes_over_single_bytes)
{
    struct dhole__conn *end[2];
    uint8_t out[300], in[300];

    ASSERT_OK(dhole__mem_pair(end));
    for (int i = 0; i < 2; i++)
        end[i] = lane_over(choppy_new(end[i], 1, (unsigned)i, NULL), i);
    for (size_t size = 1; size <= sizeof out; size += 23) {
        fill(out, size, size);
        struct dhole__io io[] = {dhole__io_send(end[0], out, size, NULL, 0),
                                 dhole__io_recv(end[1], in, size, NULL, 0)};
        ASSERT_OK(dhole__io_run(io, 2, soon()));
        ASSERT(memcmp(in, out, size) == 0);
    }
    close_both(end);
}

TEST(header_and_payload_are_one_record_and_one_call)
{
    struct tape *tape = tape_new();
    struct dhole__conn *lane = lane_over(&tape->conn, client);
    uint8_t head[32] = {1}, body[4608] = {2}, got[sizeof head + sizeof body];
    struct iovec iov[] = {{head, sizeof head}, {NULL, 0}, {body, sizeof body}};
    struct dhole__conn *other;
    size_t moved;

    ASSERT_OK(dhole__conn_send(lane, iov, 3, &moved));
    ASSERT_EQ(moved, sizeof head + sizeof body);
    ASSERT_EQ(tape->sends, 1);
    ASSERT_EQ(tape->length, sizeof head + sizeof body + 24);
    ASSERT_EQ(lane->sent, sizeof head + sizeof body);
    ASSERT_EQ(tape->conn.sent, tape->length);

    struct tape *back = tape_new();
    tape_put(back, tape->data, tape->length);
    other = lane_over(&back->conn, server);
    ASSERT_OK(recv_some(other, got, sizeof got, &moved));
    ASSERT_EQ(moved, sizeof got);
    ASSERT_EQ(back->recvs, 1);
    ASSERT(memcmp(got, head, sizeof head) == 0 && got[sizeof head] == 2);
    dhole__conn_close(other);
    dhole__conn_close(lane);
}

/* So that who takes the header first has the rest opened into its place. */
TEST(the_header_of_a_long_message_is_a_record_of_its_own_in_the_same_call)
{
    enum { head_size = 40, body_size = dhole__lane_record_max };
    struct tape *tape = tape_new(), *back = tape_new();
    struct dhole__conn *lane = lane_over(&tape->conn, client);
    struct dhole__conn *other = lane_over(&back->conn, server);
    uint8_t head[head_size], got_head[head_size];
    uint8_t *body = malloc(body_size), *got_body = malloc(body_size);
    struct iovec iov[] = {{head, head_size}, {body, body_size}};
    size_t moved, first = head_size + dhole__record_extra;

    fill(head, head_size, 1);
    fill(body, body_size, 2);
    ASSERT_OK(dhole__conn_send(lane, iov, 2, &moved));
    ASSERT_EQ(moved, head_size + body_size);
    ASSERT_EQ(tape->sends, 1);
    ASSERT_EQ(tape->length, first + body_size + dhole__record_extra);
    ASSERT_EQ(dhole__record_size(tape->data), first);
    ASSERT_EQ(dhole__record_size(tape->data + first), body_size + dhole__record_extra);

    tape_put(back, tape->data, tape->length);
    ASSERT_OK(recv_some(other, got_head, head_size, &moved));
    ASSERT_EQ(moved, head_size);
    ASSERT_OK(recv_some(other, got_body, body_size, &moved));
    ASSERT_EQ(moved, body_size);
    ASSERT(memcmp(got_head, head, head_size) == 0 && memcmp(got_body, body, body_size) == 0);
    free(body);
    free(got_body);
    dhole__conn_close(other);
    dhole__conn_close(lane);
}

/* Both records count as one: neither half is owned up to before the other has gone. */
TEST(a_long_message_that_is_cut_anywhere_goes_on)
{
    enum { head_size = 8, body_size = 70000, whole = head_size + body_size };
    struct tape *tape = tape_new(), *back = tape_new();
    struct dhole__conn *lane = lane_over(&tape->conn, client);
    struct dhole__conn *other = lane_over(&back->conn, server);
    uint8_t *data = malloc(whole), *got = malloc(whole);
    struct iovec iov[] = {{data, head_size}, {data + head_size, body_size}};
    size_t moved = 0;

    fill(data, whole, 3);
    for (int i = 0; moved == 0; i++) {
        ASSERT(i < 100);
        tape->quota = 20 + 1000 * (size_t)i;
        ASSERT_OK(dhole__conn_send(lane, iov, 2, &moved));
    }
    ASSERT_EQ(moved, whole);
    tape_put(back, tape->data, tape->length);
    ASSERT_OK(recv_some(other, got, whole, &moved));
    ASSERT_EQ(moved, whole);
    ASSERT(memcmp(got, data, whole) == 0);
    free(data);
    free(got);
    dhole__conn_close(other);
    dhole__conn_close(lane);
}

TEST(bytes_have_moved_when_their_record_has_gone)
{
    struct tape *tape = tape_new();
    struct dhole__conn *lane = lane_over(&tape->conn, client);
    uint8_t data[1000] = {7};
    struct iovec iov = {data, sizeof data};
    size_t moved;

    for (size_t went = 0; went < 1023; went += 93) {
        tape->quota = 93;
        ASSERT_OK(dhole__conn_send(lane, &iov, 1, &moved));
        ASSERT_EQ(moved, 0);
    }
    tape->quota = 1;
    ASSERT_OK(dhole__conn_send(lane, &iov, 1, &moved));
    ASSERT_EQ(moved, 1000);
    ASSERT_EQ(tape->length, 1024);
    dhole__conn_close(lane);
}

TEST(fewer_bytes_than_are_on_their_way_are_refused)
{
    struct tape *tape = tape_new();
    struct dhole__conn *lane = lane_over(&tape->conn, client);
    uint8_t data[1000] = {7};
    struct iovec iov = {data, sizeof data};
    size_t moved;

    tape->quota = 10;
    ASSERT_OK(dhole__conn_send(lane, &iov, 1, &moved));
    iov.iov_len = 999;
    ASSERT_ERR(dhole__conn_send(lane, &iov, 1, &moved), DHOLE_ERR_INVALID);
    dhole__conn_close(lane);
}

TEST(arm_says_no_while_bytes_are_held)
{
    struct tape *tape = tape_new(), *back = tape_new();
    struct dhole__conn *lane = lane_over(&tape->conn, client);
    struct dhole__conn *other = lane_over(&back->conn, server);
    uint8_t data[64] = {9}, got[64];
    struct pollfd pfd;
    size_t moved;

    send_all(lane, data, 40);
    send_all(lane, data, 24);
    tape_put(back, tape->data, tape->length);
    ASSERT(other->ops->arm(other, false, true, &pfd));
    ASSERT_OK(recv_some(other, got, 30, &moved)); /* inside the first record */
    ASSERT(!other->ops->arm(other, false, true, &pfd));
    ASSERT(other->ops->arm(other, true, false, &pfd));
    ASSERT_OK(recv_some(other, got, 10, &moved)); /* the second is whole in the buffer */
    ASSERT(!other->ops->arm(other, false, true, &pfd));
    ASSERT_OK(recv_some(other, got, 24, &moved));
    ASSERT(other->ops->arm(other, false, true, &pfd));
    dhole__conn_close(lane);
    dhole__conn_close(other);
}

static void *shut_down(void *conn)
{
    struct dhole__conn *lane = conn;

    lane->ops->shutdown(lane);
    return NULL;
}

TEST(shutdown_from_another_thread_ends_a_wait)
{
    struct dhole__conn *end[2];
    pthread_t thread;
    uint8_t byte;

    ASSERT_OK(dhole__mem_pair(end));
    for (int i = 0; i < 2; i++)
        end[i] = lane_over(end[i], i);
    ASSERT(pthread_create(&thread, NULL, shut_down, end[0]) == 0);
    ASSERT_ERR(dhole__io_run_one(dhole__io_recv(end[0], &byte, 1, NULL, 0), soon()),
               DHOLE_ERR_PEER_LOST);
    pthread_join(thread, NULL);
    close_both(end);
}

/* A small session: four records, of which the first has one byte. */
enum { record_count = 4 };

struct session {
    uint8_t plain[600];
    size_t plain_length;
    uint8_t wire[800];
    size_t at[record_count + 1]; /* where each record begins, and the end */
};

static const size_t lengths[record_count] = {1, 200, 33, 300};

static struct session capture(void)
{
    struct tape *tape = tape_new();
    struct dhole__conn *lane = lane_over(&tape->conn, client);
    struct session s = {0};

    fill(s.plain, sizeof s.plain, 42);
    for (int i = 0; i < record_count; i++) {
        send_all(lane, s.plain + s.plain_length, lengths[i]);
        s.plain_length += lengths[i];
        s.at[i + 1] = tape->length;
    }
    memcpy(s.wire, tape->data, tape->length);
    dhole__conn_close(lane);
    return s;
}

/* Plays `length` bytes to a receiver that asks for `chunk` bytes at a time, and checks that it gets
 * the first `honest` records, then err for good, and not a byte more. */
static void play(const struct session *s, const uint8_t *wire, size_t length, size_t chunk,
                 int honest, dhole_err expected)
{
    struct tape *tape = tape_new();
    struct dhole__conn *lane = lane_over(&tape->conn, server);
    uint8_t got[2000] = {0}, zero[2000] = {0};
    struct iovec any = {zero, 1};
    size_t total = 0, want = 0, moved;
    dhole_err err;

    for (int i = 0; i < honest; i++)
        want += lengths[i];
    tape_put(tape, wire, length);
    do {
        ASSERT(total + chunk <= sizeof got);
        err = recv_some(lane, got + total, chunk, &moved);
        total += moved;
    } while (!err);
    ASSERT_ERR(err, expected);
    ASSERT_EQ(total, want);
    ASSERT(memcmp(got, s->plain, want) == 0);
    ASSERT(memcmp(got + want, zero, sizeof got - want) == 0);
    ASSERT_ERR(recv_some(lane, got, chunk, &moved), expected);
    ASSERT_EQ(moved, 0);
    if (expected == DHOLE_ERR_AUTH)
        ASSERT_ERR(dhole__conn_send(lane, &any, 1, &moved), DHOLE_ERR_AUTH);
    dhole__conn_close(lane);
}

/* With room for whole records, for parts of them, and for many. */
static void play_all(const struct session *s, const uint8_t *wire, size_t length, int honest,
                     dhole_err expected)
{
    play(s, wire, length, 700, honest, expected);
    play(s, wire, length, 64, honest, expected);
    play(s, wire, length, 1, honest, expected);
}

TEST(honest_session_arrives)
{
    struct session s = capture();

    play_all(&s, s.wire, s.at[record_count], record_count, DHOLE_ERR_PEER_LOST);
}

/* A length that grew makes the receiver wait for more, and the end of the stream comes first. */
TEST(every_flipped_bit_is_refused)
{
    struct session s = capture();
    int record = 0;

    for (size_t i = 0; i < s.at[record_count]; i++) {
        record += i == s.at[record + 1];
        for (int bit = 0; bit < 8; bit++) {
            size_t header_at = s.at[record];
            dhole_err expected = DHOLE_ERR_AUTH;
            s.wire[i] ^= (uint8_t)(1 << bit);
            if (i < header_at + 4) {
                size_t size = dhole__record_size(s.wire + header_at);
                if (size > s.at[record_count] - header_at)
                    expected = DHOLE_ERR_PEER_LOST;
            }
            play_all(&s, s.wire, s.at[record_count], record, expected);
            s.wire[i] ^= (uint8_t)(1 << bit);
        }
    }
}

/* Plays the records in this order; `honest` of them are right. */
static void play_order(const int *order, int count, int honest)
{
    struct session s = capture();
    uint8_t wire[2000];
    size_t length = 0;

    for (int i = 0; i < count; i++) {
        size_t size = s.at[order[i] + 1] - s.at[order[i]];
        memcpy(wire + length, s.wire + s.at[order[i]], size);
        length += size;
    }
    play_all(&s, wire, length, honest, DHOLE_ERR_AUTH);
}

TEST(replayed_reordered_and_dropped_records_are_refused)
{
    play_order((int[]){0, 0, 1, 2, 3}, 5, 1);
    play_order((int[]){0, 1, 2, 3, 0}, 5, 4);
    play_order((int[]){0, 1, 2, 3, 3}, 5, 4);
    play_order((int[]){1, 0, 2, 3}, 4, 0);
    play_order((int[]){0, 1, 3, 2}, 4, 2);
    play_order((int[]){1, 2, 3}, 3, 0);
    play_order((int[]){0, 2, 3}, 3, 1);
    play_order((int[]){0, 1, 3}, 3, 2);
}

TEST(a_cut_stream_is_a_lost_peer_and_no_data)
{
    struct session s = capture();
    int whole = 0;

    for (size_t length = 0; length < s.at[record_count]; length++) {
        whole += length == s.at[whole + 1];
        play_all(&s, s.wire, length, whole, DHOLE_ERR_PEER_LOST);
    }
}

TEST(bytes_cut_out_of_the_middle_are_refused)
{
    struct session s = capture();

    for (size_t hole = s.at[1] + 8; hole < s.at[2]; hole++) {
        uint8_t wire[sizeof s.wire];
        memcpy(wire, s.wire, hole);
        memcpy(wire + hole, s.wire + hole + 1, s.at[record_count] - hole - 1);
        play_all(&s, wire, s.at[record_count] - 1, 1, DHOLE_ERR_AUTH);
    }
}

TEST(impossible_headers_are_refused)
{
    static const uint8_t headers[][8] = {
        {0, 0, 0, 0, 1},                /* no bytes */
        {1, 0, 4, 0, 1},                /* 256 KiB and one */
        {255, 255, 255, 255, 1},        /* 4 GiB */
        {16, 0, 0, 0, 0},               /* no type */
        {16, 0, 0, 0, 2},               /* another type */
        {16, 0, 0, 0, 1, 1},            /* reserved bytes */
        {16, 0, 0, 0, 1, 0, 1},         /* */
        {16, 0, 0, 0, 1, 0, 0, 1},      /* */
        {'G', 'E', 'T', ' ', '/', ' '}, /* a guest */
    };
    struct session s = capture();
    uint8_t wire[64] = {0};

    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        memcpy(wire, headers[i], 8);
        play_all(&s, wire, sizeof wire, 0, DHOLE_ERR_AUTH);
        play_all(&s, wire, 8, 0, DHOLE_ERR_AUTH);
    }
}

TEST(a_record_is_bound_to_its_direction)
{
    struct session s = capture();
    struct tape *tape = tape_new();
    struct dhole__conn *lane = lane_over(&tape->conn, client);
    uint8_t got[600];
    size_t moved;

    tape_put(tape, s.wire, s.at[record_count]);
    ASSERT_ERR(recv_some(lane, got, sizeof got, &moved), DHOLE_ERR_AUTH);
    dhole__conn_close(lane);
}

TEST(a_pattern_never_shows_on_the_wire)
{
    enum { size = 700000 };
    struct tape *tape = tape_new();
    struct dhole__conn *lane = lane_over(&tape->conn, client);
    uint8_t *data = malloc(size);

    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t) "activation!"[i % 11];
    send_all(lane, data, size);
    send_all(lane, data, 40);
    ASSERT(memmem(tape->data, tape->length, "activ", 5) == NULL);
    ASSERT(memmem(tape->data, tape->length, "ation!", 6) == NULL);
    free(data);
    dhole__conn_close(lane);
}

/* HKDF-Expand to 64 bytes by hand, as docs/protocol.md writes it down. */
static void expand(const uint8_t secret[32], uint8_t out[64])
{
    uint8_t block[32 + 10 + 1];
    unsigned length;

    memcpy(block, "dhole lane\1", 11);
    ASSERT(HMAC(EVP_sha256(), secret, 32, block, 11, out, &length));
    memcpy(block, out, 32);
    memcpy(block + 32, "dhole lane\2", 11);
    ASSERT(HMAC(EVP_sha256(), secret, 32, block, 43, out + 32, &length));
}

static void check_record(const uint8_t key[32], uint64_t number, const uint8_t *record,
                         const uint8_t *plain, size_t length)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint8_t nonce[12] = {0}, *sealed = malloc(length + 16);
    int n;

    for (int i = 0; i < 8; i++)
        nonce[11 - i] = (uint8_t)(number >> 8 * i);
    ASSERT(EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce));
    ASSERT(EVP_EncryptUpdate(ctx, NULL, &n, record, 8));
    ASSERT(EVP_EncryptUpdate(ctx, sealed, &n, plain, (int)length));
    ASSERT(EVP_EncryptFinal_ex(ctx, sealed + length, &n));
    ASSERT(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, 16, sealed + length));
    ASSERT(memcmp(record + 8, sealed, length + 16) == 0);
    EVP_CIPHER_CTX_free(ctx);
    free(sealed);
}

TEST(records_are_what_the_protocol_says)
{
    static const uint8_t header[8] = {0x03, 0x01, 0, 0, 1, 0, 0, 0}; /* 259 bytes */
    struct tape *tape = tape_new();
    struct dhole__conn *lane = lane_over(&tape->conn, client);
    uint8_t plain[259], secret[32], pair[64];

    memcpy(secret, secret_a, 32);
    fill(plain, sizeof plain, 5);
    dhole__lane_rekey_every(lane, 3);
    for (uint64_t number = 0; number < 10; number++) {
        if (number % 3 == 0) {
            expand(secret, pair);
            memcpy(secret, pair, 32);
        }
        tape->length = 0;
        send_all(lane, plain, sizeof plain);
        ASSERT_EQ(tape->length, sizeof plain + 24);
        ASSERT(memcmp(tape->data, header, 8) == 0);
        check_record(pair + 32, number, tape->data, plain, sizeof plain);
    }
    dhole__conn_close(lane);
}

TEST(key_updates_are_crossed)
{
    struct dhole__conn *end[2];
    uint8_t out[100], in[100];

    ASSERT_OK(dhole__mem_pair(end));
    for (int i = 0; i < 2; i++) {
        end[i] = lane_over(end[i], i);
        dhole__lane_rekey_every(end[i], 2);
    }
    for (int i = 0; i < 50; i++) {
        int from = i % 3 == 0;
        fill(out, sizeof out, (unsigned)i);
        ASSERT_OK(dhole__io_run_one(dhole__io_send(end[from], out, sizeof out, NULL, 0), soon()));
        ASSERT_OK(dhole__io_run_one(dhole__io_recv(end[!from], in, sizeof in, NULL, 0), soon()));
        ASSERT(memcmp(in, out, sizeof in) == 0);
    }
    close_both(end);
}

TEST(a_side_that_skips_a_key_update_is_refused)
{
    struct dhole__conn *end[2];
    uint8_t byte = 0;

    ASSERT_OK(dhole__mem_pair(end));
    for (int i = 0; i < 2; i++)
        end[i] = lane_over(end[i], i);
    dhole__lane_rekey_every(end[0], 2);
    for (int i = 0; i < 3; i++)
        send_all(end[0], &byte, 1);
    for (int i = 0; i < 2; i++)
        ASSERT_OK(dhole__io_run_one(dhole__io_recv(end[1], &byte, 1, NULL, 0), soon()));
    ASSERT_ERR(dhole__io_run_one(dhole__io_recv(end[1], &byte, 1, NULL, 0), soon()),
               DHOLE_ERR_AUTH);
    ASSERT_CONTAINS(dhole_error_message(), "record 2");
    close_both(end);
}

/* The first record of each lane and direction of one pair, all of the same plaintext: no two are
 * alike, so no two keys are. */
TEST(lanes_and_directions_have_keys_of_their_own)
{
    enum { lanes = 3, size = 64 + 24 };
    struct dhole__conn *tls[2], *lane;
    uint8_t plain[64] = {0}, wire[2 * lanes][size];

    open_tls(tls);
    for (int i = 0; i < 2 * lanes; i++) {
        enum dhole__seal_side side = i % 2 == 0 ? DHOLE__SEAL_CLIENT : DHOLE__SEAL_SERVER;
        struct tape *tape = tape_new();
        size_t moved;
        ASSERT_OK(dhole__lane_open(&tape->conn, tls[i % 2], side, (uint32_t)i / 2, &lane));
        if (side == DHOLE__SEAL_SERVER) { /* hears the client first */
            tape_put(tape, wire[i - 1], size);
            ASSERT_OK(recv_some(lane, plain, sizeof plain, &moved));
            tape->length = 0;
        }
        send_all(lane, plain, sizeof plain);
        ASSERT_EQ(tape->length, size);
        memcpy(wire[i], tape->data, size);
        dhole__conn_close(lane);
    }
    for (int i = 0; i < 2 * lanes; i++)
        for (int j = 0; j < i; j++)
            for (int at = 8; at + 8 <= size; at++)
                ASSERT(memcmp(wire[i] + at, wire[j] + at, 8) != 0);
    close_both(tls);
}

TEST(lanes_of_a_pair_talk)
{
    struct dhole__conn *tls[2], *lower[2], *lane[2];
    uint8_t out[1000], in[1000];

    open_tls(tls);
    ASSERT_OK(dhole__mem_pair(lower));
    ASSERT_OK(dhole__lane_open(lower[0], tls[0], DHOLE__SEAL_CLIENT, 5, &lane[0]));
    ASSERT_OK(dhole__lane_open(lower[1], tls[1], DHOLE__SEAL_SERVER, 5, &lane[1]));
    close_both(tls); /* a lane does not need it any more */
    for (int i = 0; i < 6; i++) {
        fill(out, sizeof out, (unsigned)i);
        ASSERT_OK(dhole__io_run_one(dhole__io_send(lane[i % 2], out, sizeof out, NULL, 0), soon()));
        ASSERT_OK(
            dhole__io_run_one(dhole__io_recv(lane[!(i % 2)], in, sizeof in, NULL, 0), soon()));
        ASSERT(memcmp(in, out, sizeof in) == 0);
    }
    close_both(lane);
}

TEST(a_lane_number_is_used_once)
{
    struct dhole__conn *tls[2], *lane, *second;
    struct tape *tape = tape_new(), *spare = tape_new();

    open_tls(tls);
    ASSERT_OK(dhole__lane_open(&tape->conn, tls[0], DHOLE__SEAL_CLIENT, 7, &lane));
    ASSERT_ERR(dhole__lane_open(&spare->conn, tls[0], DHOLE__SEAL_CLIENT, 7, &second),
               DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole__lane_open(&spare->conn, tls[0], DHOLE__SEAL_CLIENT, 64, &second),
               DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole__lane_open(&spare->conn, tls[0], DHOLE__SEAL_SERVER, 8, &second),
               DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole__lane_open(&spare->conn, lane, DHOLE__SEAL_CLIENT, 8, &second),
               DHOLE_ERR_INVALID);
    dhole__conn_close(&spare->conn);
    dhole__conn_close(lane);
    close_both(tls);
}

/* A stranger gets no byte sealed, and does not keep the client out. */
TEST(a_stranger_on_a_lane_changes_nothing)
{
    struct dhole__conn *tls[2], *client_lane, *lane;
    struct tape *stranger = tape_new(), *honest = tape_new(), *client_tape = tape_new();
    uint8_t data[100] = {3}, got[100];
    struct iovec iov = {data, sizeof data};
    size_t moved;

    open_tls(tls);
    tape_put(stranger, "let me in, let me in, let me in, let me in", 42);
    ASSERT_OK(dhole__lane_open(&stranger->conn, tls[1], DHOLE__SEAL_SERVER, 0, &lane));
    ASSERT_ERR(dhole__conn_send(lane, &iov, 1, &moved), DHOLE_ERR_INVALID);
    ASSERT_ERR(recv_some(lane, got, sizeof got, &moved), DHOLE_ERR_AUTH);
    ASSERT_EQ(stranger->length, 42);
    dhole__conn_close(lane);

    ASSERT_OK(dhole__lane_open(&client_tape->conn, tls[0], DHOLE__SEAL_CLIENT, 0, &client_lane));
    send_all(client_lane, data, sizeof data);
    tape_put(honest, client_tape->data, client_tape->length);
    ASSERT_OK(dhole__lane_open(&honest->conn, tls[1], DHOLE__SEAL_SERVER, 0, &lane));
    ASSERT_OK(recv_some(lane, got, sizeof got, &moved));
    ASSERT(moved == sizeof got && memcmp(got, data, sizeof got) == 0);
    send_all(lane, data, sizeof data);
    dhole__conn_close(lane);
    dhole__conn_close(client_lane);
    close_both(tls);
}

static int allocations_left;

static void *failing_malloc(size_t size)
{
    return allocations_left-- > 0 ? malloc(size) : NULL;
}

static void *failing_calloc(size_t count, size_t size)
{
    return allocations_left-- > 0 ? calloc(count, size) : NULL;
}

TEST(each_failed_allocation_is_an_error)
{
    struct tape *tape = tape_new();
    struct dhole__conn *lane;
    dhole_err err;
    int failures = 0;

    dhole__sys.malloc = failing_malloc;
    dhole__sys.calloc = failing_calloc;
    for (;; failures++) {
        allocations_left = failures;
        err = dhole__lane_open_keyed(&tape->conn, secret_a, secret_b, &lane);
        if (err == DHOLE_OK)
            break;
        ASSERT_ERR(err, DHOLE_ERR_NOMEM);
    }
    ASSERT_EQ(failures, 3);
    dhole__conn_close(lane);
}
