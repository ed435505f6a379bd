/* One request, from the invitation to its end. */
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/pipe.h"
#include "cluster/service_state.h"
#include "cluster/session.h"
#include "cluster/trust.h"
#include "cluster/where.h"
#include "cluster/words.h"

enum {
    join_ms = 20000, /* less than the coordinator's patience: it learns why */
    goodbye_ms = 2000
};

static const char wake = 1;

/* What an invitation says; the strings are the object's. */
struct terms {
    const char *session, *address, *agreement, *backend;
    bool seal_memory, seal_rdma;
    const json_t *work;
};

/* An address proper: who invites must not have this machine open files. */
static dhole_err check_address(const char *address)
{
    if (*address == '\0' || dhole__meeting_path(address) != NULL)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "its address is none to call");
    return dhole__check_address(address);
}

static dhole_err read_terms(const json_t *invitation, struct terms *out)
{
    dhole_err err = dhole__json_string(invitation, "session", &out->session);

    if (err == DHOLE_OK)
        err = dhole__json_string(invitation, "address", &out->address);
    if (err == DHOLE_OK)
        err = dhole__json_string(invitation, "agreement", &out->agreement);
    if (err == DHOLE_OK)
        err = dhole__json_string(invitation, "backend", &out->backend);
    if (err == DHOLE_OK)
        err = check_address(out->address);
    if (err)
        return dhole__fail_in(DHOLE_ERR_PROTOCOL, "an invitation");
    out->seal_memory = json_is_true(json_object_get(invitation, "seal_memory"));
    out->seal_rdma = json_is_true(json_object_get(invitation, "seal_rdma"));
    out->work = json_object_get(invitation, "work");
    return DHOLE_OK;
}

/* Makes this the request that is worked on, or says why not. */
static dhole_err reserve(struct dhole__visit *visit)
{
    struct dhole__service *service = visit->service;
    struct dhole__request *request = &service->request;
    dhole_err err = DHOLE_OK;

    pthread_mutex_lock(&service->mutex);
    if (service->stopping)
        err = dhole__fail(DHOLE_ERR_PEER_LOST, "it is stopping");
    else if (request->phase != DHOLE__SERVICE_IDLE)
        err = dhole__fail(DHOLE_ERR_LIMIT, "it is busy with a request of %s: try again later",
                          request->visit->name);
    else if (visit->invited)
        err = dhole__fail(DHOLE_ERR_PROTOCOL, "the former request on this link has yet to end");
    else
        err = dhole__pipe_open(request->cancel, 0);
    if (err == DHOLE_OK) {
        request->phase = DHOLE__SERVICE_ANSWERING;
        request->visit = visit;
        visit->invited = true;
    }
    pthread_mutex_unlock(&service->mutex);
    return err;
}

/* A message may quote what is no UTF-8, which JSON cannot. */
static dhole_err tell(struct dhole__visit *visit, uint32_t kind, dhole_err err)
{
    const char *why = err ? dhole_error_message() : "";
    json_t *words = json_pack("{s:i, s:s}", "error", (int)err, "why", why);

    if (words == NULL)
        words = json_pack("{s:i, s:s}", "error", (int)err, "why", dhole_error_text(err));
    return dhole__visit_say(visit, kind, words);
}

/* The request is over, and another one may come. */
static void release(struct dhole__service *service)
{
    struct dhole__request *request = &service->request;

    pthread_mutex_lock(&service->mutex);
    dhole__pipe_close(request->cancel);
    json_decref(request->invitation);
    if (request->trust != service->trust)
        dhole_trust_free(request->trust);
    *request = (struct dhole__request){0};
    pthread_mutex_unlock(&service->mutex);
}

static void let_go(struct dhole__visit *visit)
{
    struct dhole__service *service = visit->service;

    pthread_mutex_lock(&service->mutex);
    visit->invited = false;
    pthread_cond_broadcast(&service->changed);
    pthread_mutex_unlock(&service->mutex);
}

static void begin(struct dhole__visit *visit, const json_t *invitation)
{
    struct dhole__service *service = visit->service;

    pthread_mutex_lock(&service->mutex);
    service->request.invitation = json_deep_copy(invitation);
    service->request.phase = DHOLE__SERVICE_INVITED;
    pthread_cond_broadcast(&service->changed);
    pthread_mutex_unlock(&service->mutex);
}

