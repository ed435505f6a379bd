#include "coll/coll.h"

/* Messages of a pair are numbered by direction, so that a lost or doubled one shows. */
static struct dhole__call point_call(size_t count, dhole_dtype dtype, uint64_t number,
                                     dhole__deadline deadline)
{
    return (struct dhole__call){.coll = DHOLE__COLL_POINT,
                                .dtype = dtype,
                                .count = count,
                                .number = number,
                                .deadline = deadline};
}

dhole_err dhole__send(struct dhole__comm *comm, const void *data, size_t count, dhole_dtype dtype,
                      int to, dhole__deadline deadline)
{
    struct dhole__call call;
    struct dhole__part part = {to, (void *)data, count * dhole_dtype_size(dtype)};

    if (to == comm->rank)
        return dhole__self_put(&comm->self, data, count, dtype);
    call = point_call(count, dtype, comm->sent[to]++, deadline);
    return dhole__comm_exchange(comm, &call, &part, 1, NULL, 0);
}

dhole_err dhole__recv(struct dhole__comm *comm, void *data, size_t count, dhole_dtype dtype,
                      int from, dhole__deadline deadline)
{
    struct dhole__call call;
    struct dhole__part part = {from, data, count * dhole_dtype_size(dtype)};

    if (from == comm->rank) {
        dhole_err err = dhole__self_take(&comm->self, data, count, dtype);
        return err ? dhole__fail_in(err, "rank %d", from) : DHOLE_OK;
    }
    call = point_call(count, dtype, comm->received[from]++, deadline);
    return dhole__comm_exchange(comm, &call, NULL, 0, &part, 1);
}

void dhole__send_start(struct dhole__message *message, struct dhole__comm *comm, const void *data,
                       size_t count, dhole_dtype dtype, int to, dhole__deadline deadline)
{
    struct dhole__call call = point_call(count, dtype, comm->sent[to]++, deadline);
    struct dhole__part part = {to, (void *)data, count * dhole_dtype_size(dtype)};

    dhole__message_start(message, comm, &call, DHOLE__SEND, &part);
}

void dhole__recv_start(struct dhole__message *message, struct dhole__comm *comm, void *data,
                       size_t count, dhole_dtype dtype, int from, dhole__deadline deadline)
{
    struct dhole__call call = point_call(count, dtype, comm->received[from]++, deadline);
    struct dhole__part part = {from, data, count * dhole_dtype_size(dtype)};

    dhole__message_start(message, comm, &call, DHOLE__RECV, &part);
}

dhole_err dhole__sendrecv(struct dhole__comm *comm, const void *in, size_t in_count, int to,
                          void *out, size_t out_count, int from, dhole_dtype dtype,
                          dhole__deadline deadline)
{
    struct dhole__message sent, received;

    if (to == comm->rank || from == comm->rank) {
        /* What concerns this rank alone is done at once, so there is nothing to do side by side. */
        dhole_err err = dhole__send(comm, in, in_count, dtype, to, deadline);
        return err ? err : dhole__recv(comm, out, out_count, dtype, from, deadline);
    }
    dhole__send_start(&sent, comm, in, in_count, dtype, to, deadline);
    dhole__recv_start(&received, comm, out, out_count, dtype, from, deadline);
    return dhole__message_run_both(&sent, &received);
}
