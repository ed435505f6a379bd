/* The public calls: they check arguments and keep the sticky error. */
#include "group/call.h"

#include <stdio.h>

#include "group/request.h"

/* In a public function the kind of call is a constant: what is inlined there comes down to that
 * kind. Small calls take a fraction of a microsecond, and this is a good part of it. */
#define INLINE static inline __attribute__((always_inline))

/* The sticky error: the first failure is what every later call returns. */
static dhole_err settle(dhole_group *group, dhole_err err)
{
    if (err) {
        group->broken = err;
        snprintf(group->why, sizeof group->why, "%s", dhole_error_message());
    }
    return err;
}

dhole_err dhole__group_check(dhole_group *group)
{
    if (group->broken)
        return dhole__fail(group->broken, "%s", group->why);
    return settle(group, group->backend->check(group));
}

static dhole_err check_elements(const dhole_group *group, size_t count, dhole_dtype dtype)
{
    size_t element = dhole_dtype_size(dtype), bytes;

    if (element == 0)
        return dhole__fail(DHOLE_ERR_INVALID, "%d is not an element type", (int)dtype);
    if (__builtin_mul_overflow(count, element * (size_t)group->size, &bytes))
        return dhole__fail(DHOLE_ERR_INVALID,
                           "%zu elements of %zu bytes on %d ranks exceed SIZE_MAX", count, element,
                           group->size);
    return DHOLE_OK;
}

static dhole_err check_peer(const dhole_group *group, const char *what, int peer)
{
    if (peer < 0 || peer >= group->size)
        return dhole__fail(DHOLE_ERR_INVALID, "%s is %d: expected 0 to %d", what, peer,
                           group->size - 1);
    return DHOLE_OK;
}

INLINE dhole_err check_arguments(const dhole_group *group, const struct dhole__task *t)
{
    dhole_err err = DHOLE_OK;

    switch (t->verb) {
    case DHOLE__CALL_BARRIER: return DHOLE_OK;
    case DHOLE__CALL_BROADCAST: err = check_peer(group, "root", t->peer); break;
    case DHOLE__CALL_SEND: err = check_peer(group, "to", t->peer); break;
    case DHOLE__CALL_RECV: err = check_peer(group, "from", t->peer); break;
    default: break;
    }
    if (err == DHOLE_OK)
        err = check_elements(group, t->count, t->dtype);
    if (err == DHOLE_OK && t->verb == DHOLE__CALL_ALL_REDUCE &&
        !dhole__reduce_supported(t->op, t->dtype))
        err = dhole__fail(DHOLE_ERR_INVALID, "%s of %s is not defined", dhole__op_name(t->op),
                          dhole_dtype_name(t->dtype));
    return err;
}

/* Checks the call, and gives it its time. */
INLINE dhole_err prepare(dhole_group *group, struct dhole__task *task)
{
    dhole_err err = check_arguments(group, task);

    if (err == DHOLE_OK)
        err = dhole__group_check(group);
    if (err)
        return err;
    task->timeout_ms = group->next_timeout_ms != 0 ? group->next_timeout_ms : group->timeout_ms;
    group->next_timeout_ms = 0;
    return DHOLE_OK;
}

INLINE dhole_err run(dhole_group *group, const struct dhole__task *t)
{
    const struct dhole__backend *backend = group->backend;
    dhole__deadline deadline = dhole__deadline_in(t->timeout_ms);

    switch (t->verb) {
    case DHOLE__CALL_BARRIER: return backend->barrier(group, deadline);
    case DHOLE__CALL_ALL_REDUCE:
        return backend->all_reduce(group, t->op, t->in, t->out, t->count, t->dtype, deadline);
    case DHOLE__CALL_ALL_GATHER:
        return backend->all_gather(group, t->in, t->out, t->count, t->dtype, deadline);
    case DHOLE__CALL_SUM_SCATTER:
        return backend->sum_scatter(group, t->in, t->out, t->count, t->dtype, deadline);
    case DHOLE__CALL_ALL_TO_ALL:
        return backend->all_to_all(group, t->in, t->out, t->count, t->dtype, deadline);
    case DHOLE__CALL_BROADCAST:
        return backend->broadcast(group, t->out, t->count, t->dtype, t->peer, deadline);
    case DHOLE__CALL_SEND:
        return backend->send(group, t->in, t->count, t->dtype, t->peer, deadline);
    case DHOLE__CALL_RECV:
        return backend->recv(group, t->out, t->count, t->dtype, t->peer, deadline);
    }
    return dhole__fail(DHOLE_ERR_INVALID, "%d is not a call", (int)t->verb);
}

