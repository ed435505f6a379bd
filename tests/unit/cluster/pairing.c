/* Pairing: who has the token is taken, once; anybody else is refused, and learns nothing by it. */
#include <pthread.h>
#include <unistd.h>

#include "cluster/own_addresses.h"
#include "cluster/pairing.h"
#include "dhole/cluster.h"
#include "dhole/link.h"
#include "test.h"

enum { valid_s = 50 };

static const char refused[] = "the machine that made the token refused";

static dhole_identity *new_identity(void)
{
    dhole_identity *out;

    ASSERT_OK(dhole_identity_generate(&out));
    return out;
}

/* A machine that pairs, in a thread of its own. */
struct maker {
    dhole_identity *identity;
    dhole_pairing *pairing;
    struct dhole__token token;
    int cancel[2];
    pthread_t thread;
    dhole_err err;
    char why[256];
    dhole_trusted joiner;
};

static void *wait_for_joiner(void *arg)
{
    struct maker *m = arg;

    m->err = dhole_pairing_wait(m->pairing, m->cancel[0], &m->joiner);
    snprintf(m->why, sizeof m->why, "%s", m->err ? dhole_error_message() : "");
    return NULL;
}

static void start(struct maker *m, int64_t seconds)
{
    m->identity = new_identity();
    ASSERT(pipe(m->cancel) == 0);
    ASSERT_OK(dhole_pair(m->identity, "maker", "127.0.0.1:0", seconds, &m->pairing));
    ASSERT_OK(dhole__token_decode(dhole_pairing_token(m->pairing), &m->token));
    ASSERT(pthread_create(&m->thread, NULL, wait_for_joiner, m) == 0);
}

/* How its wait ended. */
static void await(struct maker *m, dhole_err err, const char *why)
{
    ASSERT(pthread_join(m->thread, NULL) == 0);
    ASSERT_MSG(m->err == err, "%s (%s)", dhole_error_name(m->err), m->why);
    ASSERT_CONTAINS(m->why, why);
}

static void release(struct maker *m)
{
    dhole_pairing_free(m->pairing);
    dhole_identity_free(m->identity);
    close(m->cancel[0]);
    close(m->cancel[1]);
}

static void expect(struct maker *m, dhole_err err, const char *why)
{
    await(m, err, why);
    release(m);
}

static void cancel(struct maker *m)
{
    ASSERT(write(m->cancel[1], "", 1) == 1);
    expect(m, DHOLE_ERR_CANCELLED, "cancelled");
}

static dhole_err join_with(const dhole_identity *identity, const char *text, dhole_trusted *out)
{
    return dhole_pair_join(identity, "joiner", "h:1", text, -1, out);
}

static void expect_same_pin(const dhole_identity *identity, const dhole_pin *pin)
{
    dhole_pin own;

    dhole_identity_pin(identity, &own);
    ASSERT(memcmp(&own, pin, sizeof own) == 0);
}

static void join_well(struct maker *m)
{
    dhole_identity *identity = new_identity();
    dhole_trusted maker;

    ASSERT_OK(join_with(identity, dhole_pairing_token(m->pairing), &maker));
    expect_same_pin(m->identity, &maker.pin);
    ASSERT_STR(maker.name, "maker");
    ASSERT_STR(maker.address, "");
    await(m, DHOLE_OK, "");
    expect_same_pin(identity, &m->joiner.pin);
    ASSERT_STR(m->joiner.name, "joiner");
    ASSERT_STR(m->joiner.address, "h:1");
    release(m);
    dhole_identity_free(identity);
}

/* The token with another secret. */
static void wrong_text(const struct maker *m, char text[static DHOLE_TOKEN_SIZE])
{
    struct dhole__token token = m->token;

    token.secret[7] ^= 1;
    ASSERT_OK(dhole__token_encode(&token, text));
}

