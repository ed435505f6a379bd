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
    struct dhole__call call = point_call(count, dtype, comm->sent[to]++, deadline);
    struct dhole__part part = {to, (void *)data, count * dhole_dtype_size(dtype)};

    return dhole__comm_exchange(comm, &call, &part, 1, NULL, 0);
}

dhole_err dhole__recv(struct dhole__comm *comm, void *data, size_t count, dhole_dtype dtype,
                      int from, dhole__deadline deadline)
{
    struct dhole__call call = point_call(count, dtype, comm->received[from]++, deadline);
    struct dhole__part part = {from, data, count * dhole_dtype_size(dtype)};

    return dhole__comm_exchange(comm, &call, NULL, 0, &part, 1);
}
