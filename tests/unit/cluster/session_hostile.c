/* Members that are trusted and do not keep to the protocol; the other side of these links is played
 * by the test. */
#include <jansson.h>

#include "cluster/notes.h"
#include "cluster/session.h"
#include "party.h"

static const char link_session[] = "session ";

static dhole_link_options link_options(const struct party *p, int machine)
{
    dhole_link_options options = DHOLE_LINK_OPTIONS_INIT;

    options.identity = p->identity[machine];
    options.session = link_session;
    options.timeout_ms = patient(20000);
    return options;
}

/* That machine's call to another one. */
static dhole_link *call(const struct party *p, int machine, int other, const char *address)
{
    dhole_link_options options = link_options(p, machine);
    dhole_link *link;
    dhole_pin pin;

    dhole_identity_pin(p->identity[other], &pin);
    options.pin = &pin;
    ASSERT_OK(dhole_link_connect(&options, address, &link));
    return link;
}

static dhole_err say(dhole_link *link, uint32_t note, const char *text)
{
    dhole_message message = {.tag = note, .dtype = DHOLE_U8, .dims = 1, .shape = {strlen(text)}};

    return dhole_link_send(link, DHOLE_CHANNEL_CONTROL, &message, text, 0);
}

/* The next note but pings; 0 when the link has ended. */
static uint32_t hear(dhole_link *link, char text[dhole__note_max + 1])
{
    dhole_message message = {.tag = DHOLE__NOTE_PING};

    while (message.tag == DHOLE__NOTE_PING) {
        if (dhole_link_recv(link, DHOLE_CHANNEL_CONTROL, &message, 0) != DHOLE_OK)
            return 0;
        ASSERT(dhole_message_size(&message) <= dhole__note_max);
        ASSERT_OK(dhole_link_recv_data(link, DHOLE_CHANNEL_CONTROL, text, 0));
        text[dhole_message_size(&message)] = '\0';
    }
    return message.tag;
}

/* The other side says why it ends the link, and does. */
static void expect_bye(dhole_link *link, const char *why)
{
    static char text[dhole__note_max + 1];

    ASSERT_EQ(hear(link, text), DHOLE__NOTE_BYE);
    ASSERT_CONTAINS(text, why);
    ASSERT_EQ(hear(link, text), 0);
    dhole_link_free(link);
}

static void expect_end(dhole_link *link)
{
    static char text[dhole__note_max + 1];

    while (hear(link, text) != 0)
        ;
    dhole_link_free(link);
}

/* It may not listen yet. */
static dhole_link *call_coordinator(const struct party *p, int machine)
{
    dhole_link_options options = link_options(p, machine);
    int64_t until = now_ms() + patient(20000);
    dhole_link *link = NULL;
    dhole_pin pin;

    dhole_identity_pin(p->identity[0], &pin);
    options.pin = &pin;
    while (dhole_link_connect(&options, p->address, &link) != DHOLE_OK)
        ASSERT_MSG(now_ms() < until, "%s", dhole_error_message());
    return link;
}