dhole_err dhole__task_run(dhole_group *group, const struct dhole__task *task)
{
    return run(group, task);
}

static dhole_err wait_for_turn(dhole_group *group, struct dhole__task task)
{
    return settle(group, dhole__post_and_wait(group, &task));
}

/* Now, or when it is this call's turn and its end has come: the caller sees no difference. */
INLINE dhole_err call(dhole_group *group, struct dhole__task task)
{
    dhole_err err = prepare(group, &task);

    if (err)
        return err;
    if (dhole__busy(group))
        return wait_for_turn(group, task);
    return settle(group, run(group, &task));
}

static dhole_err post(dhole_group *group, struct dhole__task task, dhole_request **request)
{
    dhole_err err = prepare(group, &task);

    return err ? err : settle(group, dhole__post(group, &task, request));
}

static struct dhole__task plain(enum dhole__verb verb, const void *in, void *out, size_t count,
                                dhole_dtype dtype)
{
    return (struct dhole__task){.verb = verb, .in = in, .out = out, .count = count, .dtype = dtype};
}

static struct dhole__task reduction(enum dhole__op op, const void *in, void *out, size_t count,
                                    dhole_dtype dtype)
{
    struct dhole__task task = plain(DHOLE__CALL_ALL_REDUCE, in, out, count, dtype);

    task.op = op;
    return task;
}

static struct dhole__task with_peer(enum dhole__verb verb, const void *in, void *out, size_t count,
                                    dhole_dtype dtype, int peer)
{
    struct dhole__task task = plain(verb, in, out, count, dtype);

    task.peer = peer;
    return task;
}

dhole_err dhole_all_sum(dhole_group *group, const void *in, void *out, size_t count,
                        dhole_dtype dtype)
{
    return call(group, reduction(DHOLE__SUM, in, out, count, dtype));
}

dhole_err dhole_iall_sum(dhole_group *group, const void *in, void *out, size_t count,
                         dhole_dtype dtype, dhole_request **request)
{
    return post(group, reduction(DHOLE__SUM, in, out, count, dtype), request);
}

dhole_err dhole_all_max(dhole_group *group, const void *in, void *out, size_t count,
                        dhole_dtype dtype)
{
    return call(group, reduction(DHOLE__MAX, in, out, count, dtype));
}

dhole_err dhole_iall_max(dhole_group *group, const void *in, void *out, size_t count,
                         dhole_dtype dtype, dhole_request **request)
{
    return post(group, reduction(DHOLE__MAX, in, out, count, dtype), request);
}

dhole_err dhole_all_min(dhole_group *group, const void *in, void *out, size_t count,
                        dhole_dtype dtype)
{
    return call(group, reduction(DHOLE__MIN, in, out, count, dtype));
}

dhole_err dhole_iall_min(dhole_group *group, const void *in, void *out, size_t count,
                         dhole_dtype dtype, dhole_request **request)
{
    return post(group, reduction(DHOLE__MIN, in, out, count, dtype), request);
}

dhole_err dhole_all_gather(dhole_group *group, const void *in, void *out, size_t count,
                           dhole_dtype dtype)
{
    return call(group, plain(DHOLE__CALL_ALL_GATHER, in, out, count, dtype));
}

dhole_err dhole_iall_gather(dhole_group *group, const void *in, void *out, size_t count,
                            dhole_dtype dtype, dhole_request **request)
{
    return post(group, plain(DHOLE__CALL_ALL_GATHER, in, out, count, dtype), request);
}

dhole_err dhole_sum_scatter(dhole_group *group, const void *in, void *out, size_t count,
                            dhole_dtype dtype)
{
    return call(group, plain(DHOLE__CALL_SUM_SCATTER, in, out, count, dtype));
}

