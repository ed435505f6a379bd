/* A worker's service and its callers: questions, invitations, and what must not disturb it. */
#include "cluster/service.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "cluster/session.h"
#include "cluster/trust.h"
#include "cluster/words.h"
#include "dhole/cluster.h"
#include "harness.h"
#include "test.h"

enum { call_ms = 10000 };

/* The worker w, and two machines that it trusts, a and b. */
struct stage {
    dhole_identity *worker, *caller[2];
    dhole_pin pin;
    dhole_trust *trust; /* of the callers: the worker */
    struct dhole__service *service;
    pthread_t thread;      /* that works */
    atomic_int requests;   /* that it has seen through */
    atomic_int last_error; /* of them */
    atomic_int running;
    dhole_err refuse; /* what `check` says */
    bool wait;        /* `run` waits until the group breaks */
};

static dhole_trust *trust_of(dhole_identity *const *identities, const char *const *names, int count)
{
    char text[1024] = "", line[160], fingerprint[DHOLE_FINGERPRINT_SIZE];
    dhole_trust *trust;

    for (int i = 0; i < count; i++) {
        dhole_pin pin;
        dhole_identity_pin(identities[i], &pin);
        dhole_fingerprint(&pin, fingerprint);
        snprintf(line, sizeof line, "%s %s\n", names[i], fingerprint);
        strcat(text, line);
    }
    ASSERT_OK(dhole__trust_parse(text, strlen(text), "a list", &trust));
    return trust;
}

static dhole_trust *trust_callers(const struct stage *s, int count)
{
    static const char *const names[] = {"a", "b"};

    return trust_of(s->caller, names, count);
}

static dhole_err check_work(void *arg, const char *agreement, const json_t *work)
{
    struct stage *s = arg;

    (void)work;
    if (s->refuse)
        return dhole__fail(s->refuse, "not \"%s\"", agreement);
    return DHOLE_OK;
}

static dhole_err run_work(void *arg, dhole_group *group, const json_t *work)
{
    struct stage *s = arg;
    float in = 2, out = 0;
    dhole_err err = dhole_all_sum(group, &in, &out, 1, DHOLE_F32);

    ASSERT(err || (out == 3 && json_integer_value(json_object_get(work, "number")) == 7));
    atomic_store(&s->running, 1);
    while (!err && s->wait)
        err = dhole_barrier(group); /* until the group breaks */
    return err;
}

static void *work(void *arg)
{
    struct stage *s = arg;
    bool stopped = false;

    while (!stopped) {
        dhole_err err = dhole__service_next(s->service, &stopped);
        if (stopped)
            break;
        atomic_store(&s->last_error, (int)err);
        atomic_fetch_add(&s->requests, 1);
    }
    return NULL;
}

static void open_stage(struct stage *s)
{
    static const char *const name[] = {"w"};
    struct dhole__service_options options = {
        .name = "w", .address = "127.0.0.1:0", .model = "m", .check = check_work, .run = run_work};

    *s = (struct stage){0};
    ASSERT_OK(dhole_identity_generate(&s->worker));
    for (int i = 0; i < 2; i++)
        ASSERT_OK(dhole_identity_generate(&s->caller[i]));
    dhole_identity_pin(s->worker, &s->pin);
    s->trust = trust_of(&s->worker, name, 1);
    options.identity = s->worker;
    options.trust = trust_callers(s, 2);
    options.arg = s;
    ASSERT_OK(dhole__service_open(&options, &s->service));
    ASSERT_EQ(pthread_create(&s->thread, NULL, work, s), 0);
}

static void close_stage(struct stage *s)
{
    dhole__service_stop(s->service);
    pthread_join(s->thread, NULL);
    dhole__service_free(s->service);
    dhole_trust_free(s->trust);
    dhole_identity_free(s->worker);
    for (int i = 0; i < 2; i++)
        dhole_identity_free(s->caller[i]);
}

static dhole_link *call(const struct stage *s, int caller, int lanes)
{
    dhole_link *link;

    ASSERT_OK(dhole__service_call(s->caller[caller], &s->pin, dhole__service_address(s->service),
                                  lanes, call_ms, -1, &link));
    return link;
}

static void expect_state(const struct stage *s, const char *state)
{
    dhole_link *link = call(s, 1, 0);
    json_t *status;

    ASSERT_OK(dhole__service_status(link, call_ms, &status));
    ASSERT_STR(json_string_value(json_object_get(status, "state")), state);
    ASSERT_STR(json_string_value(json_object_get(status, "name")), "w");
    ASSERT_STR(json_string_value(json_object_get(status, "model")), "m");
    ASSERT_EQ(json_integer_value(json_object_get(status, "in_flight")),
              strcmp(state, "ready") != 0);
    json_decref(status);
    dhole_link_free(link);
}

