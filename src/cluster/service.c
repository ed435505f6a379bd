/* The worker's service: who is let in, and the threads that answer. */
#include "cluster/service.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/pipe.h"
#include "base/sys.h"
#include "cluster/service_state.h"
#include "cluster/trust.h"

enum {
    visits_max = 32,
    visits_of_one_max = 8, /* so that no machine keeps the others out */
    connect_ms = 5000,
    patient_ms = INT32_MAX,
    pause_ms = 200, /* after accepting failed */
    short_fingerprint = 7 + 12
};

static const char wake = 1;

static void describe(const dhole_pin *pin, const char *name, char out[dhole__who_size])
{
    char fingerprint[DHOLE_FINGERPRINT_SIZE];

    dhole_fingerprint(pin, fingerprint);
    snprintf(out, dhole__who_size, "%s (%.*s)", name, (int)short_fingerprint, fingerprint);
}

static int is_trusted(void *arg, const dhole_pin *pin)
{
    struct dhole__service *service = arg;
    int trusted;

    pthread_mutex_lock(&service->mutex);
    trusted = dhole_trust_by_pin(service->trust, pin) != NULL;
    pthread_mutex_unlock(&service->mutex);
    return trusted;
}

static void *visit_main(void *arg)
{
    struct dhole__visit *visit = arg;
    struct dhole__service *service = visit->service;

    dhole__visit_serve(visit);
    dhole_link_close(visit->link);
    pthread_mutex_lock(&service->mutex);
    visit->over = true;
    pthread_mutex_unlock(&service->mutex);
    return NULL;
}

static void visit_free(struct dhole__visit *visit)
{
    dhole_link_free(visit->link);
    pthread_mutex_destroy(&visit->sending);
    free(visit);
}

/* Joins the threads that are over, or all of them. */
static void reap(struct dhole__service *service, bool all)
{
    struct dhole__visit **at = &service->visits;

    while (*at != NULL) {
        struct dhole__visit *visit = *at;
        bool over;
        pthread_mutex_lock(&service->mutex);
        over = visit->over;
        pthread_mutex_unlock(&service->mutex);
        if (!over && !all) {
            at = &visit->next;
            continue;
        }
        if (all)
            dhole_link_close(visit->link); /* whatever it is asked on and on */
        pthread_join(visit->thread, NULL);
        pthread_mutex_lock(&service->mutex);
        *at = visit->next;
        service->visit_count--;
        pthread_mutex_unlock(&service->mutex);
        visit_free(visit);
    }
}

/* NULL for want of memory, and when the machine is not trusted any more. */
static struct dhole__visit *visit_make(struct dhole__service *service, dhole_link *link)
{
    struct dhole__visit *visit = dhole__sys.calloc(1, sizeof *visit);
    const dhole_trusted *machine;

    if (visit == NULL)
        return NULL;
    dhole_link_pin(link, &visit->pin);
    pthread_mutex_lock(&service->mutex);
    machine = dhole_trust_by_pin(service->trust, &visit->pin);
    if (machine != NULL)
        snprintf(visit->name, sizeof visit->name, "%s", machine->name);
    pthread_mutex_unlock(&service->mutex);
    if (machine == NULL) {
        free(visit);
        return NULL;
    }
    describe(&visit->pin, visit->name, visit->who);
    pthread_mutex_init(&visit->sending, NULL);
    visit->service = service;
    visit->link = link;
    return visit;
}

static bool has_room(const struct dhole__service *service, const dhole_link *link)
{
    dhole_pin pin;
    int of_one = 0;

    dhole_link_pin(link, &pin);
    for (const struct dhole__visit *visit = service->visits; visit != NULL; visit = visit->next)
        of_one += memcmp(&visit->pin, &pin, sizeof pin) == 0;
    return service->visit_count < visits_max && of_one < visits_of_one_max;
}

/* The link is closed when there is nobody to answer on it. */
static void receive(struct dhole__service *service, dhole_link *link)
{
    struct dhole__visit *visit;
    int error;

    reap(service, false);
    visit = has_room(service, link) ? visit_make(service, link) : NULL;
    if (visit == NULL) {
        dhole__log(DHOLE__LOG_WARN, "closed the link to %s: %d are open", dhole_link_address(link),
                   service->visit_count);
        dhole_link_free(link);
        return;
    }
    pthread_mutex_lock(&service->mutex);
    error = dhole__sys.thread_create(&visit->thread, NULL, visit_main, visit);
    if (error == 0) {
        visit->next = service->visits;
        service->visits = visit;
        service->visit_count++;
    }
    pthread_mutex_unlock(&service->mutex);
    if (error != 0) {
        dhole__log(DHOLE__LOG_WARN, "closed the link to %s: %s", visit->who, strerror(error));
        visit_free(visit);
    }
}

