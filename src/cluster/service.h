/* What a worker does for machines that it trusts, over links of its own: it says how it is, and
 * takes an invitation to a session, in which it works as a rank until the coordinator is done.
 *
 * A caller's link has "service" as its session and no agreement. On CONTROL go JSON objects
 * (words.h), whose tag is one of the kinds below; each question is answered with its own kind.
 *
 * STATUS {}: {name, version, state: "ready", "busy", "degraded" or "stopping", why, model,
 *   model_loaded, in_flight, memory_pressure}
 * PING {}: {}
 * BULK {messages}: that many messages follow on the channel BULK; {bytes} once all are here
 * INVITE {session, address, agreement, backend, seal_memory, seal_rdma, work}: {error, why}, error
 * 0 when it is accepted. The link stays then, and when the request has ended ENDED {error, why}
 *   comes over it. A link that is lost before the session is made withdraws the invitation. */
#ifndef DHOLE_CLUSTER_SERVICE_H
#define DHOLE_CLUSTER_SERVICE_H

#include <stdbool.h>

#include "base/json.h"
#include "dhole/cluster.h"

enum dhole__service_kind {
    DHOLE__SERVICE_STATUS = 1,
    DHOLE__SERVICE_PING,
    DHOLE__SERVICE_BULK,
    DHOLE__SERVICE_INVITE,
    DHOLE__SERVICE_ENDED
};

#define dhole__service_session "service" /* of the links */

enum { dhole__service_bulk_bytes = 1 << 20 }; /* of the largest message of a BULK */

/* ---- The worker ---- */

struct dhole__service;

struct dhole__service_options {
    const dhole_identity *identity; /* outlives the service */
    dhole_trust *trust;             /* the service's from now on, also when it fails */
    const char *name;
    const char *address; /* where to listen, "host:port" */
    const char *model;   /* that is loaded, in words; NULL: none */
    const char *devices; /* as in dhole_cluster_options */
    /* Whether the work of an invitation can be done, and its agreement is what this machine would
     * say; the error is the refusal. Any thread. */
    dhole_err (*check)(void *arg, const char *agreement, const json_t *work);
    /* Does it, in the thread of dhole__service_next. */
    dhole_err (*run)(void *arg, dhole_group *group, const json_t *work);
    void *arg;
};

/* Listens and answers from now on, in threads of its own. The caller frees *out. */
DHOLE__MUST_CHECK dhole_err dhole__service_open(const struct dhole__service_options *options,
                                                struct dhole__service **out);

/* With the port that was taken. */
const char *dhole__service_address(const struct dhole__service *service);

/* Waits for an invitation and sees it through; returns how the request ended. *stopped says that
 * there will be no other one. */
DHOLE__MUST_CHECK dhole_err dhole__service_next(struct dhole__service *service, bool *stopped);

/* Any thread: whom it trusts from now on. A request of a machine that is not trusted any more
 * ends. */
void dhole__service_set_trust(struct dhole__service *service, dhole_trust *trust);

/* Any thread: ends the request that runs, on all ranks, and takes no other. */
void dhole__service_stop(struct dhole__service *service);

/* NULL is allowed. */
void dhole__service_free(struct dhole__service *service);

/* ---- Its callers ---- */

/* A link to a worker that holds that key; `lanes` 1 for dhole__service_speed, else 0. cancel_fd
 * ends the connecting alone; -1 is none. */
DHOLE__MUST_CHECK dhole_err dhole__service_call(const dhole_identity *identity,
                                                const dhole_pin *pin, const char *address,
                                                int lanes, int64_t timeout_ms, int cancel_fd,
                                                dhole_link **out);

/* The caller owns *status, which is an object. */
DHOLE__MUST_CHECK dhole_err dhole__service_status(dhole_link *link, int64_t timeout_ms,
                                                  json_t **status);

DHOLE__MUST_CHECK dhole_err dhole__service_ping(dhole_link *link, int64_t timeout_ms, int64_t *us);

/* Bytes per second of a transfer that takes about 200 ms. */
DHOLE__MUST_CHECK dhole_err dhole__service_speed(dhole_link *link, int64_t timeout_ms, double *out);

/* Takes over `invitation`. The error is the worker's, in its words. */
DHOLE__MUST_CHECK dhole_err dhole__service_invite(dhole_link *link, json_t *invitation,
                                                  int64_t timeout_ms);

/* Waits for the end of the request that the worker was invited to; its error. timeout_ms 0 is as
 * long as it takes. */
DHOLE__MUST_CHECK dhole_err dhole__service_wait_end(dhole_link *link, int64_t timeout_ms);

#endif
