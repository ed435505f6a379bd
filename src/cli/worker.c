#include "cli/worker.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/pipe.h"
#include "base/sys.h"
#include "cli/cli.h"
#include "cli/notify.h"
#include "cli/serve.h"
#include "cli/signals.h"
#include "cluster/service.h"
#include "infer/shard.h"
#include "transport/tcp/tcp.h"

enum { threads_max = 1024 };

struct dhole__worker {
    struct dhole__worker_options options;
    dhole_model *model; /* or NULL */
    char model_text[256];
    size_t trusted; /* machines; of the thread that reloads */
    struct dhole__service *service;
    dhole_announcement *announcement;
    int done[2]; /* a pipe: ends the thread that waits for signals */
    pthread_t watcher;
};

/* What a coordinator asks for: {parallel, ranks, threads}. */
struct work {
    dhole_parallel parallel;
    int ranks, threads;
};

static dhole_err read_work(const json_t *json, struct work *out)
{
    long long parallel, ranks, threads;
    dhole_err err =
        dhole__json_int(json, "parallel", DHOLE_PARALLEL_SINGLE, DHOLE_PARALLEL_PP, &parallel);

    if (err == DHOLE_OK)
        err = dhole__json_int(json, "ranks", 1, dhole__ranks_max, &ranks);
    if (err == DHOLE_OK)
        err = dhole__json_int(json, "threads", 0, threads_max, &threads);
    if (err)
        return dhole__fail_in(DHOLE_ERR_PROTOCOL, "the work of an invitation");
    *out = (struct work){(dhole_parallel)parallel, (int)ranks, (int)threads};
    return DHOLE_OK;
}

static dhole_err check(void *arg, const char *agreement, const json_t *json)
{
    const struct dhole__worker *worker = arg;
    char own[dhole__agreement_size];
    struct work work = {0};
    dhole_err err = read_work(json, &work);

    if (err)
        return err;
    if (worker->model == NULL)
        return dhole__fail(DHOLE_ERR_UNSUPPORTED,
                           "it has no model: start its `dhole join` with --model FILE");
    dhole__agreement(worker->model, work.parallel, work.ranks, own);
    if (strcmp(own, agreement) != 0)
        return dhole__fail(DHOLE_ERR_MISMATCH,
                           "it has another model, %s: \"%s\", and the request is for \"%s\"",
                           worker->model_text, own, agreement);
    return DHOLE_OK;
}

static dhole_err work_on(void *arg, dhole_group *group, const json_t *json)
{
    const struct dhole__worker *worker = arg;
    dhole_engine_options engine = {0};
    struct work work = {0};
    dhole_err err = read_work(json, &work);

    if (err)
        return err;
    engine.parallel = work.parallel;
    engine.threads = worker->options.threads > 0 ? worker->options.threads : work.threads;
    return dhole__serve(worker->model, group, &engine);
}

static int open_model(struct dhole__worker *worker)
{
    const char *path = worker->options.model, *file;
    dhole_err err;

    if (path == NULL)
        return DHOLE__EXIT_DONE;
    err = dhole_model_open(path, &worker->model);
    if (err)
        return dhole__report_model(err);
    file = strrchr(path, '/');
    snprintf(worker->model_text, sizeof worker->model_text, "%s", file != NULL ? file + 1 : path);
    for (char *p = worker->model_text; *p != '\0'; p++)
        if (*p < ' ' || *p > '~') /* others are told in JSON, and in a log */
            *p = '?';
    return DHOLE__EXIT_DONE;
}

static dhole_err open_service(struct dhole__worker *worker)
{
    struct dhole__service_options options = {
        .identity = worker->options.identity,
        .name = worker->options.name,
        .address = worker->options.listen,
        .model = worker->model != NULL ? worker->model_text : NULL,
        .devices = worker->options.devices,
        .check = check,
        .run = work_on,
        .arg = worker,
    };
    dhole_err err = dhole_trust_load(NULL, &options.trust);

    if (err)
        return err;
    worker->trusted = dhole_trust_count(options.trust);
    return dhole__service_open(&options, &worker->service);
}

/* Machines of the local network may look for this one, if they can reach it at all. */
static void announce(struct dhole__worker *worker)
{
    const char *address = dhole__service_address(worker->service);
    struct dhole__address resolved;
    dhole_pin pin;

    if (worker->options.hide || dhole__tcp_resolve(address, &resolved) != DHOLE_OK ||
        dhole__tcp_is_loopback(&resolved))
        return;
    dhole_identity_pin(worker->options.identity, &pin);
    if (dhole_announce(worker->options.name, atoi(strrchr(address, ':') + 1), &pin,
                       &worker->announcement) != DHOLE_OK)
        dhole__log(DHOLE__LOG_INFO, "not announced on the local network: %s",
                   dhole_error_message());
}

