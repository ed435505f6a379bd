#include "cli/remote.h"

#include <openssl/rand.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/pipe.h"
#include "base/sys.h"
#include "cli/serve.h"
#include "cli/signals.h"
#include "cluster/places.h"
#include "cluster/service.h"
#include "cluster/where.h"
#include "group/backend.h"
#include "infer/shard.h"
#include "transport/tcp/tcp.h"

enum {
    call_timeout_ms = 5000,
    discovery_ms = 1000,
    end_timeout_ms = 5000,    /* for workers that end well */
    lost_timeout_ms = 1000,   /* for those whose group is broken */
    session_size = 2 * 16 + 1 /* hexadecimal */
};

/* One worker, and the thread that hears how its part ends. */
struct member {
    struct dhole__remote *remote;
    const dhole_trusted *machine;
    char address[DHOLE_ADDRESS_SIZE];
    dhole_link *link;
    bool watched;
    pthread_t watcher;
    /* Under the remote's mutex: */
    bool ended;
    dhole_err err;
    char why[dhole__message_max];
};

struct dhole__remote {
    struct dhole__remote_options options;
    dhole_identity *identity;
    dhole_trust *trust;
    char session[session_size];
    char agreement[dhole__agreement_size];
    struct member member[dhole__ranks_max]; /* rank r is member[r - 1] */
    pthread_mutex_t mutex;
    int ended[2]; /* a pipe: a byte for each member that has ended */
    dhole_cluster *cluster;
    dhole_group *group;
};

dhole_group *dhole__remote_group(const struct dhole__remote *remote)
{
    return remote->group;
}

static dhole_err find_member(struct dhole__remote *remote, int i)
{
    const char *name = remote->options.names[i];
    const dhole_trusted *machine = dhole_trust_by_name(remote->trust, name);

    if (machine == NULL)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "--peers: no machine \"%s\" is trusted; see dhole trust list", name);
    remote->member[i].machine = machine;
    snprintf(remote->member[i].address, DHOLE_ADDRESS_SIZE, "%s", machine->address);
    return DHOLE_OK;
}

/* That it is who it says to be shows when it is called. */
static void on_found(void *arg, const dhole_found *found)
{
    struct dhole__remote *remote = arg;

    for (int i = 0; i < remote->options.count; i++) {
        struct member *member = &remote->member[i];
        if (member->address[0] == '\0' &&
            memcmp(&member->machine->pin, &found->pin, sizeof found->pin) == 0)
            snprintf(member->address, sizeof member->address, "%s", found->address);
    }
}

static const struct member *without_address(const struct dhole__remote *remote)
{
    for (int i = 0; i < remote->options.count; i++)
        if (remote->member[i].address[0] == '\0')
            return &remote->member[i];
    return NULL;
}

/* Those whose address nobody has said are looked for on the local network. */
static dhole_err find_addresses(struct dhole__remote *remote)
{
    const struct member *member = without_address(remote);
    const char *name, *why = "it is silent";

    if (member == NULL)
        return DHOLE_OK;
    if (dhole_discover(discovery_ms, on_found, remote) != DHOLE_OK)
        why = dhole_error_message();
    member = without_address(remote);
    if (member == NULL)
        return DHOLE_OK;
    name = member->machine->name;
    return dhole__fail(DHOLE_ERR_CONFIG,
                       "--peers: no address of %s is known, and it was not found on the local "
                       "network (%s): dhole trust add %s FINGERPRINT HOST:PORT",
                       name, why, name);
}

static dhole_err call(struct dhole__remote *remote, int i)
{
    struct member *member = &remote->member[i];
    dhole_err err = dhole__service_call(remote->identity, &member->machine->pin, member->address, 0,
                                        call_timeout_ms, dhole__signals_fd(), &member->link);

    return err ? dhole__fail_in(err, "%s", member->machine->name) : DHOLE_OK;
}

static json_t *invitation(const struct dhole__remote *remote, const char *address)
{
    const struct dhole__remote_options *o = &remote->options;

    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:b, s:{s:i, s:i, s:i}}", "session",
                     remote->session, "address", address, "agreement", remote->agreement, "backend",
                     o->backend, "seal_memory", o->seal_memory, "seal_rdma", true, "work",
                     "parallel", (int)o->parallel, "ranks", o->count + 1, "threads", o->threads);
}