/* A stranger's link, up, with nothing said on it. */
static dhole_link *visit(const struct maker *m, const dhole_identity *identity)
{
    dhole_link_options options = DHOLE_LINK_OPTIONS_INIT;
    dhole_link *link;

    options.identity = identity;
    options.pin = &m->token.pin;
    options.session = DHOLE__PAIRING_SESSION;
    options.timeout_ms = 20000;
    ASSERT_OK(dhole_link_connect(&options, m->token.address[0], &link));
    return link;
}

TEST(both_learn_who_the_other_is)
{
    struct maker m;

    start(&m, valid_s);
    join_well(&m);
}

/* Threads, descriptors and memory (the latter under AddressSanitizer). */
TEST(nothing_is_left_behind)
{
    struct maker m;
    int threads, descriptors;

    start(&m, valid_s);
    join_well(&m);
    threads = test_threads(); /* and a sanitizer's own */
    descriptors = test_descriptors();
    for (int i = 0; i < 3; i++) {
        start(&m, valid_s);
        join_well(&m);
    }
    ASSERT_EQ(test_descriptors(), descriptors);
    test_await_threads(threads);
}

TEST(a_wildcard_becomes_what_the_maker_sees)
{
    dhole_identity *identity = new_identity();
    dhole_trusted maker;
    struct maker m;

    start(&m, valid_s);
    ASSERT_OK(dhole_pair_join(identity, "joiner", "0.0.0.0:7777", dhole_pairing_token(m.pairing),
                              -1, &maker));
    expect(&m, DHOLE_OK, "");
    ASSERT_STR(m.joiner.address, "127.0.0.1:7777");
    dhole_identity_free(identity);
}

TEST(wildcards_and_mapped_addresses)
{
    char address[DHOLE_ADDRESS_SIZE] = "[::]:7", named[DHOLE_ADDRESS_SIZE] = "h:7";

    dhole__replace_wildcard(named, "10.1.2.3:40000");
    ASSERT_STR(named, "h:7");
    dhole__replace_wildcard(address, "[::ffff:10.1.2.3]:40000");
    ASSERT_STR(address, "10.1.2.3:7");
    strcpy(address, "0.0.0.0:7");
    dhole__replace_wildcard(address, "[fd00::1]:40000");
    ASSERT_STR(address, "[fd00::1]:7");
}

/* The addresses in the token are those at which the maker listens; none is a wildcard. */
TEST(a_wildcard_listener_names_real_addresses)
{
    dhole_identity *identity = new_identity();
    struct dhole__token token;
    dhole_pairing *pairing;
    dhole_err err = dhole_pair(identity, "maker", "0.0.0.0:0", valid_s, &pairing);

    if (err == DHOLE_ERR_CONFIG)
        test_skip("this machine has no address but loopback");
    ASSERT_OK(err);
    ASSERT_OK(dhole__token_decode(dhole_pairing_token(pairing), &token));
    for (int i = 0; i < token.count; i++) {
        ASSERT(!dhole__is_wildcard(token.address[i]));
        ASSERT(strncmp(token.address[i], "127.", 4) != 0);
        ASSERT(strstr(token.address[i], ":0") == NULL);
    }
    dhole_pairing_free(pairing);
    dhole_identity_free(identity);
}

TEST(a_wrong_secret_is_refused_and_a_right_one_then_taken)
{
    dhole_identity *identity = new_identity();
    char text[DHOLE_TOKEN_SIZE];
    dhole_trusted maker;
    struct maker m;

    start(&m, valid_s);
    wrong_text(&m, text);
    ASSERT_ERR(join_with(identity, text, &maker), DHOLE_ERR_AUTH);
    ASSERT_CONTAINS(dhole_error_message(), refused);
    join_well(&m);
    dhole_identity_free(identity);
}