int dhole__worker_open(const struct dhole__worker_options *options, struct dhole__worker **out)
{
    struct dhole__worker *worker = dhole__sys.calloc(1, sizeof *worker);
    dhole_err err;
    int code;

    if (worker == NULL)
        return dhole__report(dhole__fail_nomem(sizeof *worker, "a worker"));
    worker->options = *options;
    worker->done[0] = worker->done[1] = -1;
    code = open_model(worker);
    if (code == DHOLE__EXIT_DONE) {
        err = open_service(worker);
        if (err)
            code = dhole__report(err);
    }
    if (code != DHOLE__EXIT_DONE) {
        dhole__worker_free(worker);
        return code;
    }
    *out = worker;
    return DHOLE__EXIT_DONE;
}

const char *dhole__worker_address(const struct dhole__worker *worker)
{
    return dhole__service_address(worker->service);
}

dhole_err dhole__worker_reload(struct dhole__worker *worker)
{
    dhole_trust *trust;
    dhole_err err = dhole_trust_load(NULL, &trust);

    if (err)
        return err;
    worker->trusted = dhole_trust_count(trust);
    dhole__log(DHOLE__LOG_INFO, "machines that it trusts: %zu", worker->trusted);
    dhole__service_set_trust(worker->service, trust);
    return DHOLE_OK;
}

static void tell_ready(const struct dhole__worker *worker)
{
    dhole__notify("READY=1\nSTATUS=listens at %s, with %s; machines that it trusts: %zu",
                  dhole__service_address(worker->service),
                  worker->model != NULL ? worker->model_text : "no model", worker->trusted);
}

static void reload(struct dhole__worker *worker)
{
    dhole__notify("RELOADING=1\nMONOTONIC_USEC=%lld", (long long)(dhole__now() / 1000));
    if (dhole__worker_reload(worker) == DHOLE_OK) {
        tell_ready(worker);
        return;
    }
    dhole__log(DHOLE__LOG_ERROR, "keeps whom it trusts: %s", dhole_error_message());
    dhole__notify("READY=1\nSTATUS=keeps whom it trusts: %s", dhole_error_message());
}

/* The first one ends the request and the worker, the second one kills. */
static void stop(struct dhole__worker *worker, int number, bool *again)
{
    if (*again) {
        signal(number, SIG_DFL);
        raise(number);
    }
    *again = true;
    dhole__log(DHOLE__LOG_INFO, "stops, on signal %d", number);
    dhole__notify("STOPPING=1");
    dhole__service_stop(worker->service);
}

static void *watch_signals(void *arg)
{
    struct dhole__worker *worker = arg;
    struct pollfd fds[] = {{.fd = dhole__signals_fd(), .events = POLLIN},
                           {.fd = worker->done[0], .events = POLLIN}};
    bool stopping = false;

    while (fds[1].revents == 0) {
        int number;
        if (dhole__sys.poll(fds, 2, -1) < 0)
            fds[1].revents = 0;
        while ((number = dhole__signals_next()) != 0) {
            if (number == SIGINT || number == SIGTERM)
                stop(worker, number, &stopping);
            else if (number == SIGHUP)
                reload(worker);
        }
    }
    return NULL;
}

static dhole_err start_watching(struct dhole__worker *worker)
{
    dhole_err err = dhole__pipe_open(worker->done, 0);
    int error;

    if (err)
        return err;
    error = dhole__sys.thread_create(&worker->watcher, NULL, watch_signals, worker);
    if (error != 0) {
        errno = error;
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot start a thread");
    }
    return DHOLE_OK;
}

static void stop_watching(struct dhole__worker *worker)
{
    if (write(worker->done[1], "", 1) < 0) { /* an empty pipe takes a byte */
    }
    pthread_join(worker->watcher, NULL);
}

int dhole__worker_run(struct dhole__worker *worker, bool once)
{
    bool stopped = false;
    dhole_err err;

    dhole__log(DHOLE__LOG_INFO, "%s listens at %s, with %s", worker->options.name,
               dhole__service_address(worker->service),
               worker->model != NULL ? worker->model_text : "no model");
    if (worker->trusted == 0)
        dhole__log(DHOLE__LOG_WARN, "it trusts no machine yet: see dhole help join");
    tell_ready(worker);
    err = start_watching(worker);
    if (err)
        return dhole__report(err);
    announce(worker);
    do
        err = dhole__service_next(worker->service, &stopped);
    while (!once && !stopped);
    stop_watching(worker);
    return once && !stopped ? dhole__exit_code(err) : DHOLE__EXIT_DONE;
}

void dhole__worker_free(struct dhole__worker *worker)
{
    if (worker == NULL)
        return;
    dhole_announcement_free(worker->announcement);
    dhole__service_free(worker->service);
    dhole__pipe_close(worker->done);
    dhole_model_close(worker->model);
    free(worker);
}