dhole_err dhole__request_take(struct dhole__visit *visit, const json_t *invitation)
{
    const struct dhole__service_options *options = &visit->service->options;
    struct terms terms;
    dhole_err err = read_terms(invitation, &terms);

    if (err == DHOLE_OK)
        err = options->check(options->arg, terms.agreement, terms.work);
    if (err == DHOLE_OK)
        err = reserve(visit);
    if (err) {
        dhole__log(DHOLE__LOG_INFO, "refused a request of %s: %s", visit->who,
                   dhole_error_message());
        return tell(visit, DHOLE__SERVICE_INVITE, err);
    }
    dhole__log(DHOLE__LOG_INFO, "takes a request of %s: %s", visit->who, terms.agreement);
    err = tell(visit, DHOLE__SERVICE_INVITE, DHOLE_OK);
    if (err) {
        release(visit->service);
        let_go(visit);
        return err;
    }
    begin(visit, invitation);
    return DHOLE_OK;
}

void dhole__request_withdraw(struct dhole__service *service, const char *why)
{
    struct dhole__request *request = &service->request;

    if (request->phase == DHOLE__SERVICE_IDLE || request->withdrawn[0] != '\0')
        return;
    snprintf(request->withdrawn, sizeof request->withdrawn, "%s", why);
    if (write(request->cancel[1], &wake, 1) < 0) { /* an empty pipe takes a byte */
    }
    if (request->group != NULL)
        dhole_abort(request->group, why);
}

void dhole__request_abandon(struct dhole__visit *visit)
{
    struct dhole__service *service = visit->service;
    struct dhole__request *request = &service->request;
    char why[128];

    pthread_mutex_lock(&service->mutex);
    snprintf(why, sizeof why, "%s is gone", visit->who);
    if (visit->invited && request->visit == visit && request->group == NULL)
        dhole__request_withdraw(service, why);
    while (visit->invited)
        pthread_cond_wait(&service->changed, &service->mutex);
    pthread_mutex_unlock(&service->mutex);
}

static dhole_err join(struct dhole__service *service, const struct terms *terms,
                      dhole_cluster **out)
{
    const struct dhole__request *request = &service->request;
    dhole_cluster_options options = DHOLE_CLUSTER_OPTIONS_INIT;
    char address[DHOLE_ADDRESS_SIZE], listens[DHOLE_ADDRESS_SIZE];

    /* The networks on which this machine is to be called, a person has said. */
    dhole__where_with_port(dhole__service_address(service), "0", listens);
    options.identity = service->options.identity;
    options.trust = request->trust;
    options.name = service->options.name;
    snprintf(address, sizeof address, "%s", terms->address);
    dhole__where_localise(address, sizeof address, dhole_link_own_address(request->visit->link));
    options.address = address;
    options.own_address = listens;
    options.coordinator = request->visit->name;
    options.session = terms->session;
    options.join_timeout_ms = join_ms;
    options.cancel_fd = request->cancel[0];
    options.devices = service->options.devices;
    return dhole_cluster_join(&options, out);
}

static dhole_err make_group(struct dhole__service *service, const struct terms *terms,
                            dhole_group **out)
{
    struct dhole__request *request = &service->request;
    dhole_options base = DHOLE_OPTIONS_INIT;

    base.backend = terms->backend;
    base.agreement = terms->agreement;
    base.plain_memory = !terms->seal_memory;
    base.seal_rdma = terms->seal_rdma;
    base.cancel_fd = request->cancel[0];
    return dhole_cluster_group(request->cluster, &base, out);
}

/* From here on withdrawing breaks the group; DHOLE_ERR_CANCELLED when it came before. */
static dhole_err set_group(struct dhole__service *service, dhole_group *group)
{
    struct dhole__request *request = &service->request;
    bool withdrawn;

    pthread_mutex_lock(&service->mutex);
    request->group = group;
    request->phase = DHOLE__SERVICE_RUNNING;
    withdrawn = request->withdrawn[0] != '\0';
    pthread_mutex_unlock(&service->mutex);
    if (!withdrawn)
        return DHOLE_OK;
    dhole_abort(group, request->withdrawn);
    return dhole__fail(DHOLE_ERR_CANCELLED, "%s", request->withdrawn);
}

static void set_cluster(struct dhole__service *service, dhole_cluster *cluster)
{
    pthread_mutex_lock(&service->mutex);
    service->request.cluster = cluster;
    service->request.group = NULL;
    pthread_mutex_unlock(&service->mutex);
}