TEST(a_few_wrong_secrets_end_it)
{
    dhole_identity *identity = new_identity();
    char text[DHOLE_TOKEN_SIZE];
    dhole_trusted maker;
    struct maker m;

    start(&m, valid_s);
    wrong_text(&m, text);
    for (int i = 0; i < 5; i++) {
        ASSERT_ERR(join_with(identity, text, &maker), DHOLE_ERR_AUTH);
        ASSERT_CONTAINS(dhole_error_message(), refused);
    }
    await(&m, DHOLE_ERR_AUTH, "5 times");
    ASSERT_ERR(join_with(identity, dhole_pairing_token(m.pairing), &maker), DHOLE_ERR_PEER_LOST);
    ASSERT_ERR(dhole_pairing_wait(m.pairing, -1, &maker), DHOLE_ERR_INVALID);
    release(&m);
    dhole_identity_free(identity);
}

/* Two come at the same moment with the same token. */
struct racer {
    pthread_t thread;
    dhole_identity *identity;
    const char *text;
    dhole_err err;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    dhole_trusted maker;

    r->err = join_with(r->identity, r->text, &maker);
    return NULL;
}

TEST(a_token_is_good_for_one)
{
    enum { racers = 4 };
    struct racer r[racers];
    struct maker m;
    int won = 0;

    start(&m, valid_s);
    for (int i = 0; i < racers; i++) {
        r[i] = (struct racer){.identity = new_identity(), .text = dhole_pairing_token(m.pairing)};
        ASSERT(pthread_create(&r[i].thread, NULL, race, &r[i]) == 0);
    }
    for (int i = 0; i < racers; i++) {
        ASSERT(pthread_join(r[i].thread, NULL) == 0);
        won += r[i].err == DHOLE_OK;
        if (r[i].err)
            ASSERT_MSG(r[i].err == DHOLE_ERR_AUTH || r[i].err == DHOLE_ERR_PEER_LOST, "%s",
                       dhole_error_name(r[i].err));
    }
    ASSERT_EQ(won, 1);
    await(&m, DHOLE_OK, "");
    for (int i = 0; i < racers; i++) {
        if (r[i].err == DHOLE_OK)
            expect_same_pin(r[i].identity, &m.joiner.pin);
        dhole_identity_free(r[i].identity);
    }
    release(&m);
}

TEST(a_token_expires)
{
    dhole_identity *identity = new_identity();
    dhole_trusted maker;
    struct maker m;

    start(&m, 1);
    await(&m, DHOLE_ERR_TIMEOUT, "expired");
    ASSERT_ERR(join_with(identity, dhole_pairing_token(m.pairing), &maker), DHOLE_ERR_TIMEOUT);
    ASSERT_CONTAINS(dhole_error_message(), "expired");
    release(&m);
    dhole_identity_free(identity);
}

/* A joiner whose clock is ahead: the maker's counts. */
TEST(the_makers_clock_decides)
{
    dhole_identity *identity = new_identity();
    struct dhole__token token;
    char text[DHOLE_TOKEN_SIZE];
    dhole_trusted maker;
    struct maker m;

    start(&m, valid_s);
    token = m.token;
    token.expiry = 1;
    ASSERT_OK(dhole__token_encode(&token, text));
    ASSERT_OK(join_with(identity, text, &maker));
    expect(&m, DHOLE_OK, "");
    dhole_identity_free(identity);
}

TEST(another_machine_at_the_address_is_refused)
{
    dhole_identity *identity = new_identity(), *other = new_identity();
    struct dhole__token token;
    char text[DHOLE_TOKEN_SIZE];
    dhole_trusted maker;
    struct maker m;

    start(&m, valid_s);
    token = m.token;
    dhole_identity_pin(other, &token.pin);
    ASSERT_OK(dhole__token_encode(&token, text));
    ASSERT_ERR(join_with(identity, text, &maker), DHOLE_ERR_AUTH);
    ASSERT_CONTAINS(dhole_error_message(), "is another machine");
    join_well(&m);
    dhole_identity_free(identity);
    dhole_identity_free(other);
}

