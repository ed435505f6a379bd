/* The test vectors of docs/protocol-vectors.md, computed by the library. */
#include <ctype.h>

#include "cluster/pairing.h"
#include "link/frame.h"
#include "link/hello.h"
#include "seal/record.h"
#include "test.h"
#include "transport/mem/mem.h"

enum { vector_max = 512 };

struct bytes {
    uint8_t data[vector_max];
    size_t size;
};

static const uint8_t link_token[dhole__link_token_size] = {
    0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f};

/* What stands after `name` at the beginning of a line of the page, without its line breaks. */
static void find(const char *name, char *out, size_t size)
{
    char line[256];
    size_t length = strlen(name);
    bool found = false;
    FILE *page = fopen(DHOLE_VECTORS, "r");

    ASSERT_MSG(page != NULL, "cannot open %s", DHOLE_VECTORS);
    out[0] = '\0';
    while (fgets(line, sizeof line, page) != NULL) {
        bool begins = strncmp(line, name, length) == 0 && line[length] == ' ';
        char *text = line + (begins ? length : 0);
        found = begins || (found && line[0] == ' ');
        if (!found)
            continue;
        text += strspn(text, " ");
        text[strcspn(text, "\n")] = '\0';
        ASSERT(strlen(out) + strlen(text) < size);
        strcat(out, text);
    }
    fclose(page);
    ASSERT_MSG(out[0] != '\0', "%s has no %s", DHOLE_VECTORS, name);
}

static struct bytes vector(const char *name)
{
    char text[2 * vector_max + 1];
    struct bytes bytes = {.size = 0};
    unsigned byte;

    find(name, text, sizeof text);
    for (const char *at = text; *at != '\0'; at += 2) {
        ASSERT(isxdigit((unsigned char)at[0]) && sscanf(at, "%2x", &byte) == 1);
        bytes.data[bytes.size++] = (uint8_t)byte;
    }
    return bytes;
}

static void expect(const char *name, const void *data, size_t size)
{
    struct bytes want = vector(name);

    ASSERT_MSG(size == want.size && memcmp(data, want.data, size) == 0, "%s differs", name);
}

static void expect_preamble(const char *name, unsigned kind, bool has_token)
{
    struct dhole__link_preamble preamble = {.kind = kind}, decoded;
    uint8_t bytes[dhole__link_preamble_size];

    if (has_token)
        memcpy(preamble.token, link_token, sizeof link_token);
    dhole__link_preamble_encode(&preamble, bytes);
    expect(name, bytes, sizeof bytes);
    ASSERT(dhole__link_preamble_decode(bytes, &decoded));
    ASSERT(decoded.kind == kind &&
           memcmp(decoded.token, preamble.token, sizeof preamble.token) == 0);
}

TEST(preambles)
{
    expect_preamble("preamble-control", DHOLE__LINK_CONTROL, false);
    expect_preamble("preamble-messages", DHOLE__LINK_MESSAGES, true);
    expect_preamble("preamble-bulk-1", DHOLE__LINK_BULK + 1, true);
}

/* What a side says goes into ours; nothing comes back, as the other end is not there. */
static void expect_hello(const char *name, const dhole_link_options *options, const uint8_t *token)
{
    struct dhole__link_terms terms = {.options = *options};
    struct dhole__link_hello hello;
    struct dhole__conn *end[2];
    struct bytes want = vector(name);
    bool done;

    ASSERT_OK(dhole__mem_pair(end));
    dhole__link_hello_start(&hello, end[0], &terms, options->lanes, token);
    ASSERT_OK(dhole__link_hello_step(&hello, &done));
    ASSERT(!done);
    struct bytes said = {.size = want.size};
    struct iovec iov = {said.data, sizeof said.data};
    ASSERT_OK(dhole__conn_recv(end[1], &iov, 1, &said.size));
    expect(name, said.data, said.size);
    dhole__conn_close(end[0]);
    dhole__conn_close(end[1]);
}

TEST(hellos)
{
    dhole_link_options client = {
        .session = "demo", .agreement = "model 7", .rank = 1, .size = 2, .lanes = 2};
    dhole_link_options server = {.session = "demo", .agreement = "model 7", .rank = 0, .size = 2};

    client.message_max = 1 << 20;
    server.message_max = 256 << 20;
    expect_hello("hello-client", &client, NULL);
    expect_hello("hello-server", &server, link_token);
}

