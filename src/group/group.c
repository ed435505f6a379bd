/* The public group: completes and checks the options, makes and frees groups. */
#include "dhole/group.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coll/comm.h"
#include "group/backend.h"
#include "group/devices.h"
#include "group/env.h"
#include "group/hello.h"
#include "group/keys.h"
#include "group/liveness.h"
#include "group/rendezvous.h"
#include "group/request.h"
#include "group/settings.h"
#include "transport/rdma/rdma.h"
#include "transport/tcp/tcp.h"

enum {
    default_timeout_ms = 60000,
    default_connect_ms = 30000,
    default_silence_ms = 3000,
    min_silence_ms = 100,
};

static const char jaccl_ring[] = "jaccl-ring"; /* as `dhole launch` and mlx.launch say */

static const char where_keys_come_from[] =
    "keys come from dhole launch --seal, from DHOLE_IDENTITY and DHOLE_PINS, or from identity and "
    "pins of the options";

static const struct {
    const char *name;
    const struct dhole__backend *backend;
} backends[] = {
    {"ring", &dhole__backend_tcp},       {"tcp", &dhole__backend_tcp},
    {"shm", &dhole__backend_shm},        {"jaccl", &dhole__backend_jaccl},
    {jaccl_ring, &dhole__backend_jaccl}, {"any", &dhole__backend_any},
    {"mem", &dhole__backend_mem},
};

static const struct dhole__backend *find_backend(const char *name)
{
    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++)
        if (strcmp(backends[i].name, name) == 0)
            return backends[i].backend;
    return NULL;
}

int dhole_is_available(const char *backend)
{
    const struct dhole__backend *found =
        backend != NULL ? find_backend(backend) : &dhole__backend_any;

    return found == &dhole__backend_jaccl ? dhole__rdma_available() == DHOLE_OK : found != NULL;
}

/* Sealed, or allowed in the clear by name. */
static bool may_cross(const dhole_options *options)
{
    return options->identity != NULL || options->allow_plain;
}

/* Or not leaving this host. */
static dhole_err check_clear_text(const struct dhole__address *address, const char *who,
                                  const char *where)
{
    if (address->family == AF_UNIX || dhole__tcp_is_loopback(address))
        return DHOLE_OK;
    return dhole__fail(DHOLE_ERR_CONFIG,
                       "%s at %s is on a network, and this group is not sealed: %s; DHOLE_SEAL=off "
                       "allows clear text",
                       who, where, where_keys_come_from);
}

static dhole_err check_rank_host(const dhole_options *options, int rank, dhole__deadline deadline)
{
    const char *host = options->hosts[rank];
    char who[32];
    struct dhole__address address;
    dhole_err err = DHOLE_OK;

    snprintf(who, sizeof who, "rank %d", rank);
    for (int rail = 0; rail < dhole__tcp_rails(host) && !err; rail++) {
        err = dhole__tcp_resolve_rail_by(host, rail, deadline, options->cancel_fd, &address);
        if (!err)
            err = check_clear_text(&address, who, host);
    }
    return err;
}

static dhole_err check_hosts(const dhole_options *options, const struct dhole__backend *backend)
{
    dhole__deadline deadline = dhole__deadline_in(options->connect_timeout_ms);

    if (backend == &dhole__backend_mem || options->size == 1)
        return DHOLE_OK;
    if (options->hosts == NULL)
        return dhole__fail(DHOLE_ERR_INVALID, "the %s backend needs the ranks' hosts",
                           backend->name);
    for (int rank = 0; rank < options->size; rank++) {
        int rails = dhole__tcp_rails(options->hosts[rank]);
        dhole_err err;
        if (rails != dhole__tcp_rails(options->hosts[0]))
            return dhole__fail(DHOLE_ERR_INVALID,
                               "rank %d has %d addresses (%s) and rank 0 has %d (%s): expected the "
                               "same number for every rank",
                               rank, rails, options->hosts[rank],
                               dhole__tcp_rails(options->hosts[0]), options->hosts[0]);
        err = may_cross(options) ? DHOLE_OK : check_rank_host(options, rank, deadline);
        if (err)
            return err;
    }
    return DHOLE_OK;
}