TEST(the_next_address_is_tried)
{
    dhole_identity *identity = new_identity();
    struct dhole__token token;
    char text[DHOLE_TOKEN_SIZE];
    dhole_trusted maker;
    struct maker m;

    start(&m, valid_s);
    token = m.token;
    strcpy(token.address[1], token.address[0]);
    strcpy(token.address[0], "256.256.256.256:1");
    token.count = 2;
    ASSERT_OK(dhole__token_encode(&token, text));
    ASSERT_OK(join_with(identity, text, &maker));
    expect(&m, DHOLE_OK, "");
    dhole_identity_free(identity);
}

/* More of them than there are places. */
TEST(silent_guests_keep_nobody_waiting)
{
    enum { guests = 40 };
    dhole_identity *identity = new_identity();
    dhole_link *link[guests];
    struct maker m;

    start(&m, valid_s);
    for (int i = 0; i < guests; i++)
        link[i] = visit(&m, identity);
    join_well(&m);
    for (int i = 0; i < guests; i++)
        dhole_link_free(link[i]);
    dhole_identity_free(identity);
}

/* What is sent, and the tag of the answer; 0 when there is none. */
static uint32_t say(const struct maker *m, const dhole_identity *identity, uint32_t tag,
                    const void *bytes, size_t size)
{
    dhole_message message = {.tag = tag, .dtype = DHOLE_U8, .dims = 1, .shape = {size}};
    dhole_link *link = visit(m, identity);

    ASSERT_OK(dhole_link_send(link, DHOLE_CHANNEL_CONTROL, &message, bytes, 0));
    message.tag = 0;
    if (dhole_link_recv(link, DHOLE_CHANNEL_CONTROL, &message, 0) == DHOLE_OK)
        ASSERT_EQ(dhole_message_size(&message), 0);
    dhole_link_free(link);
    return message.tag;
}

/* Rubbish is refused too, and is no attempt with a wrong secret. */
TEST(rubbish_is_refused)
{
    struct dhole__pairing_words words = {.name = "a", .address = ""};
    dhole_identity *identity = new_identity();
    uint8_t bytes[dhole__pairing_max] = {0};
    size_t size = dhole__pairing_encode(&words, bytes);
    struct maker m;

    start(&m, valid_s);
    ASSERT_EQ(say(&m, identity, DHOLE__PAIRING_JOINS, bytes, 0), DHOLE__PAIRING_REFUSED);
    ASSERT_EQ(say(&m, identity, DHOLE__PAIRING_JOINS, bytes, size - 1), DHOLE__PAIRING_REFUSED);
    ASSERT_EQ(say(&m, identity, DHOLE__PAIRING_JOINS, bytes, size + 1), DHOLE__PAIRING_REFUSED);
    ASSERT_EQ(say(&m, identity, 77, bytes, size), DHOLE__PAIRING_REFUSED);
    ASSERT_EQ(say(&m, identity, DHOLE__PAIRING_TAKEN, bytes, size), DHOLE__PAIRING_REFUSED);
    bytes[dhole__pairing_proof_size + 1] = '/';
    ASSERT_EQ(say(&m, identity, DHOLE__PAIRING_JOINS, bytes, size), DHOLE__PAIRING_REFUSED);
    join_well(&m);
    dhole_identity_free(identity);
}

/* The proof of one link is no proof on another one, also not of the same two machines. */
TEST(a_proof_is_good_for_its_own_link_alone)
{
    struct dhole__pairing_words words = {.name = "a", .address = ""};
    dhole_identity *identity = new_identity();
    uint8_t proofs[2][dhole__pairing_proof_size], bytes[dhole__pairing_max];
    dhole_link *link;
    struct maker m;

    start(&m, valid_s);
    link = visit(&m, identity);
    ASSERT_OK(
        dhole__pairing_prove_link(m.token.secret, link, identity, DHOLE__PAIRING_JOINER, proofs));
    memcpy(words.proof, proofs[DHOLE__PAIRING_JOINER], sizeof words.proof);
    ASSERT_EQ(say(&m, identity, DHOLE__PAIRING_JOINS, bytes, dhole__pairing_encode(&words, bytes)),
              DHOLE__PAIRING_REFUSED);
    memcpy(words.proof, proofs[DHOLE__PAIRING_MAKER], sizeof words.proof);
    ASSERT_OK(dhole__pairing_send(link, DHOLE__PAIRING_JOINS, &words));
    ASSERT_ERR(dhole__pairing_recv(link, DHOLE__PAIRING_TAKEN, &words), DHOLE_ERR_AUTH);
    dhole_link_free(link);
    cancel(&m);
    dhole_identity_free(identity);
}