TEST(who_does_not_join_is_told_so_and_keeps_nobody_from_joining)
{
    static const struct {
        uint32_t note;
        const char *text, *why;
    } cases[] = {
        {DHOLE__NOTE_PAIR, "{}", "must join first"},
        {DHOLE__NOTE_WORD, "x", NULL},
        {DHOLE__NOTE_JOIN, "rubbish", NULL},
        {DHOLE__NOTE_JOIN, "[1]", NULL},
        {DHOLE__NOTE_JOIN, "", NULL},
        {DHOLE__NOTE_JOIN, "{}", "no address"},
        {DHOLE__NOTE_JOIN, "{\"address\":7}", "no address"},
        {DHOLE__NOTE_JOIN, "{\"address\":\"nowhere\"}", "no address"},
        {DHOLE__NOTE_JOIN, "{\"address\":\"localhost:7\"}", "no address in digits"},
        {DHOLE__NOTE_JOIN, "{\"address\":\"1.1.1.1:7\",\"others\":7}", "no address"},
        {DHOLE__NOTE_JOIN, "{\"address\":\"1.1.1.1:7\",\"others\":[7]}", "no address"},
        {DHOLE__NOTE_JOIN, "{\"address\":\"1.1.1.1:7\",\"others\":[\"localhost:7\"]}",
         "no address"},
        {DHOLE__NOTE_BYE, "{}", NULL},
        {999, "{}", "must join first"},
    };
    struct starter coordinator = {0}, member = {0};
    struct party p;

    party_make(&p, 2);
    party_start(&coordinator, &p, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dhole_link *link = call_coordinator(&p, 1);
        ASSERT_OK(say(link, cases[i].note, cases[i].text));
        if (cases[i].why != NULL)
            expect_bye(link, cases[i].why);
        else
            expect_end(link);
    }
    party_start(&member, &p, 1);
    party_await(&member);
    ASSERT_MSG(member.err == DHOLE_OK, "%s", member.message);
    party_await(&coordinator);
    ASSERT_MSG(coordinator.err == DHOLE_OK, "%s", coordinator.message);
    party_free(&p);
}

static void join_as(dhole_link *link)
{
    ASSERT_OK(
        say(link, DHOLE__NOTE_JOIN, "{\"name\":\"m1\",\"address\":\"127.0.0.1:9\",\"epoch\":0}"));
}

/* Does all that a rank does, until it is sent away; returns why. */
static const char *pretend_to_listen(const struct party *p, int machine)
{
    static char text[dhole__note_max + 1];
    dhole_link *link = call_coordinator(p, machine);
    uint32_t note;

    join_as(link);
    while ((note = hear(link, text)) != DHOLE__NOTE_BYE) {
        if (note == DHOLE__NOTE_ROSTER) {
            json_t *roster = json_loads(text, 0, NULL);
            snprintf(text, sizeof text, "{\"epoch\":%d,\"step\":1}",
                     (int)json_integer_value(json_object_get(roster, "epoch")));
            json_decref(roster);
            ASSERT_OK(say(link, DHOLE__NOTE_STEP, text));
        } else if (note == DHOLE__NOTE_AGAIN || note == 0) {
            dhole_link_free(link);
            link = call_coordinator(p, machine);
            join_as(link);
        }
    }
    dhole_link_free(link);
    return text;
}

TEST(ranks_that_do_not_reach_each_other_are_named)
{
    static const char words[] =
        "m1 (rank 1): m2 (rank 2) cannot reach it: connecting to 127.0.0.1:9";
    struct starter coordinator = {0}, member = {0};
    struct party p;

    party_make(&p, 3);
    p.base.reconnect_ms = 20;
    party_start(&coordinator, &p, 0);
    party_start(&member, &p, 2);
    ASSERT_CONTAINS(pretend_to_listen(&p, 1), words);
    party_await(&coordinator);
    party_await(&member);
    ASSERT_EQ(coordinator.err, DHOLE_ERR_PEER_LOST);
    ASSERT_CONTAINS(coordinator.message, words);
    ASSERT_CONTAINS(coordinator.message, "a network in common");
    ASSERT_EQ(member.err, DHOLE_ERR_PEER_LOST);
    ASSERT_CONTAINS(member.message, words);
    party_free(&p);
}

/* A random note of a rank: any kind, members that mean something and numbers that do not. */
static void make_note(unsigned long long *seed, uint32_t *note, char text[512])
{
    static const char *const values[] = {"0",
                                         "1",
                                         "2",
                                         "-1",
                                         "9223372036854775807",
                                         "1.5",
                                         "null",
                                         "\"\"",
                                         "\"ff\"",
                                         "\"zz\"",
                                         "[]",
                                         "{}",
                                         "true",
                                         "[\"00\",\"00\"]",
                                         "\"127.0.0.1:9\""};
    static const char *const names[] = {"epoch", "step", "rank",    "why",     "number",   "data",
                                        "round", "name", "address", "session", "in_flight"};
    size_t used = 1;

    *note = (uint32_t)(test_random(seed) % 14);
    strcpy(text, "{");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (test_random(seed) % 2)
            used += (size_t)snprintf(text + used, 512 - used, "%s\"%s\":%s", used > 1 ? "," : "",
                                     names[i],
                                     values[test_random(seed) % (sizeof values / sizeof *values)]);
    strcat(text, "}");
}