static json_t *invitation(const char *address)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:{s:i}}", "session", "s", "address", address,
                     "agreement", "seven", "backend", "ring", "seal_memory", 1, "work", "number",
                     7);
}

static void await_requests(struct stage *s, int count)
{
    for (int64_t i = 0; i < patient(1000) && atomic_load(&s->requests) < count; i++)
        usleep(10000);
    ASSERT_EQ(atomic_load(&s->requests), count);
}

TEST(a_worker_says_how_it_is)
{
    struct stage s;
    dhole_link *link;
    double rate = 0;
    int64_t us = 0;

    open_stage(&s);
    expect_state(&s, "ready");
    link = call(&s, 0, 1);
    ASSERT_OK(dhole__service_ping(link, call_ms, &us));
    ASSERT_OK(dhole__service_speed(link, call_ms, &rate));
    ASSERT_OK(dhole__service_ping(link, call_ms, &us));
    ASSERT(rate > 0 && us >= 0);
    dhole_link_free(link);
    close_stage(&s);
}

static void say_rubbish(dhole_link *link, int which)
{
    dhole_message text = {.tag = DHOLE__SERVICE_STATUS, .dtype = DHOLE_U8, .dims = 1, .shape = {3}};

    if (which == 0)
        ASSERT_OK(dhole__words_send(link, 99, json_object(), call_ms));
    else if (which == 1)
        ASSERT_OK(dhole_link_send(link, DHOLE_CHANNEL_CONTROL, &text, "{a:", call_ms));
    else
        ASSERT_OK(dhole__words_send(link, DHOLE__SERVICE_BULK, json_pack("{s:i}", "messages", 65),
                                    call_ms));
}

/* Each is the end of its link, and of nothing else. */
TEST(rubbish_ends_its_link_alone)
{
    struct stage s;
    json_t *words;
    uint32_t kind;

    open_stage(&s);
    for (int which = 0; which < 3; which++) {
        dhole_link *link = call(&s, 0, 1);
        say_rubbish(link, which);
        ASSERT_ERR(dhole__words_recv(link, &kind, &words, call_ms), DHOLE_ERR_PEER_LOST);
        dhole_link_free(link);
    }
    expect_state(&s, "ready");
    close_stage(&s);
}

TEST(an_invitation_is_refused_in_words)
{
    struct stage s;
    dhole_link *link;

    open_stage(&s);
    link = call(&s, 0, 0);
    ASSERT_ERR(dhole__service_invite(link, json_pack("{s:s}", "session", "s"), call_ms),
               DHOLE_ERR_PROTOCOL);
    ASSERT_CONTAINS(dhole_error_message(), "address");
    s.refuse = DHOLE_ERR_MISMATCH;
    ASSERT_ERR(dhole__service_invite(link, invitation("127.0.0.1:1"), call_ms), DHOLE_ERR_MISMATCH);
    ASSERT_STR(dhole_error_message(), "not \"seven\"");
    dhole_link_free(link);
    expect_state(&s, "ready");
    ASSERT_EQ(atomic_load(&s.requests), 0);
    close_stage(&s);
}

/* Else a coordinator could have it read any file, and be told what is in it. */
TEST(an_invitation_cannot_name_a_file)
{
    char secret[256], address[300];
    const char *const cases[] = {address, "file:7777", "", "nowhere"};
    struct stage s;
    dhole_link *link;
    FILE *file;

    open_stage(&s);
    snprintf(secret, sizeof secret, "%s/secret", test_dir());
    snprintf(address, sizeof address, "file:%s", secret);
    file = fopen(secret, "w");
    ASSERT(file != NULL && fputs("hunter2\n", file) >= 0 && fclose(file) == 0);
    link = call(&s, 0, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dhole_err err = dhole__service_invite(link, invitation(cases[i]), call_ms);
        if (!err)
            err = dhole__service_wait_end(link, call_ms);
        ASSERT_MSG(err == DHOLE_ERR_PROTOCOL, "%s: %s", cases[i], dhole_error_message());
        ASSERT_CONTAINS(dhole_error_message(), "address");
    }
    dhole_link_free(link);
    ASSERT_EQ(atomic_load(&s.requests), 0);
    close_stage(&s);
}

TEST(who_is_not_trusted_is_not_answered)
{
    struct stage s;
    dhole_identity *stranger;
    dhole_link *link;

    open_stage(&s);
    ASSERT_OK(dhole_identity_generate(&stranger));
    ASSERT_ERR(dhole__service_call(stranger, &s.pin, dhole__service_address(s.service), 0, call_ms,
                                   -1, &link),
               DHOLE_ERR_AUTH);
    dhole_identity_free(stranger);
    close_stage(&s);
}