TEST(cancelling_ends_the_wait)
{
    struct maker m;

    start(&m, valid_s);
    cancel(&m);
}

TEST(a_joiner_can_be_cancelled)
{
    dhole_identity *identity = new_identity();
    dhole_pairing *pairing; /* nobody waits */
    dhole_trusted maker;
    dhole_identity *other = new_identity();
    int fds[2];

    ASSERT_OK(dhole_pair(other, "maker", "127.0.0.1:0", valid_s, &pairing));
    ASSERT(pipe(fds) == 0 && write(fds[1], "", 1) == 1);
    ASSERT_ERR(dhole_pair_join(identity, "a", NULL, dhole_pairing_token(pairing), fds[0], &maker),
               DHOLE_ERR_CANCELLED);
    dhole_pairing_free(pairing);
    dhole_identity_free(identity);
    dhole_identity_free(other);
}

TEST(bad_arguments_are_refused)
{
    dhole_identity *identity = new_identity();
    dhole_pairing *pairing;
    dhole_trusted maker;

    ASSERT_ERR(dhole_pair(identity, "a b", "127.0.0.1:0", valid_s, &pairing), DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole_pair(identity, "a", "127.0.0.1:0", 0, &pairing), DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole_pair(identity, "a", "nowhere", valid_s, &pairing), DHOLE_ERR_CONFIG);
    ASSERT_ERR(join_with(identity, "dhole1-", &maker), DHOLE_ERR_FORMAT);
    ASSERT_OK(dhole_pair(identity, "a", "127.0.0.1:0", valid_s, &pairing));
    ASSERT_ERR(dhole_pair_join(identity, "a/b", NULL, dhole_pairing_token(pairing), -1, &maker),
               DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole_pair_join(identity, "a", "b", dhole_pairing_token(pairing), -1, &maker),
               DHOLE_ERR_INVALID);
    ASSERT_ERR(join_with(identity, dhole_pairing_token(pairing), &maker), DHOLE_ERR_INVALID);
    ASSERT_CONTAINS(dhole_error_message(), "own key");
    dhole_pairing_free(pairing);
    dhole_identity_free(identity);
}

/* The example of docs/protocol-vectors.md. */
TEST(proofs_are_what_the_protocol_says)
{
    static const char *const want[] = {
        "sha256:9efef5d8ab45aa3eac3331e328ef1e6c05887c3c007027067c737f0539825c62",
        "sha256:024dba14233d8fa58de3f300c66b5d9355d756a055e382b734df86d6d52a6806"};
    uint8_t secret[dhole__token_secret_size], exporter[32];
    uint8_t proofs[2][dhole__pairing_proof_size];
    dhole_pin joiner, maker, proof;
    char text[DHOLE_FINGERPRINT_SIZE];

    for (int i = 0; i < dhole__token_secret_size; i++)
        secret[i] = (uint8_t)i;
    memset(exporter, 0x33, sizeof exporter);
    memset(joiner.bytes, 0x11, sizeof joiner.bytes);
    memset(maker.bytes, 0x22, sizeof maker.bytes);
    ASSERT_OK(dhole__pairing_prove(secret, exporter, &joiner, &maker, proofs));
    for (int role = 0; role < 2; role++) {
        memcpy(proof.bytes, proofs[role], sizeof proof.bytes); /* as long as one */
        dhole_fingerprint(&proof, text);
        ASSERT_STR(text, want[role]);
    }
}
