/* What a worker answers. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/os.h"
#include "base/sys.h"
#include "cluster/service_state.h"
#include "cluster/words.h"
#include "dhole/version.h"

enum {
    idle_ms = 30000,        /* of a caller who asks nothing */
    patient_ms = INT32_MAX, /* of one whose request runs */
    answer_ms = 5000,
    bulk_messages_max = 64
};

dhole_err dhole__visit_say(struct dhole__visit *visit, uint32_t kind, json_t *words)
{
    dhole_err err;

    pthread_mutex_lock(&visit->sending);
    err = dhole__words_send(visit->link, kind, words, answer_ms);
    pthread_mutex_unlock(&visit->sending);
    return err;
}

/* The first rank of the present session that is not ready; "" when all are. */
static void find_trouble(const dhole_cluster *cluster, char *why, size_t size)
{
    why[0] = '\0';
    for (int rank = 0; rank < dhole_cluster_size(cluster); rank++) {
        dhole_peer peer;
        if (rank == dhole_cluster_rank(cluster))
            continue;
        dhole_cluster_peer(cluster, rank, &peer);
        if (peer.state == DHOLE_PEER_READY)
            continue;
        snprintf(why, size, "rank %d (%s): %s", rank, peer.name, peer.why);
        return;
    }
}

/* In one word and a sentence; with the mutex held. */
static const char *state_of(const struct dhole__service *service, char *why, size_t size)
{
    const struct dhole__request *request = &service->request;

    why[0] = '\0';
    if (service->stopping)
        return "stopping";
    if (request->phase == DHOLE__SERVICE_IDLE)
        return "ready";
    if (request->cluster != NULL)
        find_trouble(request->cluster, why, size);
    if (why[0] != '\0')
        return "degraded";
    snprintf(why, size, "a request of %s", request->visit->name);
    return "busy";
}

static dhole_err tell_status(struct dhole__visit *visit)
{
    struct dhole__service *service = visit->service;
    const char *model = service->options.model, *state;
    bool in_flight;
    char why[384];

    pthread_mutex_lock(&service->mutex);
    state = state_of(service, why, sizeof why);
    in_flight = service->request.phase != DHOLE__SERVICE_IDLE;
    pthread_mutex_unlock(&service->mutex);
    return dhole__visit_say(visit, DHOLE__SERVICE_STATUS,
                            json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:i, s:i}", "name",
                                      service->options.name, "version", dhole_version(), "state",
                                      state, "why", why, "model", model != NULL ? model : "",
                                      "model_loaded", model != NULL, "in_flight", (int)in_flight,
                                      "memory_pressure", dhole__memory_pressure()));
}

static dhole_err take_bulk(dhole_link *link, void *memory, json_int_t *bytes)
{
    dhole_message message;
    dhole_err err = dhole_link_recv(link, DHOLE_CHANNEL_BULK, &message, answer_ms);

    if (err)
        return err;
    if (dhole_message_size(&message) > dhole__service_bulk_bytes)
        return dhole__fail(DHOLE_ERR_LIMIT, "a message of %zu bytes: at most %d",
                           dhole_message_size(&message), (int)dhole__service_bulk_bytes);
    *bytes += (json_int_t)dhole_message_size(&message);
    return dhole_link_recv_data(link, DHOLE_CHANNEL_BULK, memory, answer_ms);
}

/* For the caller to see how fast the link is. */
static dhole_err answer_bulk(struct dhole__visit *visit, const json_t *question)
{
    json_int_t bytes = 0;
    long long messages;
    void *memory;
    dhole_err err = dhole__json_int(question, "messages", 1, bulk_messages_max, &messages);

    if (err)
        return err;
    memory = dhole__sys.malloc(dhole__service_bulk_bytes);
    if (memory == NULL)
        return dhole__fail_nomem(dhole__service_bulk_bytes, "a test of the link");
    for (int i = 0; i < messages && err == DHOLE_OK; i++)
        err = take_bulk(visit->link, memory, &bytes);
    free(memory);
    return err ? err
               : dhole__visit_say(visit, DHOLE__SERVICE_BULK, json_pack("{s:I}", "bytes", bytes));
}

static dhole_err answer(struct dhole__visit *visit, uint32_t kind, const json_t *question)
{
    switch (kind) {
    case DHOLE__SERVICE_STATUS: return tell_status(visit);
    case DHOLE__SERVICE_PING: return dhole__visit_say(visit, kind, json_object());
    case DHOLE__SERVICE_BULK: return answer_bulk(visit, question);
    case DHOLE__SERVICE_INVITE: return dhole__request_take(visit, question);
    default:
        return dhole__fail(DHOLE_ERR_PROTOCOL, "a question of kind %" PRIu32 " is unknown", kind);
    }
}

static bool is_invited(struct dhole__visit *visit)
{
    bool invited;

    pthread_mutex_lock(&visit->service->mutex);
    invited = visit->invited;
    pthread_mutex_unlock(&visit->service->mutex);
    return invited;
}

void dhole__visit_serve(struct dhole__visit *visit)
{
    dhole_err err = DHOLE_OK;

    while (err == DHOLE_OK) {
        uint32_t kind;
        json_t *question;
        err = dhole__words_recv(visit->link, &kind, &question,
                                is_invited(visit) ? patient_ms : idle_ms);
        if (err)
            break;
        err = answer(visit, kind, question);
        json_decref(question);
    }
    if (err != DHOLE_ERR_PEER_LOST && err != DHOLE_ERR_CANCELLED && err != DHOLE_ERR_TIMEOUT)
        dhole__log(DHOLE__LOG_WARN, "the link to %s ends: %s", visit->who, dhole_error_message());
    dhole__request_abandon(visit);
}