static dhole_err check_options(const dhole_options *options)
{
    if (options->size < 1 || options->size > dhole__rank_max)
        return dhole__fail(DHOLE_ERR_INVALID, "size is %d: expected 1 to %d", options->size,
                           dhole__rank_max);
    if (options->rank < 0 || options->rank >= options->size)
        return dhole__fail(DHOLE_ERR_INVALID, "rank is %d: expected 0 to %d", options->rank,
                           options->size - 1);
    if (strlen(options->session) > dhole__session_max ||
        strlen(options->agreement) > dhole__agreement_max)
        return dhole__fail(DHOLE_ERR_INVALID,
                           "session and agreement may have %d and %d bytes, they have %zu and %zu",
                           dhole__session_max, dhole__agreement_max, strlen(options->session),
                           strlen(options->agreement));
    if (options->timeout_ms < 0 || options->connect_timeout_ms < 0 ||
        options->silence_ms < min_silence_ms)
        return dhole__fail(DHOLE_ERR_INVALID,
                           "timeouts must be positive, and silence_ms at least %d", min_silence_ms);
    if ((options->identity == NULL) != (options->pins == NULL))
        return dhole__fail(DHOLE_ERR_INVALID, "a sealed group needs both identity and pins");
    if (options->host != NULL && strlen(options->host) > dhole__host_text_max)
        return dhole__fail(DHOLE_ERR_INVALID, "host may have %d bytes, it has %zu",
                           dhole__host_text_max, strlen(options->host));
    if (options->all_gather != NULL && options->listen_fd >= 0)
        return dhole__fail(DHOLE_ERR_INVALID, "listen_fd and all_gather are both set");
    return DHOLE_OK;
}

/* Before anyone is waited for. */
static dhole_err check_devices(const dhole_options *options, const struct dhole__backend *backend)
{
    dhole_err err;

    if (backend != &dhole__backend_jaccl)
        return options->devices == NULL
                   ? DHOLE_OK
                   : dhole__fail(DHOLE_ERR_INVALID, "devices are for backend jaccl, this is %s",
                                 backend->name);
    if (options->size == 1)
        return DHOLE_OK;
    if (options->devices == NULL)
        return dhole__fail(DHOLE_ERR_INVALID, "the jaccl backend needs this rank's row of the "
                                              "device matrix");
    err = dhole__devices_check_row(options);
    return err ? err : dhole__rdma_available();
}

static void complete(dhole_options *options)
{
    if (options->session == NULL)
        options->session = "";
    if (options->agreement == NULL)
        options->agreement = "";
    if (options->timeout_ms == 0)
        options->timeout_ms = default_timeout_ms;
    if (options->connect_timeout_ms == 0)
        options->connect_timeout_ms = default_connect_ms;
    if (options->silence_ms == 0)
        options->silence_ms = default_silence_ms;
}

/* Nothing is silent: a group of one comes only when nothing names a cluster. */
static dhole_err complete_from_env(dhole_options *options, const struct dhole__backend *backend,
                                   struct dhole__env *env)
{
    dhole_err err = dhole__env_read(backend->name, env);

    if (err)
        return err;
    if (env->named_by == NULL && backend == &dhole__backend_jaccl)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "backend %s needs rank, devices and a coordinator: set JACCL_RANK, "
                           "JACCL_IBV_DEVICES and JACCL_COORDINATOR, or pass them as options",
                           options->backend);
    if (env->named_by == NULL && backend != &dhole__backend_any)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "backend %s needs rank, size and hosts: set DHOLE_RANK and "
                           "DHOLE_HOSTFILE, or pass them as options",
                           options->backend);
    options->rank = env->rank;
    options->size = env->size;
    options->hosts = (const char *const *)env->hosts.hosts;
    options->all_gather = NULL;
    options->devices = env->devices.size > 0 ? dhole__devices_row(&env->devices, env->rank) : NULL;
    options->ring |= env->ring;
    if (options->session[0] == '\0')
        options->session = env->session;
    return DHOLE_OK;
}

