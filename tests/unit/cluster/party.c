#include "party.h"

#include <time.h>

#include "cluster/trust.h"

void party_change_key(struct party *p, int machine)
{
    dhole_identity_free(p->identity[machine]);
    ASSERT_OK(dhole_identity_generate(&p->identity[machine]));
}

dhole_trust *party_trust(const struct party *p, const int *machines, int count)
{
    char text[2048] = "";
    dhole_trust *trust;

    for (int i = 0; i < count; i++) {
        char key[DHOLE_FINGERPRINT_SIZE];
        dhole_pin pin;
        size_t used = strlen(text);
        dhole_identity_pin(p->identity[machines[i]], &pin);
        dhole_fingerprint(&pin, key);
        snprintf(text + used, sizeof text - used, "m%d %s\n", machines[i], key);
    }
    ASSERT_OK(dhole__trust_parse(text, strlen(text), "the test's list", &trust));
    return trust;
}

void party_make(struct party *p, int size)
{
    static const int all[] = {0, 1, 2, 3, 4, 5, 6, 7};

    memset(p, 0, sizeof *p);
    p->size = size;
    for (int i = 0; i < size; i++)
        ASSERT_OK(dhole_identity_generate(&p->identity[i]));
    p->trust = party_trust(p, all, size);
    snprintf(p->address, sizeof p->address, "127.0.0.1:%d", free_port("127.0.0.1"));
    p->base = (dhole_cluster_options)DHOLE_CLUSTER_OPTIONS_INIT;
    p->base.join_timeout_ms = patient(20000);
}

dhole_cluster_options party_options(const struct party *p, int machine)
{
    static const char *const names[] = {"m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7"};
    dhole_cluster_options options = p->base;

    options.identity = p->identity[machine];
    options.trust = p->trust;
    options.name = names[machine];
    options.address = p->address;
    options.count = p->size - 1;
    if (options.members == NULL && !p->by_address)
        options.members = names + 1;
    return options;
}

static void *begin(void *arg)
{
    struct starter *s = arg;
    dhole_cluster **out = &s->party->cluster[s->machine];

    s->err = s->machine == 0 ? dhole_cluster_listen(&s->options, out)
                             : dhole_cluster_join(&s->options, out);
    snprintf(s->message, sizeof s->message, "%s", dhole_error_message());
    return NULL;
}

void party_start(struct starter *s, struct party *p, int machine)
{
    if (s->options.identity == NULL)
        s->options = party_options(p, machine);
    s->party = p;
    s->machine = machine;
    ASSERT(pthread_create(&s->thread, NULL, begin, s) == 0);
}

void party_await(struct starter *s)
{
    pthread_join(s->thread, NULL);
}

void party_begin(struct party *p)
{
    struct starter starter[party_max] = {{0}};

    for (int i = 0; i < p->size; i++)
        party_start(&starter[i], p, i);
    for (int i = 0; i < p->size; i++) {
        party_await(&starter[i]);
        ASSERT_MSG(starter[i].err == DHOLE_OK, "m%d: %s", i, starter[i].message);
    }
}

void party_end(struct party *p)
{
    for (int i = p->size - 1; i >= 0; i--) {
        dhole_cluster_free(p->cluster[i]);
        p->cluster[i] = NULL;
    }
}

void party_free(struct party *p)
{
    party_end(p);
    dhole_trust_free(p->trust);
    for (int i = 0; i < p->size; i++)
        dhole_identity_free(p->identity[i]);
}

struct runner {
    struct party *party;
    int machine;
    party_body *body;
    pthread_t thread;
};

static void *run(void *arg)
{
    struct runner *r = arg;

    r->body(r->party, r->machine, r->party->cluster[r->machine]);
    return NULL;
}

void party_run(struct party *p, party_body *body)
{
    struct runner runner[party_max];

    for (int i = 0; i < p->size; i++) {
        runner[i] = (struct runner){p, i, body, 0};
        if (p->cluster[i] != NULL)
            ASSERT(pthread_create(&runner[i].thread, NULL, run, &runner[i]) == 0);
    }
    for (int i = 0; i < p->size; i++)
        if (p->cluster[i] != NULL)
            pthread_join(runner[i].thread, NULL);
}

void party_await_state(dhole_cluster *cluster, int rank, dhole_peer_state state)
{
    struct timespec tick = {0, 2000000};
    int64_t until = now_ms() + patient(20000);
    dhole_peer peer;

    for (;;) {
        dhole_cluster_peer(cluster, rank, &peer);
        if (peer.state == state)
            return;
        ASSERT_MSG(now_ms() < until, "rank %d is in state %d (%s), expected %d", rank, peer.state,
                   peer.why, state);
        nanosleep(&tick, NULL);
    }
}
