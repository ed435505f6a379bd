/* The program's side of a session. */
#include "cluster/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/pipe.h"
#include "base/sys.h"
#include "cluster/where.h"
#include "transport/tcp/tcp.h"

enum {
    default_join_ms = 30000,
    slice_ns = 900000000 /* of a wait */
};

/* ---- Its beginning and end ---- */

static dhole_err open_pipes(dhole_cluster *s)
{
    dhole_err err = dhole__mailbox_open(&s->box);

    if (err)
        return err;
    err = dhole__pipe_open(s->stop_pipe, 0);
    if (err) {
        dhole__mailbox_close(&s->box);
        return err;
    }
    pthread_mutex_init(&s->trust_lock, NULL);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    return DHOLE_OK;
}

static dhole_err create(const dhole_cluster_options *o, bool listens, dhole_cluster **out)
{
    dhole_cluster *s = dhole__sys.calloc(1, sizeof *s);
    dhole_err err;

    if (s == NULL)
        return dhole__fail_nomem(sizeof *s, "a session");
    err = dhole__session_prepare(s, o, listens);
    if (!err)
        err = dhole__knot_make(s, &s->knot);
    if (!err && (err = open_pipes(s)) != DHOLE_OK)
        dhole__knot_cut(s->knot);
    if (err) {
        free(s->trusted);
        free(s);
        return err;
    }
    *out = s;
    return DHOLE_OK;
}

static dhole_err open_gate(dhole_cluster *s)
{
    const char *path = dhole__meeting_path(s->address), *at = s->address;
    dhole_link_options options = dhole__session_link_options(s);
    const char *listens;
    dhole_err err;

    if (path != NULL)
        at = s->own_address[0] != '\0' ? s->own_address : "127.0.0.1:0";
    err = dhole__gate_open(&s->gate, &s->box, &options, at);
    if (err)
        return err;
    listens = dhole_link_listener_address(s->gate.listener);
    snprintf(s->member[0].who.address, DHOLE_ADDRESS_SIZE, "%.*s", (int)strcspn(listens, ","),
             listens);
    return path != NULL ? dhole__meeting_write(path, listens) : DHOLE_OK;
}

/* A name is looked up here, as the session's own thread must not wait for it. */
static dhole_err settle_own_address(dhole_cluster *s)
{
    struct dhole__address address;
    dhole_err err;

    if (s->own_address[0] == '\0' || dhole__where_is_numeric(s->own_address))
        return DHOLE_OK;
    err = dhole__tcp_resolve(s->own_address, &address);
    if (!err)
        dhole__tcp_address_text(&address, s->own_address);
    return err;
}

static dhole_err start_keeper(dhole_cluster *s)
{
    if (dhole__sys.thread_create(&s->keeper, NULL, dhole__keeper, s) != 0)
        return dhole__fail(DHOLE_ERR_SYSTEM, "cannot start the session's thread");
    s->has_keeper = true;
    return DHOLE_OK;
}

void dhole_cluster_free(dhole_cluster *s)
{
    char message[dhole__message_max];

    if (s == NULL)
        return;
    dhole__message_save(message);
    dhole__knot_cut(s->knot);
    if (s->has_keeper) {
        pthread_mutex_lock(&s->lock);
        s->stop = true;
        pthread_mutex_unlock(&s->lock);
        dhole__mailbox_wake(&s->box);
        pthread_join(s->keeper, NULL);
    } else {
        dhole__session_end(s);
    }
    dhole__words_drop(s);
    dhole__mailbox_close(&s->box);
    dhole__pipe_close(s->stop_pipe);
    pthread_mutex_destroy(&s->trust_lock);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    free(s->trusted);
    free(s);
    dhole__message_restore(message);
}

dhole_err dhole_cluster_listen(const dhole_cluster_options *options, dhole_cluster **out)
{
    int64_t timeout_ms = options->join_timeout_ms > 0 ? options->join_timeout_ms : default_join_ms;
    dhole_cluster *s = NULL;
    dhole_err err = create(options, true, &s);

    if (!err)
        err = open_gate(s);
    if (!err)
        err = start_keeper(s);
    if (!err && options->listening != NULL)
        err = options->listening(options->listening_arg,
                                 dhole_link_listener_address(s->gate.listener));
    if (!err)
        err = dhole_cluster_wait(s, timeout_ms);
    if (err) {
        dhole_cluster_free(s);
        return dhole__fail_in(err, "cannot begin a session");
    }
    *out = s;
    return DHOLE_OK;
}

dhole_err dhole_cluster_join(const dhole_cluster_options *options, dhole_cluster **out)
{
    int64_t timeout_ms = options->join_timeout_ms > 0 ? options->join_timeout_ms : default_join_ms;
    dhole_cluster *s = NULL;
    dhole_err err = create(options, false, &s);

    if (!err)
        err = settle_own_address(s);
    if (!err)
        err = start_keeper(s);
    if (!err)
        err = dhole_cluster_wait(s, timeout_ms);
    if (err) {
        dhole_cluster_free(s);
        return dhole__fail_in(err, "cannot join the session");
    }
    *out = s;
    return DHOLE_OK;
}

/* ---- What it knows ---- */

/* In slices, as the clock of the day, by which it sleeps, may be set back: the keeper broadcasts
 * now and then. */
bool dhole__session_await(dhole_cluster *s, dhole__deadline deadline)
{
    int64_t left = deadline - dhole__now(), slice = left < slice_ns ? left : slice_ns;
    struct timespec until;

    if (left <= 0)
        return false;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += slice;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&s->changed, &s->lock, &until);
    return true;
}