/* Hears of the worker's end, which interrupts whatever waits for it here. */
static void *watch(void *arg)
{
    struct member *member = arg;
    dhole_err err = dhole__service_wait_end(member->link, 0);

    pthread_mutex_lock(&member->remote->mutex);
    member->ended = true;
    member->err = err;
    if (err)
        dhole__message_save(member->why);
    pthread_mutex_unlock(&member->remote->mutex);
    if (err)
        dhole__signals_wake();
    if (write(member->remote->ended[1], "", 1) < 0) { /* it has room for all */
    }
    return NULL;
}

/* Which of the places is on the worker's network, or else the first. */
static void place_for(const struct member *member, const char *places, char out[DHOLE_ADDRESS_SIZE])
{
    const char *own = dhole_link_own_address(member->link);

    for (int i = dhole__tcp_rails(places) - 1; i >= 0; i--) {
        char place[DHOLE_ADDRESS_SIZE];
        size_t length;
        const char *at = dhole__tcp_rail(places, i, &length);
        snprintf(place, sizeof place, "%.*s", (int)length, at);
        if (i == 0 || dhole__where_same_host(place, own)) {
            strcpy(out, place);
            return;
        }
    }
}

static dhole_err invite(struct member *member, const char *places)
{
    char address[DHOLE_ADDRESS_SIZE];
    dhole_err err;
    int error;

    place_for(member, places, address);
    err = dhole__service_invite(member->link, invitation(member->remote, address), call_timeout_ms);
    if (err)
        return dhole__fail_in(err, "%s", member->machine->name);
    error = dhole__sys.thread_create(&member->watcher, NULL, watch, member);
    if (error != 0)
        return dhole__fail(DHOLE_ERR_SYSTEM, "cannot start a thread: %s", strerror(error));
    member->watched = true;
    return DHOLE_OK;
}

static dhole_err invite_all(void *arg, const char *places)
{
    struct dhole__remote *remote = arg;
    dhole_err err = DHOLE_OK;

    for (int i = 0; i < remote->options.count && err == DHOLE_OK; i++)
        err = invite(&remote->member[i], places);
    return err;
}

/* Why waiting was cancelled: a signal, or a worker that failed. */
static dhole_err explain_cancel(struct dhole__remote *remote)
{
    dhole_err err = DHOLE_OK;

    pthread_mutex_lock(&remote->mutex);
    for (int i = 0; i < remote->options.count && err == DHOLE_OK && !dhole__signals_caught(); i++) {
        const struct member *member = &remote->member[i];
        if (member->ended && member->err)
            err = dhole__fail(member->err, "%s: %s", member->machine->name, member->why);
    }
    pthread_mutex_unlock(&remote->mutex);
    return err ? err : dhole__fail(DHOLE_ERR_CANCELLED, "interrupted");
}

static dhole_err is_local(const struct member *member, bool *out)
{
    struct dhole__address own;
    dhole_err err = dhole__tcp_resolve(dhole_link_own_address(member->link), &own);

    if (!err)
        *out = dhole__tcp_is_loopback(&own);
    return err;
}

/* Where workers can call: at the addresses from which they were called, and on no other network.
 * One that is no loopback is good for workers of this host too. */
static dhole_err choose_places(const struct dhole__remote *remote, char out[DHOLE_ADDRESS_SIZE])
{
    dhole_err err = DHOLE_OK;

    out[0] = '\0';
    for (int i = 0; i < remote->options.count && err == DHOLE_OK; i++) {
        char at[DHOLE_ADDRESS_SIZE];
        bool local = false;
        err = is_local(&remote->member[i], &local);
        dhole__where_with_port(dhole_link_own_address(remote->member[i].link), "0", at);
        if (!local)
            dhole__places_add(out, DHOLE_ADDRESS_SIZE, at);
    }
    if (out[0] == '\0')
        dhole__where_with_port(dhole_link_own_address(remote->member[0].link), "0", out);
    return err;
}

static dhole_err form_session(struct dhole__remote *remote)
{
    dhole_cluster_options options = DHOLE_CLUSTER_OPTIONS_INIT;
    char address[DHOLE_ADDRESS_SIZE];
    dhole_err err = choose_places(remote, address);

    if (err)
        return err;
    options.identity = remote->identity;
    options.trust = remote->trust;
    options.address = address;
    options.members = remote->options.names;
    options.count = remote->options.count;
    options.session = remote->session;
    options.cancel_fd = dhole__signals_fd();
    options.devices = remote->options.devices;
    options.listening = invite_all;
    options.listening_arg = remote;
    return dhole_cluster_listen(&options, &remote->cluster);
}

