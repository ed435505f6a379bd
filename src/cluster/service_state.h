/* What the files of the worker's service share. */
#ifndef DHOLE_CLUSTER_SERVICE_STATE_H
#define DHOLE_CLUSTER_SERVICE_STATE_H

#include <pthread.h>
#include <stdbool.h>

#include "cluster/service.h"

/* A machine as logs name it: its name here and the beginning of its fingerprint. */
enum { dhole__who_size = DHOLE_NAME_SIZE + 24 };

/* One link to a caller, and the thread that answers on it. */
struct dhole__visit {
    struct dhole__service *service;
    struct dhole__visit *next;
    dhole_link *link;
    dhole_pin pin;
    char name[DHOLE_NAME_SIZE]; /* in the trust file */
    char who[dhole__who_size];
    pthread_t thread;
    pthread_mutex_t sending; /* the thread answers, dhole__service_next says how it ended */
    bool invited;            /* its request is not over: the link stays; under service->mutex */
    bool over;               /* the thread is about to end */
};

enum dhole__service_phase {
    DHOLE__SERVICE_IDLE,
    DHOLE__SERVICE_ANSWERING, /* an invitation is being accepted */
    DHOLE__SERVICE_INVITED,   /* for dhole__service_next to begin */
    DHOLE__SERVICE_JOINING,
    DHOLE__SERVICE_RUNNING
};

/* The one that is being worked on. */
struct dhole__request {
    enum dhole__service_phase phase;
    struct dhole__visit *visit;
    json_t *invitation;
    int cancel[2]; /* a pipe */
    dhole_trust *trust;
    dhole_cluster *cluster;
    dhole_group *group;
    char withdrawn[128]; /* why it is to end; "" */
};

struct dhole__service {
    struct dhole__service_options options;
    pthread_mutex_t mutex; /* for all that follows */
    pthread_cond_t changed;
    dhole_trust *trust;
    bool stopping;
    struct dhole__request request;
    dhole_link_listener *listener;
    int close[2]; /* a pipe: ends the listener and its links */
    bool accepting;
    pthread_t accept_thread;
    struct dhole__visit *visits;
    int visit_count;
};

/* Answers until the link is lost, or has been silent for too long. */
void dhole__visit_serve(struct dhole__visit *visit);

/* Words to the caller, one thread at a time. */
DHOLE__MUST_CHECK dhole_err dhole__visit_say(struct dhole__visit *visit, uint32_t kind,
                                             json_t *words);

/* Refuses an invitation, or has dhole__service_next begin with it. */
DHOLE__MUST_CHECK dhole_err dhole__request_take(struct dhole__visit *visit,
                                                const json_t *invitation);

/* The caller's link is lost: returns when nobody uses it any more. */
void dhole__request_abandon(struct dhole__visit *visit);

/* Ends the request that runs, if there is one; with service->mutex held. */
void dhole__request_withdraw(struct dhole__service *service, const char *why);

/* Takes no other request, nor one that has not begun. */
void dhole__request_close(struct dhole__service *service);

#endif