/* A session of two, of which this thread is the coordinator. */
struct coordinator {
    dhole_link *link;
    dhole_cluster *cluster;
    dhole_group *group;
};

static dhole_err invite(void *arg, const char *address)
{
    struct coordinator *c = arg;

    return dhole__service_invite(c->link, invitation(address), call_ms);
}

static dhole_err begin(struct coordinator *c, struct stage *s)
{
    static const char *const members[] = {"w"};
    dhole_cluster_options options = DHOLE_CLUSTER_OPTIONS_INIT;
    dhole_options base = DHOLE_OPTIONS_INIT;
    float in = 1, out;
    dhole_err err;

    *c = (struct coordinator){.link = call(s, 0, 0)};
    options.identity = s->caller[0];
    options.trust = s->trust;
    options.name = "a";
    options.address = "127.0.0.1:0";
    options.members = members;
    options.count = 1;
    options.session = "s";
    options.listening = invite;
    options.listening_arg = c;
    err = dhole_cluster_listen(&options, &c->cluster);
    if (err)
        return err;
    base.backend = "ring";
    base.agreement = "seven";
    ASSERT_OK(dhole_cluster_group(c->cluster, &base, &c->group));
    ASSERT_OK(dhole_all_sum(c->group, &in, &out, 1, DHOLE_F32));
    ASSERT(out == 3);
    return DHOLE_OK;
}

static void end(struct coordinator *c)
{
    dhole_group_free(c->group);
    dhole_cluster_free(c->cluster);
    dhole_link_free(c->link);
}

/* Whether it says so before its request is over. */
static bool becomes_degraded(const struct stage *s, const char *why)
{
    dhole_link *link = call(s, 1, 0);
    const char *state = "busy";
    json_t *status = NULL;
    bool degraded;

    while (strcmp(state, "busy") == 0) {
        json_decref(status);
        ASSERT_OK(dhole__service_status(link, call_ms, &status));
        state = json_string_value(json_object_get(status, "state"));
        usleep(20000);
    }
    degraded = strcmp(state, "degraded") == 0;
    if (degraded)
        ASSERT_CONTAINS(json_string_value(json_object_get(status, "why")), why);
    json_decref(status);
    dhole_link_free(link);
    return degraded;
}

/* The coordinator's keeper is held up until it has missed a ping, or, on a machine so busy that
 * nobody looks meanwhile, is lost. */
TEST(a_worker_says_that_its_session_is_degraded)
{
    enum { tries = 5 };
    struct stage s;
    bool seen = false;

    open_stage(&s);
    s.wait = true;
    for (int i = 1; i <= tries && !seen; i++) {
        struct coordinator c;
        ASSERT_OK(begin(&c, &s));
        pthread_mutex_lock(&c.cluster->lock);
        seen = becomes_degraded(&s, "not answered");
        pthread_mutex_unlock(&c.cluster->lock);
        end(&c);
        await_requests(&s, i);
    }
    ASSERT(seen);
    close_stage(&s);
}

TEST(requests_follow_each_other)
{
    struct stage s;

    open_stage(&s);
    for (int i = 1; i <= 3; i++) {
        struct coordinator c;
        ASSERT_OK(begin(&c, &s));
        dhole_group_free(c.group);
        dhole_cluster_free(c.cluster);
        ASSERT_OK(dhole__service_wait_end(c.link, call_ms));
        expect_state(&s, "ready");
        dhole_link_free(c.link);
        await_requests(&s, i);
        ASSERT_EQ(atomic_load(&s.last_error), DHOLE_OK);
    }
    close_stage(&s);
}

TEST(one_request_at_a_time)
{
    struct stage s;
    struct coordinator c;
    dhole_link *other;

    open_stage(&s);
    s.wait = true;
    ASSERT_OK(begin(&c, &s));
    expect_state(&s, "busy");
    other = call(&s, 1, 0);
    ASSERT_ERR(dhole__service_invite(other, invitation("127.0.0.1:1"), call_ms), DHOLE_ERR_LIMIT);
    ASSERT_CONTAINS(dhole_error_message(), "busy with a request of a");
    dhole_link_free(other);
    end(&c);
    await_requests(&s, 1);
    ASSERT_EQ(atomic_load(&s.last_error), DHOLE_ERR_PEER_LOST);
    expect_state(&s, "ready");
    close_stage(&s);
}