static void expect_record(struct dhole__record_key *key, const char *name, const void *text,
                          size_t size)
{
    uint8_t record[vector_max];
    struct iovec iov = {(void *)text, size};

    ASSERT_OK(dhole__record_seal(key, (struct dhole__walk){&iov, 1, 0}, size, record));
    expect(name, record, size + dhole__record_extra);
}

TEST(records)
{
    struct bytes secret = vector("lane-0-client"), message = vector("message");
    struct dhole__record_key key;

    ASSERT_OK(dhole__record_key_init(&key, true, secret.data));
    expect("next-secret", key.secret, sizeof key.secret);
    expect_record(&key, "record-0", dhole__link_proof, dhole__link_proof_size);
    expect_record(&key, "record-1", message.data, message.size);
    key.number = dhole__record_rekey - 1;
    expect_record(&key, "record-262143", "last", 4);
    expect_record(&key, "record-262144", "first", 5);
    dhole__record_key_free(&key);
}

/* The same records on a lane, as a peer sends them. */
TEST(records_on_a_lane)
{
    struct bytes secret = vector("lane-0-client"), other = vector("lane-0-server");
    struct bytes message = vector("message"), record[] = {vector("record-0"), vector("record-1")};
    struct dhole__conn *end[2], *lane;
    uint8_t text[dhole__link_proof_size + vector_max];
    struct iovec all = {text, dhole__link_proof_size + message.size};
    size_t moved;

    ASSERT_OK(dhole__mem_pair(end));
    ASSERT_OK(dhole__lane_open_keyed(end[0], other.data, secret.data, &lane));
    for (int i = 0; i < 2; i++) {
        struct iovec iov = {record[i].data, record[i].size};
        ASSERT_OK(dhole__conn_send(end[1], &iov, 1, &moved));
        ASSERT_EQ(moved, record[i].size);
    }
    ASSERT_OK(dhole__conn_recv(lane, &all, 1, &moved));
    ASSERT_EQ(moved, all.iov_len);
    ASSERT(memcmp(text, dhole__link_proof, dhole__link_proof_size) == 0);
    ASSERT(memcmp(text + dhole__link_proof_size, message.data, message.size) == 0);
    dhole__conn_close(lane);
    dhole__conn_close(end[1]);
}

TEST(message)
{
    const dhole_message message = {0x01020304, DHOLE_F32, 2, {2, 3}};
    const float elements[] = {1, 2, 3, 4, 5, 6};
    uint8_t bytes[dhole__frame_max + sizeof elements];
    size_t head = dhole__frame_encode(&message, DHOLE_CHANNEL_MESSAGES, 0, bytes);

    memcpy(bytes + head, elements, sizeof elements);
    expect("message", bytes, head + sizeof elements);
}

TEST(refusal)
{
    uint8_t bytes[dhole__frame_head];

    dhole__refusal_encode(DHOLE_CHANNEL_BULK, 300 << 20, 256 << 20, bytes);
    expect("refusal", bytes, sizeof bytes);
}

TEST(pairing)
{
    struct dhole__token token = {.expiry = 1800000000, .count = 2}, decoded;
    uint8_t exporter[32], proofs[2][dhole__pairing_proof_size];
    char text[DHOLE_TOKEN_SIZE], want[DHOLE_TOKEN_SIZE];
    dhole_pin joiner;

    memset(exporter, 0x33, sizeof exporter);
    memset(joiner.bytes, 0x11, sizeof joiner.bytes);
    memset(token.pin.bytes, 0x22, sizeof token.pin.bytes);
    for (int i = 0; i < dhole__token_secret_size; i++)
        token.secret[i] = (uint8_t)i;
    strcpy(token.address[0], "192.0.2.1:7777");
    strcpy(token.address[1], "[2001:db8::1]:7777");
    ASSERT_OK(dhole__pairing_prove(token.secret, exporter, &joiner, &token.pin, proofs));
    expect("pairing-joiner", proofs[DHOLE__PAIRING_JOINER], sizeof proofs[0]);
    expect("pairing-maker", proofs[DHOLE__PAIRING_MAKER], sizeof proofs[0]);
    find("token", want, sizeof want);
    ASSERT_OK(dhole__token_encode(&token, text));
    ASSERT_STR(text, want);
    ASSERT_OK(dhole__token_decode(want, &decoded));
    ASSERT(memcmp(decoded.secret, token.secret, sizeof token.secret) == 0);
}