TEST(a_rank_that_says_anything_at_all_does_no_harm)
{
    struct starter coordinator = {0}, member = {0};
    unsigned long long seed = 5;
    struct party p;

    party_make(&p, 2);
    p.base.reconnect_ms = 1;
    party_start(&coordinator, &p, 0);
    for (int i = 0; i < 50; i++) {
        dhole_link *link = call_coordinator(&p, 1);
        dhole_err err = DHOLE_OK;
        join_as(link);
        for (int j = 0; j < 100 && !err; j++) {
            uint32_t note;
            char text[512];
            make_note(&seed, &note, text);
            err = say(link, note, text);
        }
        dhole_link_free(link);
    }
    /* It may have become an epoch meanwhile. */
    party_start(&member, &p, 1);
    party_await(&member);
    ASSERT_MSG(member.err == DHOLE_OK, "%s", member.message);
    party_await(&coordinator);
    ASSERT_MSG(coordinator.err == DHOLE_OK, "%s", coordinator.message);
    ASSERT_OK(dhole_cluster_wait(p.cluster[0], patient(20000)));
    party_free(&p);
}

TEST(a_machine_that_is_no_member_is_refused)
{
    struct starter coordinator = {0}, stranger = {0}, member = {0};
    struct party p;

    party_make(&p, 3);
    coordinator.options = party_options(&p, 0);
    coordinator.options.count = 1;
    party_start(&coordinator, &p, 0);
    party_start(&stranger, &p, 2);
    party_await(&stranger);
    ASSERT_EQ(stranger.err, DHOLE_ERR_AUTH);
    ASSERT_CONTAINS(stranger.message, "m2 has no place in this session of 2 ranks");
    party_start(&member, &p, 1);
    party_await(&member);
    party_await(&coordinator);
    ASSERT_MSG(coordinator.err == DHOLE_OK, "%s", coordinator.message);
    party_free(&p);
}

/* m1 joins by hand; the epoch is live when it returns. */
static dhole_link *join_by_hand(struct starter *coordinator, struct party *p)
{
    static char text[dhole__note_max + 1];
    dhole_link *link;

    party_start(coordinator, p, 0);
    link = call_coordinator(p, 1);
    join_as(link);
    ASSERT_EQ(hear(link, text), DHOLE__NOTE_ROSTER);
    for (int step = 1; step <= 2; step++) {
        snprintf(text, sizeof text, "{\"epoch\":1,\"step\":%d}", step);
        ASSERT_OK(say(link, DHOLE__NOTE_STEP, text));
        ASSERT_EQ(hear(link, text), DHOLE__NOTE_STEP);
    }
    party_await(coordinator);
    ASSERT_MSG(coordinator->err == DHOLE_OK, "%s", coordinator->message);
    return link;
}

TEST(no_ping_goes_out_while_words_come_and_three_when_none_do)
{
    enum { ping_ms = 200 };
    struct starter coordinator = {0};
    struct party p;
    dhole_link *link;
    dhole_message message;
    char text[256];
    int pings = 0;
    int64_t begin;

    party_make(&p, 2);
    p.base.ping_ms = patient(ping_ms);
    link = join_by_hand(&coordinator, &p);
    begin = now_ms();
    while (now_ms() - begin < 5 * patient(ping_ms)) {
        size_t size;
        ASSERT_OK(say(link, DHOLE__NOTE_WORD, "word"));
        ASSERT_OK(dhole_cluster_recv(p.cluster[0], 1, text, sizeof text, &size, 0));
        ASSERT_ERR(dhole_link_recv(link, DHOLE_CHANNEL_CONTROL, &message, 10), DHOLE_ERR_TIMEOUT);
    }
    begin = now_ms();
    while (dhole_link_recv(link, DHOLE_CHANNEL_CONTROL, &message, 0) == DHOLE_OK) {
        ASSERT_OK(dhole_link_recv_data(link, DHOLE_CHANNEL_CONTROL, text, 0));
        pings += message.tag == DHOLE__NOTE_PING;
    }
    ASSERT_EQ(pings, 3);
    ASSERT(now_ms() - begin >= 2 * patient(ping_ms));
    party_await_state(p.cluster[0], 1, DHOLE_PEER_UNAVAILABLE);
    dhole_link_free(link);
    party_free(&p);
}