dhole_err dhole_isum_scatter(dhole_group *group, const void *in, void *out, size_t count,
                             dhole_dtype dtype, dhole_request **request)
{
    return post(group, plain(DHOLE__CALL_SUM_SCATTER, in, out, count, dtype), request);
}

dhole_err dhole_all_to_all(dhole_group *group, const void *in, void *out, size_t count,
                           dhole_dtype dtype)
{
    return call(group, plain(DHOLE__CALL_ALL_TO_ALL, in, out, count, dtype));
}

dhole_err dhole_iall_to_all(dhole_group *group, const void *in, void *out, size_t count,
                            dhole_dtype dtype, dhole_request **request)
{
    return post(group, plain(DHOLE__CALL_ALL_TO_ALL, in, out, count, dtype), request);
}

dhole_err dhole_broadcast(dhole_group *group, void *data, size_t count, dhole_dtype dtype, int root)
{
    return call(group, with_peer(DHOLE__CALL_BROADCAST, NULL, data, count, dtype, root));
}

dhole_err dhole_ibroadcast(dhole_group *group, void *data, size_t count, dhole_dtype dtype,
                           int root, dhole_request **request)
{
    return post(group, with_peer(DHOLE__CALL_BROADCAST, NULL, data, count, dtype, root), request);
}

dhole_err dhole_barrier(dhole_group *group)
{
    return call(group, plain(DHOLE__CALL_BARRIER, NULL, NULL, 0, DHOLE_U8));
}

dhole_err dhole_ibarrier(dhole_group *group, dhole_request **request)
{
    return post(group, plain(DHOLE__CALL_BARRIER, NULL, NULL, 0, DHOLE_U8), request);
}

dhole_err dhole_send(dhole_group *group, const void *data, size_t count, dhole_dtype dtype, int to)
{
    return call(group, with_peer(DHOLE__CALL_SEND, data, NULL, count, dtype, to));
}

dhole_err dhole_isend(dhole_group *group, const void *data, size_t count, dhole_dtype dtype, int to,
                      dhole_request **request)
{
    return post(group, with_peer(DHOLE__CALL_SEND, data, NULL, count, dtype, to), request);
}

dhole_err dhole_recv(dhole_group *group, void *data, size_t count, dhole_dtype dtype, int from)
{
    return call(group, with_peer(DHOLE__CALL_RECV, NULL, data, count, dtype, from));
}

dhole_err dhole_irecv(dhole_group *group, void *data, size_t count, dhole_dtype dtype, int from,
                      dhole_request **request)
{
    return post(group, with_peer(DHOLE__CALL_RECV, NULL, data, count, dtype, from), request);
}

/* As two of the calls that are outstanding. */
static dhole_err post_both(dhole_group *group, const struct dhole__task *send,
                           const struct dhole__task *recv)
{
    dhole_request *sent, *received;
    dhole_err err = dhole__post(group, send, &sent), receive_err;

    if (err)
        return err;
    receive_err = dhole__post(group, recv, &received);
    if (receive_err == DHOLE_OK)
        receive_err = dhole_wait(received);
    err = dhole_wait(sent);
    return err ? err : receive_err;
}

dhole_err dhole_sendrecv(dhole_group *group, const void *in, size_t in_count, int to, void *out,
                         size_t out_count, int from, dhole_dtype dtype)
{
    struct dhole__task send = with_peer(DHOLE__CALL_SEND, in, NULL, in_count, dtype, to);
    struct dhole__task recv = with_peer(DHOLE__CALL_RECV, NULL, out, out_count, dtype, from);
    dhole_err err = check_arguments(group, &recv);

    if (err == DHOLE_OK)
        err = prepare(group, &send);
    if (err)
        return err;
    recv.timeout_ms = send.timeout_ms;
    if (dhole__busy(group))
        return settle(group, post_both(group, &send, &recv));
    return settle(group, group->backend->sendrecv(group, in, in_count, to, out, out_count, from,
                                                  dtype, dhole__deadline_in(send.timeout_ms)));
}