dhole_err dhole__session_check(const dhole_cluster *s)
{
    if (s->failed)
        return dhole__fail(s->failed, "%s", s->failure);
    if (s->phase == DHOLE__EPOCH_LIVE && s->seen == s->lives)
        return DHOLE_OK;
    return dhole__fail(DHOLE_ERR_PEER_LOST, "epoch %llu of the session is over: %s",
                       (unsigned long long)s->seen_epoch, s->over);
}

static dhole_cluster *locked(const dhole_cluster *cluster)
{
    dhole_cluster *s = (dhole_cluster *)cluster;

    pthread_mutex_lock(&s->lock);
    return s;
}

int dhole_cluster_rank(const dhole_cluster *cluster)
{
    dhole_cluster *s = locked(cluster);
    int rank = s->rank;

    pthread_mutex_unlock(&s->lock);
    return rank;
}

int dhole_cluster_size(const dhole_cluster *cluster)
{
    dhole_cluster *s = locked(cluster);
    int size = s->size;

    pthread_mutex_unlock(&s->lock);
    return size;
}

uint64_t dhole_cluster_epoch(const dhole_cluster *cluster)
{
    dhole_cluster *s = locked(cluster);
    uint64_t epoch = s->seen_epoch;

    pthread_mutex_unlock(&s->lock);
    return epoch;
}

/* Why a rank is not there, and who came in its place. */
static void explain(dhole_cluster *s, const struct dhole__member *m, char out[dhole__why_size])
{
    bool joins = s->is_coordinator || m == &s->member[0];
    const char *why = m->why[0] != '\0' ? m->why
                      : joins           ? "it has not joined"
                                        : "there is no link to it";

    pthread_mutex_lock(&s->trust_lock);
    snprintf(out, dhole__why_size, "%.130s%s%.120s", why, s->stranger[0] != '\0' ? "; " : "",
             s->stranger);
    pthread_mutex_unlock(&s->trust_lock);
}

/* With the lock held. */
static void describe(dhole_cluster *s, const struct dhole__member *m, dhole_peer *out)
{
    strcpy(out->name, m->who.name);
    strcpy(out->address, m->who.address);
    out->pin = m->who.pin;
    out->missed = m->health.missed;
    out->state = m->wire == NULL    ? DHOLE_PEER_UNAVAILABLE
                 : out->missed == 0 ? DHOLE_PEER_READY
                                    : DHOLE_PEER_DEGRADED;
    out->round_trip_us = m->round_trip_us;
    out->model_loaded = m->pong.model_loaded;
    out->in_flight = m->pong.in_flight;
    out->memory_pressure = m->pong.memory_pressure;
    if (m->wire == NULL)
        explain(s, m, out->why);
    else if (out->missed > 0)
        snprintf(out->why, sizeof out->why, "pings in a row that were not answered: %d",
                 out->missed);
    dhole__disarm(out->why);
}

void dhole_cluster_peer(const dhole_cluster *cluster, int rank, dhole_peer *out)
{
    dhole_cluster *s = locked(cluster);

    *out = (dhole_peer){.rank = rank, .state = DHOLE_PEER_UNAVAILABLE};
    if (rank >= 0 && rank < s->size)
        describe(s, &s->member[rank], out);
    else
        snprintf(out->why, sizeof out->why, "there is no such rank in a session of %d", s->size);
    pthread_mutex_unlock(&s->lock);
}

void dhole_cluster_set_status(dhole_cluster *s, int model_loaded, int in_flight)
{
    pthread_mutex_lock(&s->lock);
    s->status.model_loaded = model_loaded != 0;
    s->status.in_flight = in_flight;
    pthread_mutex_unlock(&s->lock);
}

/* Names who is not there. */
static dhole_err fail_late(dhole_cluster *s)
{
    char text[dhole__message_max] = "";
    size_t used = 0;

    if (s->apart)
        return dhole__fail(DHOLE_ERR_TIMEOUT,
                           "not all ranks reach each other: %.800s; " DHOLE__EVERY_TWO, s->over);
    for (int rank = 0; rank < s->size && used < sizeof text - 1; rank++) {
        const struct dhole__member *m = &s->member[rank];
        char why[dhole__why_size];
        if (rank == s->rank || m->wire != NULL)
            continue;
        explain(s, m, why);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s (rank %d): %s",
                                 used > 0 ? "; " : "", m->who.name[0] ? m->who.name : "a machine",
                                 rank, why);
    }
    return dhole__fail(DHOLE_ERR_TIMEOUT, "not all ranks are ready: %.900s",
                       used > 0 ? text : s->over);
}

static bool is_ready(const dhole_cluster *s)
{
    for (int rank = 0; rank < s->size; rank++)
        if (s->member[rank].doubted != 0)
            return false;
    return s->phase == DHOLE__EPOCH_LIVE;
}

dhole_err dhole_cluster_wait(dhole_cluster *s, int64_t timeout_ms)
{
    dhole__deadline deadline = dhole__deadline_in(timeout_ms);
    dhole_err err = DHOLE_OK;

    pthread_mutex_lock(&s->lock);
    while (!err && (s->failed || !is_ready(s))) {
        if (s->failed)
            err = dhole__fail(s->failed, "%s", s->failure);
        else if (!dhole__session_await(s, deadline))
            err = fail_late(s);
    }
    if (!err) {
        s->seen = s->lives;
        s->seen_epoch = s->roster.epoch;
    }
    pthread_mutex_unlock(&s->lock);
    return err;
}
