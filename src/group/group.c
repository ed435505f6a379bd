/* The public group: completes the options, checks arguments, keeps the sticky error. */
#include "dhole/group.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coll/comm.h"
#include "group/backend.h"
#include "group/env.h"
#include "group/hello.h"
#include "transport/tcp/tcp.h"

enum {
    default_timeout_ms = 60000,
    default_connect_ms = 30000,
    default_silence_ms = 3000,
    min_silence_ms = 100,
};

static const struct {
    const char *name;
    const struct dhole__backend *backend;
} backends[] = {
    {"ring", &dhole__backend_tcp},
    {"tcp", &dhole__backend_tcp},
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
    return backend == NULL || strcmp(backend, "any") == 0 || find_backend(backend) != NULL;
}

/* Sealed, or allowed in the clear by name, or not leaving this host. */
static dhole_err check_clear_text(const dhole_options *options)
{
    const char *seal = getenv("DHOLE_SEAL");

    if (options->identity != NULL || options->allow_plain || options->hosts == NULL ||
        (seal != NULL && strcmp(seal, "off") == 0))
        return DHOLE_OK;
    for (int rank = 0; rank < options->size; rank++) {
        struct dhole__address address;
        dhole_err err = dhole__tcp_resolve(options->hosts[rank], &address);
        if (err)
            return err;
        if (!dhole__tcp_is_loopback(&address))
            return dhole__fail(DHOLE_ERR_CONFIG,
                               "rank %d at %s is on a network, and this group is not sealed: give "
                               "it an identity and pins, or allow clear text with DHOLE_SEAL=off",
                               rank, options->hosts[rank]);
    }
    return DHOLE_OK;
}

static dhole_err check_options(const dhole_options *options, const struct dhole__backend *backend)
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
    if (backend == &dhole__backend_tcp && options->size > 1) {
        if (options->hosts == NULL)
            return dhole__fail(DHOLE_ERR_INVALID, "the tcp backend needs the ranks' hosts");
        return check_clear_text(options);
    }
    return DHOLE_OK;
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
static dhole_err complete_from_env(dhole_options *options, struct dhole__env_ring *ring, bool any)
{
    dhole_err err = dhole__env_ring_read(ring);

    if (err)
        return err;
    if (ring->hosts == NULL && !any)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "backend %s needs rank, size and hosts: set DHOLE_RANK and "
                           "DHOLE_HOSTFILE, or pass them as options",
                           options->backend);
    options->rank = ring->rank;
    options->size = ring->hosts != NULL ? ring->size : 1;
    options->hosts = ring->hosts;
    return DHOLE_OK;
}

dhole_err dhole_init(const dhole_options *given, dhole_group **out)
{
    dhole_options options = DHOLE_OPTIONS_INIT;
    struct dhole__env_ring ring = {0};
    const struct dhole__backend *backend = &dhole__backend_tcp;
    bool any;
    dhole_err err = DHOLE_OK;

    if (given != NULL)
        options = *given;
    any = options.backend == NULL || strcmp(options.backend, "any") == 0;
    if (!any)
        backend = find_backend(options.backend);
    if (backend == NULL)
        return dhole__fail(DHOLE_ERR_UNSUPPORTED,
                           "there is no backend \"%s\": expected any, ring (or tcp), mem",
                           options.backend);
    complete(&options);
    if (options.size == 0)
        err = complete_from_env(&options, &ring, any);
    if (err == DHOLE_OK)
        err = check_options(&options, backend);
    if (err == DHOLE_OK)
        err = backend->open(&options, out);
    dhole__env_ring_free(&ring);
    return err ? dhole__fail_in(err, "cannot join the group") : DHOLE_OK;
}

void dhole_group_free(dhole_group *group)
{
    if (group != NULL)
        group->backend->close(group);
}

int dhole_rank(const dhole_group *group)
{
    return group->rank;
}

int dhole_size(const dhole_group *group)
{
    return group->size;
}

dhole_err dhole_set_timeout(dhole_group *group, int64_t timeout_ms)
{
    if (timeout_ms <= 0)
        return dhole__fail(DHOLE_ERR_INVALID, "timeout is %lld ms: expected more than 0",
                           (long long)timeout_ms);
    group->timeout_ms = timeout_ms;
    return DHOLE_OK;
}

void dhole_set_idle(dhole_group *group, int (*run)(void *arg), void *arg)
{
    group->backend->set_idle(group, run, arg);
}