static dhole_err form_group(struct dhole__remote *remote)
{
    const struct dhole__remote_options *o = &remote->options;
    dhole_options base = DHOLE_OPTIONS_INIT;

    dhole_cluster_set_status(remote->cluster, 1, 1);
    base.backend = o->backend;
    base.agreement = remote->agreement;
    base.plain_memory = !o->seal_memory;
    base.seal_rdma = 1; /* nobody has said that it is a cable */
    base.cancel_fd = dhole__signals_fd();
    return dhole_cluster_group(remote->cluster, &base, &remote->group);
}

static dhole_err name_session(struct dhole__remote *remote)
{
    uint8_t random[(session_size - 1) / 2];

    if (RAND_bytes(random, sizeof random) != 1)
        return dhole__fail(DHOLE_ERR_SYSTEM, "no random numbers");
    dhole__hex_write(random, sizeof random, remote->session);
    return DHOLE_OK;
}

static dhole_err start(struct dhole__remote *remote)
{
    const struct dhole__remote_options *o = &remote->options;
    dhole_err err = dhole_identity_load(NULL, &remote->identity);

    if (err == DHOLE_OK)
        err = dhole_trust_load(NULL, &remote->trust);
    if (err == DHOLE_OK)
        err = dhole__pipe_open(remote->ended, 0);
    if (err == DHOLE_OK)
        err = name_session(remote);
    dhole__agreement(o->model, o->parallel, o->count + 1, remote->agreement);
    for (int i = 0; i < o->count && err == DHOLE_OK; i++)
        err = find_member(remote, i);
    if (err == DHOLE_OK)
        err = find_addresses(remote);
    for (int i = 0; i < o->count && err == DHOLE_OK; i++)
        err = call(remote, i);
    if (err == DHOLE_OK)
        err = form_session(remote);
    if (err == DHOLE_OK)
        err = form_group(remote);
    return err == DHOLE_ERR_CANCELLED ? explain_cancel(remote) : err;
}

dhole_err dhole__remote_start(const struct dhole__remote_options *options,
                              struct dhole__remote **out)
{
    struct dhole__remote *remote = dhole__sys.calloc(1, sizeof *remote);
    dhole_err err;

    if (remote == NULL)
        return dhole__fail_nomem(sizeof *remote, "the ranks");
    remote->options = *options;
    remote->ended[0] = remote->ended[1] = -1;
    pthread_mutex_init(&remote->mutex, NULL);
    for (int i = 0; i < options->count; i++)
        remote->member[i].remote = remote;
    err = start(remote);
    if (err) {
        char message[dhole__message_max];
        dhole__message_save(message);
        dhole__remote_end(remote, false);
        dhole__message_restore(message);
        return err;
    }
    *out = remote;
    return DHOLE_OK;
}

dhole_err dhole__remote_explain(const struct dhole__remote *remote, dhole_err err)
{
    int rank = dhole__group_culprit(remote->group);

    if (err ==
        DHOLE_ERR_ABORTED) /* a worker was stopped, or does not trust this machine any more */
        err = DHOLE_ERR_PEER_LOST;
    if (rank < 1 || err == DHOLE_ERR_CANCELLED)
        return err;
    return dhole__fail_in(err, "%s", remote->member[rank - 1].machine->name);
}

/* Until all workers have said that they are ready for another request, or are gone. */
static void wait_ended(struct dhole__remote *remote, int64_t timeout_ms)
{
    dhole__deadline deadline = dhole__deadline_in(timeout_ms);
    struct pollfd fd = {.fd = remote->ended[0], .events = POLLIN};
    char byte;

    for (int i = 0; i < remote->options.count; i++)
        if (remote->member[i].watched &&
            (dhole__sys.poll(&fd, 1, dhole__deadline_ms(deadline)) <= 0 ||
             read(remote->ended[0], &byte, 1) != 1))
            return;
}

static void member_end(struct member *member)
{
    if (member->link == NULL)
        return;
    dhole_link_close(member->link);
    if (member->watched)
        pthread_join(member->watcher, NULL);
    dhole_link_free(member->link);
}

void dhole__remote_end(struct dhole__remote *remote, bool well)
{
    if (remote == NULL)
        return;
    dhole_group_free(remote->group);
    dhole_cluster_free(remote->cluster);
    wait_ended(remote, well ? end_timeout_ms : lost_timeout_ms);
    for (int i = 0; i < remote->options.count; i++)
        member_end(&remote->member[i]);
    dhole__pipe_close(remote->ended);
    dhole_trust_free(remote->trust);
    dhole_identity_free(remote->identity);
    pthread_mutex_destroy(&remote->mutex);
    free(remote);
}