static void *accept_main(void *arg)
{
    struct dhole__service *service = arg;
    struct pollfd closing = {.fd = service->close[0], .events = POLLIN};
    dhole_err err = DHOLE_OK;

    while (err != DHOLE_ERR_CANCELLED) {
        dhole_link *link;
        err = dhole_link_accept(service->listener, patient_ms, &link);
        if (err == DHOLE_OK) {
            receive(service, link);
        } else if (err != DHOLE_ERR_CANCELLED && err != DHOLE_ERR_TIMEOUT) {
            dhole__log(DHOLE__LOG_WARN, "%s", dhole_error_message());
            if (dhole__sys.poll(&closing, 1, pause_ms) > 0)
                break;
        }
    }
    return NULL;
}

static dhole_err start(struct dhole__service *service)
{
    dhole_link_options options = DHOLE_LINK_OPTIONS_INIT;
    dhole_err err;
    int error;

    if (dhole__check_address(service->options.address) != DHOLE_OK)
        return dhole__fail_in(DHOLE_ERR_CONFIG, "where to listen");
    err = dhole__pipe_open(service->close, 0);
    if (err)
        return err;
    options.identity = service->options.identity;
    options.trusts = is_trusted;
    options.trusts_arg = service;
    options.session = dhole__service_session;
    options.message_max = dhole__service_bulk_bytes;
    options.connect_timeout_ms = connect_ms;
    options.cancel_fd = service->close[0];
    err = dhole_link_listen(&options, service->options.address, &service->listener);
    if (err)
        return err;
    error = dhole__sys.thread_create(&service->accept_thread, NULL, accept_main, service);
    if (error != 0)
        return dhole__fail(DHOLE_ERR_SYSTEM, "cannot start a thread: %s", strerror(error));
    service->accepting = true;
    return DHOLE_OK;
}

dhole_err dhole__service_open(const struct dhole__service_options *options,
                              struct dhole__service **out)
{
    struct dhole__service *service = dhole__sys.calloc(1, sizeof *service);
    dhole_err err;

    if (service == NULL) {
        dhole_trust_free(options->trust);
        return dhole__fail_nomem(sizeof *service, "a service");
    }
    service->options = *options;
    service->trust = options->trust;
    service->close[0] = service->close[1] = -1;
    pthread_mutex_init(&service->mutex, NULL);
    pthread_cond_init(&service->changed, NULL);
    err = start(service);
    if (err) {
        dhole__service_free(service);
        return err;
    }
    *out = service;
    return DHOLE_OK;
}

const char *dhole__service_address(const struct dhole__service *service)
{
    return dhole_link_listener_address(service->listener);
}

void dhole__service_set_trust(struct dhole__service *service, dhole_trust *trust)
{
    char why[128];

    pthread_mutex_lock(&service->mutex);
    if (service->trust != service->request.trust)
        dhole_trust_free(service->trust);
    service->trust = trust;
    for (struct dhole__visit *visit = service->visits; visit != NULL; visit = visit->next) {
        if (visit->over || dhole_trust_by_pin(trust, &visit->pin) != NULL)
            continue;
        snprintf(why, sizeof why, "%s is not trusted any more", visit->who);
        if (visit->invited && service->request.visit == visit)
            dhole__request_withdraw(service, why);
        else
            dhole_link_close(visit->link);
    }
    pthread_mutex_unlock(&service->mutex);
}

void dhole__service_stop(struct dhole__service *service)
{
    char why[128];

    pthread_mutex_lock(&service->mutex);
    service->stopping = true;
    snprintf(why, sizeof why, "%s is stopping", service->options.name);
    dhole__request_withdraw(service, why);
    pthread_cond_broadcast(&service->changed);
    pthread_mutex_unlock(&service->mutex);
}

void dhole__service_free(struct dhole__service *service)
{
    if (service == NULL)
        return;
    dhole__request_close(service);
    if (service->accepting) {
        if (write(service->close[1], &wake, 1) < 0) { /* an empty pipe takes a byte */
        }
        pthread_join(service->accept_thread, NULL);
    }
    reap(service, true);
    dhole_link_listener_free(service->listener);
    dhole__pipe_close(service->close);
    dhole_trust_free(service->trust);
    pthread_cond_destroy(&service->changed);
    pthread_mutex_destroy(&service->mutex);
    free(service);
}