void dhole_abort(dhole_group *group, const char *why)
{
    group->backend->abort(group, why != NULL ? why : "no reason given");
}

void dhole_group_stats(const dhole_group *group, dhole_stats *stats)
{
    group->backend->stats(group, stats);
}

/* The sticky error: the first failure is what every later call returns. */
static dhole_err settle(dhole_group *group, dhole_err err)
{
    if (err) {
        group->broken = err;
        snprintf(group->why, sizeof group->why, "%s", dhole_error_message());
    }
    return err;
}

static dhole_err check_group(dhole_group *group)
{
    if (group->broken)
        return dhole__fail(group->broken, "%s", group->why);
    return settle(group, group->backend->check(group));
}

static dhole_err check_call(dhole_group *group, size_t count, dhole_dtype dtype)
{
    size_t element = dhole_dtype_size(dtype);

    if (element == 0)
        return dhole__fail(DHOLE_ERR_INVALID, "%d is not an element type", (int)dtype);
    if (count > SIZE_MAX / element / (size_t)group->size)
        return dhole__fail(DHOLE_ERR_INVALID,
                           "%zu elements of %zu bytes on %d ranks exceed SIZE_MAX", count, element,
                           group->size);
    return check_group(group);
}

static dhole_err check_peer(const dhole_group *group, const char *what, int peer)
{
    if (peer < 0 || peer >= group->size)
        return dhole__fail(DHOLE_ERR_INVALID, "%s is %d: expected 0 to %d", what, peer,
                           group->size - 1);
    return DHOLE_OK;
}

static dhole_err check_other(const dhole_group *group, const char *what, int peer)
{
    if (peer == group->rank)
        return dhole__fail(DHOLE_ERR_INVALID, "%s is %d, this rank itself", what, peer);
    return check_peer(group, what, peer);
}

static dhole_err all_reduce(dhole_group *group, enum dhole__op op, const void *in, void *out,
                            size_t count, dhole_dtype dtype)
{
    dhole_err err = check_call(group, count, dtype);

    if (err)
        return err;
    if (!dhole__reduce_supported(op, dtype))
        return dhole__fail(DHOLE_ERR_INVALID, "%s of %s is not defined", dhole__op_name(op),
                           dhole_dtype_name(dtype));
    return settle(group, group->backend->all_reduce(group, op, in, out, count, dtype));
}

dhole_err dhole_all_sum(dhole_group *group, const void *in, void *out, size_t count,
                        dhole_dtype dtype)
{
    return all_reduce(group, DHOLE__SUM, in, out, count, dtype);
}

dhole_err dhole_all_max(dhole_group *group, const void *in, void *out, size_t count,
                        dhole_dtype dtype)
{
    return all_reduce(group, DHOLE__MAX, in, out, count, dtype);
}

dhole_err dhole_all_min(dhole_group *group, const void *in, void *out, size_t count,
                        dhole_dtype dtype)
{
    return all_reduce(group, DHOLE__MIN, in, out, count, dtype);
}

dhole_err dhole_all_gather(dhole_group *group, const void *in, void *out, size_t count,
                           dhole_dtype dtype)
{
    dhole_err err = check_call(group, count, dtype);

    return err ? err : settle(group, group->backend->all_gather(group, in, out, count, dtype));
}

dhole_err dhole_broadcast(dhole_group *group, void *data, size_t count, dhole_dtype dtype, int root)
{
    dhole_err err = check_peer(group, "root", root);

    if (err == DHOLE_OK)
        err = check_call(group, count, dtype);
    return err ? err : settle(group, group->backend->broadcast(group, data, count, dtype, root));
}

dhole_err dhole_send(dhole_group *group, const void *data, size_t count, dhole_dtype dtype, int to)
{
    dhole_err err = check_other(group, "to", to);

    if (err == DHOLE_OK)
        err = check_call(group, count, dtype);
    return err ? err : settle(group, group->backend->send(group, data, count, dtype, to));
}

dhole_err dhole_recv(dhole_group *group, void *data, size_t count, dhole_dtype dtype, int from)
{
    dhole_err err = check_other(group, "from", from);

    if (err == DHOLE_OK)
        err = check_call(group, count, dtype);
    return err ? err : settle(group, group->backend->recv(group, data, count, dtype, from));
}

dhole_err dhole_barrier(dhole_group *group)
{
    dhole_err err = check_group(group);

    return err ? err : settle(group, group->backend->barrier(group));
}