TEST(words_that_nobody_receives_end_the_link)
{
    static char words[dhole__note_max + 1];
    struct starter coordinator = {0};
    struct party p;
    dhole_link *link;
    dhole_peer peer;

    party_make(&p, 2);
    memset(words, 'w', dhole__note_max);
    link = join_by_hand(&coordinator, &p);
    while (say(link, DHOLE__NOTE_WORD, words) == DHOLE_OK)
        ;
    party_await_state(p.cluster[0], 1, DHOLE_PEER_UNAVAILABLE);
    dhole_cluster_peer(p.cluster[0], 1, &peer);
    ASSERT_CONTAINS(peer.why, "does not receive");
    dhole_link_free(link);
    party_free(&p);
}

TEST(a_link_of_an_old_epoch_is_refused)
{
    struct starter again = {0};
    struct party p;
    dhole_link *link;
    dhole_peer peer;
    char text[256];

    party_make(&p, 3);
    party_begin(&p);
    dhole_cluster_free(p.cluster[2]);
    p.cluster[2] = NULL;
    party_start(&again, &p, 2);
    party_await(&again);
    ASSERT_MSG(again.err == DHOLE_OK, "%s", again.message);
    ASSERT_OK(dhole_cluster_wait(p.cluster[1], patient(20000)));
    dhole_cluster_peer(p.cluster[0], 1, &peer);
    for (int epoch = 1; epoch <= 3; epoch++) {
        link = call(&p, 2, 1, peer.address);
        snprintf(text, sizeof text, "{\"session\":\"%s\",\"epoch\":%d,\"rank\":2}",
                 p.cluster[1]->roster.session, epoch);
        ASSERT_OK(say(link, DHOLE__NOTE_PAIR, text));
        expect_bye(link, "epoch");
    }
    link = call(&p, 2, 1, peer.address);
    ASSERT_OK(say(link, DHOLE__NOTE_WORD, "{}"));
    expect_end(link);
    ASSERT_OK(dhole_cluster_wait(p.cluster[0], 0));
    party_free(&p);
}

/* A coordinator that is played by the test, and m1's real call to it. */
static void serve(const struct party *p, const char *roster, const char *why)
{
    static char text[dhole__note_max + 1];
    dhole_link_options options = link_options(p, 0);
    dhole_link_listener *listener;
    dhole_link *link;
    struct starter member = {0};
    dhole_pin pin;

    dhole_identity_pin(p->identity[1], &pin);
    options.pin = &pin;
    ASSERT_OK(dhole_link_listen(&options, p->address, &listener));
    party_start(&member, (struct party *)p, 1);
    ASSERT_OK(dhole_link_accept(listener, patient(20000), &link));
    ASSERT_EQ(hear(link, text), DHOLE__NOTE_JOIN);
    ASSERT_OK(say(link, DHOLE__NOTE_ROSTER, roster));
    expect_bye(link, why);
    dhole_link_listener_free(listener);
    party_await(&member);
    ASSERT_EQ(member.err, DHOLE_ERR_TIMEOUT);
}