static dhole_err run_group(struct dhole__service *service, const struct terms *terms)
{
    const struct dhole__service_options *options = &service->options;
    dhole_cluster *cluster = service->request.cluster;
    dhole_group *group;
    dhole_err err = make_group(service, terms, &group);

    if (err)
        return err;
    dhole__log(DHOLE__LOG_INFO, "rank %d of %d of the request of %s", dhole_rank(group),
               dhole_size(group), service->request.visit->who);
    err = set_group(service, group);
    if (err == DHOLE_OK)
        err = options->run(options->arg, group, terms->work);
    set_cluster(service, cluster);
    dhole_group_free(group);
    return err;
}

/* The coordinator ends the session; a rank that left before would be missed. */
static void await_end(dhole_cluster *cluster)
{
    char words[64];
    size_t size;
    dhole_err err = dhole_cluster_recv(cluster, 0, words, sizeof words, &size, goodbye_ms);

    (void)err; /* it has ended, or is late */
}

static dhole_err see_through(struct dhole__service *service)
{
    struct terms terms;
    dhole_cluster *cluster;
    dhole_err err;

    if (service->request.invitation == NULL)
        return dhole__fail(DHOLE_ERR_NOMEM, "no memory: an invitation");
    err = read_terms(service->request.invitation, &terms);
    if (err == DHOLE_OK)
        err = join(service, &terms, &cluster);
    if (err)
        return err;
    dhole_cluster_set_status(cluster, service->options.model != NULL, 1);
    set_cluster(service, cluster);
    err = run_group(service, &terms);
    if (err == DHOLE_OK)
        await_end(cluster);
    set_cluster(service, NULL);
    dhole_cluster_free(cluster);
    return err;
}

/* What was cancelled or aborted because the request was withdrawn, failed for that reason. */
static dhole_err explain(struct dhole__service *service, dhole_err err)
{
    const char *why = service->request.withdrawn;

    if (err != DHOLE_ERR_CANCELLED && err != DHOLE_ERR_ABORTED)
        return err;
    pthread_mutex_lock(&service->mutex);
    if (why[0] != '\0')
        err = dhole__fail(DHOLE_ERR_PEER_LOST, "%s", why);
    pthread_mutex_unlock(&service->mutex);
    return err;
}

static void log_end(const struct dhole__visit *visit, dhole_err err)
{
    if (err)
        dhole__log(DHOLE__LOG_WARN, "the request of %s failed: %s", visit->who,
                   dhole_error_message());
    else
        dhole__log(DHOLE__LOG_INFO, "the request of %s is done", visit->who);
}

/* Waits for the next invitation; false when it is time to stop instead. */
static bool wait_invited(struct dhole__service *service)
{
    struct dhole__request *request = &service->request;
    bool invited;

    pthread_mutex_lock(&service->mutex);
    while (request->phase != DHOLE__SERVICE_INVITED &&
           !(service->stopping && request->phase == DHOLE__SERVICE_IDLE))
        pthread_cond_wait(&service->changed, &service->mutex);
    invited = request->phase == DHOLE__SERVICE_INVITED;
    if (invited) {
        request->phase = DHOLE__SERVICE_JOINING;
        request->trust = service->trust;
    }
    pthread_mutex_unlock(&service->mutex);
    return invited;
}

/* Tells the caller, and is ready for the next one. */
static void finish(struct dhole__service *service, struct dhole__visit *visit, dhole_err err)
{
    char message[dhole__message_max];

    log_end(visit, err);
    dhole__message_save(message);
    release(service);
    if (tell(visit, DHOLE__SERVICE_ENDED, err) != DHOLE_OK)
        dhole__log(DHOLE__LOG_INFO, "%s was not told: %s", visit->who, dhole_error_message());
    dhole_link_close(visit->link);
    let_go(visit);
    dhole__message_restore(message);
}

dhole_err dhole__service_next(struct dhole__service *service, bool *stopped)
{
    struct dhole__visit *visit;
    dhole_err err;

    *stopped = !wait_invited(service);
    if (*stopped)
        return DHOLE_OK;
    visit = service->request.visit;
    err = explain(service, see_through(service));
    finish(service, visit, err);
    return err;
}

void dhole__request_close(struct dhole__service *service)
{
    struct dhole__request *request = &service->request;
    struct dhole__visit *visit = NULL;

    pthread_mutex_lock(&service->mutex);
    service->stopping = true;
    while (request->phase == DHOLE__SERVICE_ANSWERING)
        pthread_cond_wait(&service->changed, &service->mutex);
    if (request->phase == DHOLE__SERVICE_INVITED)
        visit = request->visit;
    pthread_mutex_unlock(&service->mutex);
    if (visit != NULL)
        finish(service, visit, dhole__fail(DHOLE_ERR_PEER_LOST, "it is stopping"));
}
