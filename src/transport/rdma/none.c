/* A build without <infiniband/verbs.h>. */
#include "transport/rdma/probe.h"
#include "transport/rdma/rdma.h"

static dhole_err unsupported(void)
{
    return dhole__fail(DHOLE_ERR_UNSUPPORTED,
                       "this build has no RDMA: libibverbs-dev was missing when it was made");
}

dhole_err dhole__rdma_open(const struct dhole__rdma_wish *wishes, int n, struct dhole__rdma **out)
{
    (void)wishes;
    (void)n;
    (void)out;
    return unsupported();
}

void dhole__rdma_close(struct dhole__rdma *rdma)
{
    (void)rdma;
}

dhole_err dhole__rdma_available(void)
{
    return unsupported();
}

dhole_err dhole__rdma_start(struct dhole__rdma *rdma, struct dhole__conn *lower, int side, int peer,
                            const char *const *devices, int n, struct dhole__conn **out)
{
    (void)rdma;
    (void)lower;
    (void)side;
    (void)peer;
    (void)devices;
    (void)n;
    (void)out;
    return unsupported();
}

dhole_err dhole__rdma_step(struct dhole__conn *conn, bool *done)
{
    (void)conn;
    *done = false;
    return unsupported();
}

dhole__deadline dhole__rdma_wake(const struct dhole__conn *conn)
{
    (void)conn;
    return INT64_MAX;
}

struct dhole__conn *dhole__rdma_give_up(struct dhole__conn *conn)
{
    return conn;
}

dhole_err dhole__rdma_register(struct dhole__rdma *rdma, void *memory, size_t size)
{
    (void)rdma;
    (void)memory;
    (void)size;
    return unsupported();
}

void dhole__rdma_unregister(struct dhole__rdma *rdma, void *memory)
{
    (void)rdma;
    (void)memory;
}

dhole_err dhole__rdma_probe(struct dhole__probe_device **out, int *count)
{
    (void)out;
    (void)count;
    return unsupported();
}