TEST(a_coordinator_that_sends_a_wrong_roster_is_left)
{
    struct party p;
    char text[1024], key[2][DHOLE_FINGERPRINT_SIZE];

    party_make(&p, 2);
    p.base.join_timeout_ms = 300;
    for (int i = 0; i < 2; i++) {
        dhole_pin pin;
        dhole_identity_pin(p.identity[i], &pin);
        dhole_fingerprint(&pin, key[i]);
    }
    serve(&p, "{\"ranks\":7}", "malformed");
    for (int rank = 0; rank < 2; rank++) { /* not this rank's key, or not the coordinator's */
        snprintf(text, sizeof text,
                 "{\"session\":\"00112233445566778899aabbccddeeff\",\"epoch\":1,\"rank\":%d,"
                 "\"ranks\":[{\"name\":\"a\",\"address\":\"h:1\",\"key\":\"%s\"},"
                 "{\"name\":\"b\",\"address\":\"h:1\",\"key\":\"%s\"}]}",
                 rank, key[1], key[0]);
        serve(&p, text, "not for this rank");
    }
    party_free(&p);
}

/* Without any byte in them they take memory all the same. */
TEST(empty_words_that_nobody_receives_end_the_link_too)
{
    struct starter coordinator = {0};
    struct party p;
    dhole_link *link;
    int64_t until = now_ms() + patient(20000);

    party_make(&p, 2);
    link = join_by_hand(&coordinator, &p);
    while (say(link, DHOLE__NOTE_WORD, "") == DHOLE_OK)
        ASSERT(now_ms() < until);
    party_await_state(p.cluster[0], 1, DHOLE_PEER_UNAVAILABLE);
    dhole_link_free(link);
    party_free(&p);
}

/* Else each call would cost a thread and a descriptor for seconds. */
TEST(a_machine_that_calls_more_and_more_displaces_itself_alone)
{
    enum { calls = 40 };
    struct starter coordinator = {0};
    struct party p;
    dhole_link *member, *idle[calls];
    int64_t until;

    party_make(&p, 3);
    coordinator.options = party_options(&p, 0);
    coordinator.options.count = 1;
    member = join_by_hand(&coordinator, &p);
    for (int i = 0; i < calls; i++)
        idle[i] = call(&p, 2, 0, p.address);
    until = now_ms() + 2500; /* sooner than they would be hung up on anyhow */
    while (atomic_load(&p.cluster[0]->box.wires) > calls / 2)
        ASSERT(now_ms() < until);
    ASSERT_OK(dhole_cluster_wait(p.cluster[0], 0));
    for (int i = 0; i < calls; i++)
        dhole_link_free(idle[i]);
    dhole_link_free(member);
    party_free(&p);
}

/* Answers that it does not take would keep the session waiting. */
TEST(who_has_not_joined_is_not_answered)
{
    struct starter coordinator = {0};
    struct party p;

    party_make(&p, 2);
    coordinator.options = party_options(&p, 0);
    coordinator.options.join_timeout_ms = 500;
    party_start(&coordinator, &p, 0);
    dhole_link *link = call_coordinator(&p, 1);
    ASSERT_OK(say(link, DHOLE__NOTE_PING, "{\"number\":1}"));
    expect_bye(link, "must join first");
    party_await(&coordinator);
    ASSERT_EQ(coordinator.err, DHOLE_ERR_TIMEOUT);
    party_free(&p);
}

static size_t describe_rank(const struct party *p, int machine, char *out, size_t size)
{
    char key[DHOLE_FINGERPRINT_SIZE];
    dhole_pin pin;

    dhole_identity_pin(p->identity[machine], &pin);
    dhole_fingerprint(&pin, key);
    return (size_t)snprintf(
        out, size, "{\"name\":\"n%d\",\"address\":\"127.0.0.1:9\",\"key\":\"%s\"}", machine, key);
}

/* m1, which trusts nobody but m0, has a roster of m0's with m2 in it. Where m0 was called m2
 * answers now. */