/* What DHOLE_SEAL says; where the environment names the group, with the keys that it names. Those
 * of the options come before them. */
static dhole_err complete_seal(dhole_options *options, const struct dhole__env *env,
                               struct dhole__keys *keys)
{
    enum dhole__sealing sealing;
    dhole_err err = dhole__sealing_parse(getenv("DHOLE_SEAL"), &sealing);

    if (err || options->size == 1)
        return err;
    if (sealing == DHOLE__SEAL_OFF) {
        options->allow_plain = 1;
        return DHOLE_OK;
    }
    if (env->named_by != NULL && options->identity == NULL && options->pins == NULL) {
        err = dhole__keys_read(env->rank, env->size, keys);
        if (err)
            return err;
        if (keys->identity != NULL) {
            options->identity = keys->identity;
            options->pins = keys->pins;
            options->plain_memory = 1;
        }
    }
    if (sealing != DHOLE__SEAL_ON)
        return DHOLE_OK;
    if (options->identity == NULL)
        return dhole__fail(DHOLE_ERR_CONFIG, "DHOLE_SEAL is on, and this group has no keys: %s",
                           where_keys_come_from);
    options->seal_rdma = 1;
    options->plain_memory = 0;
    return DHOLE_OK;
}

static dhole_err meet_at(const char *coordinator, const dhole_options *options,
                         dhole__deadline deadline, struct dhole__rendezvous *rendezvous)
{
    struct dhole__address address;
    dhole_err err = dhole__coordinator_resolve(coordinator, options, deadline, &address);

    if (!err && !may_cross(options))
        err = check_clear_text(&address, "the coordinator", coordinator);
    return err ? err : dhole__rendezvous_open(coordinator, options, deadline, rendezvous);
}

/* Learns the ranks' hosts at the coordinator, when the environment named one, or by the program's
 * own means. */
static dhole_err meet(dhole_options *options, const char *coordinator,
                      struct dhole__rendezvous *rendezvous)
{
    dhole__deadline deadline = dhole__deadline_in(options->connect_timeout_ms);
    dhole_err err;

    if ((coordinator[0] == '\0' && options->all_gather == NULL) || options->size == 1)
        return DHOLE_OK;
    err = options->all_gather != NULL ? dhole__rendezvous_gather(options, rendezvous)
                                      : meet_at(coordinator, options, deadline, rendezvous);
    if (err)
        return err;
    options->hosts = (const char *const *)rendezvous->hosts;
    options->listen_fd = rendezvous->listen_fd;
    options->connect_timeout_ms = dhole__deadline_ms(deadline);
    return DHOLE_OK;
}

dhole_err dhole__group_open(const struct dhole__backend *backend, const dhole_options *options,
                            const int *other_fds, dhole_group **out)
{
    struct dhole__settings *settings;
    dhole_err err = dhole__settings_copy(options, other_fds, &settings);

    if (err)
        return err;
    err = backend->open(options, other_fds, out);
    if (err) {
        dhole__settings_free(settings);
        return err;
    }
    (*out)->settings = settings;
    for (int rank = 0; rank < options->size; rank++)
        (*out)->origin[rank] = (uint8_t)rank;
    return DHOLE_OK;
}

static dhole_err name_backend(dhole_options *options, const struct dhole__backend **out)
{
    const struct dhole__backend *backend;
    const char *from = "";

    if (options->backend == NULL && options->size == 0) {
        options->backend = dhole__env_value("DHOLE_BACKEND");
        from = " (from DHOLE_BACKEND)";
    }
    if (options->backend == NULL)
        options->backend = "any";
    backend = find_backend(options->backend);
    if (backend == NULL)
        return dhole__fail(DHOLE_ERR_UNSUPPORTED,
                           "this build has no backend \"%s\"%s: expected any, ring (or tcp), shm, "
                           "jaccl, jaccl-ring, mem",
                           options->backend, from);
    if (strcmp(options->backend, jaccl_ring) == 0)
        options->ring = 1;
    *out = backend;
    return DHOLE_OK;
}