/* The caller learns it by the group, and by the link of its invitation. */
static void expect_withdrawn(struct coordinator *c, const char *why)
{
    dhole_err err = DHOLE_OK;

    while (!err)
        err = dhole_barrier(c->group);
    ASSERT_EQ(err, DHOLE_ERR_ABORTED);
    ASSERT_CONTAINS(dhole_error_message(), why);
    ASSERT_ERR(dhole__service_wait_end(c->link, call_ms), DHOLE_ERR_PEER_LOST);
    ASSERT_CONTAINS(dhole_error_message(), why);
}

TEST(stopping_ends_a_request)
{
    struct stage s;
    struct coordinator c;

    open_stage(&s);
    s.wait = true;
    ASSERT_OK(begin(&c, &s));
    dhole__service_stop(s.service);
    expect_withdrawn(&c, "w is stopping");
    end(&c);
    close_stage(&s);
    ASSERT_EQ(atomic_load(&s.requests), 1);
}

TEST(who_is_not_trusted_any_more_loses_request_and_links)
{
    struct stage s;
    struct coordinator c;
    dhole_link *link;
    json_t *status;

    open_stage(&s);
    s.wait = true;
    ASSERT_OK(begin(&c, &s));
    link = call(&s, 1, 0);
    ASSERT_OK(dhole__service_status(link, call_ms, &status));
    json_decref(status);
    dhole__service_set_trust(s.service, trust_callers(&s, 0));
    expect_withdrawn(&c, "not trusted any more");
    ASSERT_ERR(dhole__service_status(link, call_ms, &status), DHOLE_ERR_PEER_LOST);
    dhole_link_free(link);
    end(&c);
    dhole__service_set_trust(s.service, trust_callers(&s, 2));
    s.wait = false;
    expect_state(&s, "ready");
    close_stage(&s);
}

/* It calls where nobody listens, until its caller is gone. */
TEST(a_caller_that_is_gone_withdraws_its_invitation)
{
    struct stage s;
    dhole_link *link;

    open_stage(&s);
    link = call(&s, 0, 0);
    ASSERT_OK(dhole__service_invite(link, invitation("127.0.0.1:9"), call_ms));
    expect_state(&s, "busy");
    dhole_link_free(link);
    await_requests(&s, 1);
    ASSERT_EQ(atomic_load(&s.last_error), DHOLE_ERR_PEER_LOST);
    expect_state(&s, "ready");
    close_stage(&s);
}

/* More than there are places for. */
TEST(links_that_say_nothing_leave_room_for_another_machine)
{
    struct stage s;
    dhole_link *idle[40];

    open_stage(&s);
    for (int i = 0; i < 40; i++)
        idle[i] = call(&s, 0, 0);
    expect_state(&s, "ready");
    for (int i = 0; i < 40; i++)
        dhole_link_free(idle[i]);
    close_stage(&s);
}

TEST(nothing_is_left_behind)
{
    struct stage s;
    int descriptors, threads;

    open_stage(&s); /* libraries keep what their first use takes */
    expect_state(&s, "ready");
    close_stage(&s);
    descriptors = test_descriptors();
    threads = test_threads();
    for (int i = 0; i < 20; i++) {
        struct coordinator c;
        open_stage(&s);
        ASSERT_OK(begin(&c, &s));
        end(&c);
        close_stage(&s);
    }
    test_await_threads(threads);
    ASSERT_EQ(test_descriptors(), descriptors);
}

static atomic_int answers;

/* Asks and hears answers, as fast as it goes. */
static void *ask_on(void *arg)
{
    dhole_link *link = arg;
    dhole_err err = DHOLE_OK;

    while (!err)
        err = dhole__words_send(link, DHOLE__SERVICE_PING, json_object(), call_ms);
    return NULL;
}

static void *hear_on(void *arg)
{
    dhole_link *link = arg;
    dhole_err err = DHOLE_OK;

    while (!err) {
        json_t *words;
        uint32_t kind;
        err = dhole__words_recv(link, &kind, &words, call_ms);
        if (err)
            break;
        json_decref(words);
        atomic_fetch_add(&answers, 1);
    }
    return NULL;
}

/* It has to stop in the middle of them. */
TEST_LIMIT(questions_without_end_do_not_keep_it_from_ending, 30)
{
    pthread_t asks, hears;
    dhole_link *link;
    struct stage s;

    open_stage(&s);
    link = call(&s, 0, 0);
    ASSERT_EQ(pthread_create(&asks, NULL, ask_on, link), 0);
    ASSERT_EQ(pthread_create(&hears, NULL, hear_on, link), 0);
    while (atomic_load(&answers) < 100)
        usleep(1000);
    close_stage(&s);
    pthread_join(asks, NULL);
    pthread_join(hears, NULL);
    dhole_link_free(link);
}