TEST(who_was_vouched_for_is_no_coordinator)
{
    static const int first[] = {0};
    char rank[3][256];
    static char text[dhole__note_max + 1];
    struct starter member = {0};
    struct party p;
    dhole_link_options options;
    dhole_link_listener *listener;
    dhole_link *link;
    dhole_pin pin;

    party_make(&p, 3);
    for (int i = 0; i < 3; i++)
        describe_rank(&p, i, rank[i], sizeof rank[i]);
    options = link_options(&p, 0);
    dhole_identity_pin(p.identity[1], &pin);
    options.pin = &pin;
    ASSERT_OK(dhole_link_listen(&options, p.address, &listener));
    member.options = party_options(&p, 1);
    member.options.trust = party_trust(&p, first, 1);
    member.options.reconnect_ms = 1;
    member.options.join_timeout_ms = patient(2000);
    party_start(&member, &p, 1);
    ASSERT_OK(dhole_link_accept(listener, patient(20000), &link));
    ASSERT_EQ(hear(link, text), DHOLE__NOTE_JOIN);
    snprintf(text, sizeof text,
             "{\"session\":\"00112233445566778899aabbccddeeff\",\"epoch\":1,\"rank\":1,"
             "\"ranks\":[%s,%s,%s]}",
             rank[0], rank[1], rank[2]);
    ASSERT_OK(say(link, DHOLE__NOTE_ROSTER, text));
    ASSERT_EQ(hear(link, text), DHOLE__NOTE_STEP);
    dhole_link_listener_free(listener);
    dhole_link_free(link);
    options.identity = p.identity[2];
    ASSERT_OK(dhole_link_listen(&options, p.address, &listener));
    ASSERT_ERR(dhole_link_accept(listener, patient(1000), &link), DHOLE_ERR_TIMEOUT);
    dhole_link_listener_free(listener);
    party_await(&member);
    ASSERT_EQ(member.err, DHOLE_ERR_TIMEOUT);
    dhole_trust_free((dhole_trust *)member.options.trust);
    party_free(&p);
}

/* They end in logs and on terminals. */
TEST(what_a_rank_says_is_shown_without_its_control_characters)
{
    struct starter coordinator = {0};
    struct party p;
    dhole_link *link;
    dhole_peer peer;

    party_make(&p, 2);
    link = join_by_hand(&coordinator, &p);
    ASSERT_OK(say(link, DHOLE__NOTE_BYE, "{\"why\":\"\\u001b]0;gone\\u0007\\n\\u009b2J\"}"));
    party_await_state(p.cluster[0], 1, DHOLE_PEER_UNAVAILABLE);
    dhole_cluster_peer(p.cluster[0], 1, &peer);
    ASSERT_STR(peer.why, "?]0;gone????2J");
    ASSERT_ERR(dhole_cluster_send(p.cluster[0], 1, "", 0), DHOLE_ERR_PEER_LOST);
    ASSERT_CONTAINS(dhole_error_message(), "?]0;gone????2J");
    dhole_link_free(link);
    party_free(&p);
}

/* m1 and m2 by hand: what one says of the other is passed on, however it is cut. */
TEST(a_reason_of_many_characters_is_passed_on)
{
    static char text[dhole__note_max + 1];
    struct starter coordinator = {0};
    dhole_link *link[2];
    struct party p;
    size_t used;

    party_make(&p, 3);
    party_start(&coordinator, &p, 0);
    for (int i = 0; i < 2; i++) {
        link[i] = call_coordinator(&p, 1 + i);
        join_as(link[i]);
    }
    for (int i = 0; i < 2; i++)
        ASSERT_EQ(hear(link[i], text), DHOLE__NOTE_ROSTER);
    used = (size_t)snprintf(text, sizeof text, "{\"epoch\":1,\"rank\":2,\"why\":\"x");
    for (int i = 0; i < 200; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "\xc3\xa9");
    snprintf(text + used, sizeof text - used, "\"}");
    ASSERT_OK(say(link[0], DHOLE__NOTE_LOST, text));
    ASSERT_EQ(hear(link[0], text), DHOLE__NOTE_LOST);
    for (int i = 0; i < 2; i++)
        dhole_link_free(link[i]);
    party_await(&coordinator);
    party_free(&p);
}