dhole_err dhole_init(const dhole_options *given, dhole_group **out)
{
    dhole_options options = DHOLE_OPTIONS_INIT;
    struct dhole__env env = {0};
    struct dhole__keys keys = {.identity = NULL};
    struct dhole__rendezvous rendezvous = {0};
    const struct dhole__backend *backend = &dhole__backend_any;
    dhole_err err;

    if (given != NULL)
        options = *given;
    err = name_backend(&options, &backend);
    if (err)
        return err;
    complete(&options);
    if (options.size == 0)
        err = complete_from_env(&options, backend, &env);
    if (err == DHOLE_OK)
        err = complete_seal(&options, &env, &keys);
    if (backend == &dhole__backend_any && options.devices != NULL)
        backend = &dhole__backend_jaccl;
    if (err == DHOLE_OK)
        err = check_options(&options);
    if (err == DHOLE_OK)
        err = check_devices(&options, backend);
    if (err == DHOLE_OK)
        err = meet(&options, env.coordinator, &rendezvous);
    if (err == DHOLE_OK)
        err = check_hosts(&options, backend);
    if (err == DHOLE_OK)
        err = dhole__group_open(backend, &options,
                                rendezvous.others > 0 ? rendezvous.other_fds : NULL, out);
    dhole__rendezvous_close(&rendezvous);
    dhole__keys_free(&keys);
    dhole__env_free(&env);
    return err ? dhole__fail_in(err, "cannot join the group") : DHOLE_OK;
}

void dhole_group_free(dhole_group *group)
{
    struct dhole__settings *settings;

    if (group == NULL)
        return;
    settings = group->settings;
    dhole__queue_close(group);
    group->backend->close(group);
    dhole__settings_free(settings);
}

int dhole_rank(const dhole_group *group)
{
    return group->rank;
}

int dhole_size(const dhole_group *group)
{
    return group->size;
}

static dhole_err set_ms(int64_t *ms, int64_t timeout_ms)
{
    if (timeout_ms <= 0)
        return dhole__fail(DHOLE_ERR_INVALID, "timeout is %lld ms: expected more than 0",
                           (long long)timeout_ms);
    *ms = timeout_ms;
    return DHOLE_OK;
}

dhole_err dhole_set_timeout(dhole_group *group, int64_t timeout_ms)
{
    return set_ms(&group->timeout_ms, timeout_ms);
}

dhole_err dhole_set_next_timeout(dhole_group *group, int64_t timeout_ms)
{
    return set_ms(&group->next_timeout_ms, timeout_ms);
}

void dhole_set_idle(dhole_group *group, int (*run)(void *arg), void *arg)
{
    dhole__queue_set_idle(group, run, arg);
}

void dhole_abort(dhole_group *group, const char *why)
{
    dhole_err err = dhole__fail(DHOLE_ERR_ABORTED, "rank %d aborted the group: %s", group->rank,
                                why != NULL ? why : "no reason given");

    /* What stands is what the next call returns. */
    err = group->backend->fail(group, err);
    (void)err;
}

void dhole__group_observe(dhole_group *group, const struct dhole__observer *observer)
{
    dhole__liveness_observe(group->backend->liveness(group), observer);
}

int dhole__group_culprit(dhole_group *group)
{
    struct dhole__liveness *liveness = group->backend->liveness(group);
    char message[dhole__message_max];
    int culprit = -1;

    dhole__message_save(message);
    if (liveness != NULL && dhole__liveness_check(liveness) != DHOLE_OK)
        culprit = dhole__liveness_culprit(liveness);
    dhole__message_restore(message);
    return culprit;
}

void dhole_group_stats(const dhole_group *group, dhole_stats *stats)
{
    group->backend->stats(group, stats);
}
