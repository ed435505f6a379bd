#include "transport/transport.h"

#include <stdlib.h>

#include "base/sys.h"

dhole_err dhole__transport_open(const struct dhole__transport_ops *ops,
                                const struct dhole__transport_config *config,
                                struct dhole__transport **out)
{
    struct dhole__transport *transport = dhole__sys.calloc(1, ops->size);
    dhole_err err;

    if (transport == NULL)
        return dhole__fail_nomem(ops->size, "a transport");
    transport->ops = ops;
    err = ops->open(transport, config);
    if (err) {
        free(transport);
        return err;
    }
    *out = transport;
    return DHOLE_OK;
}

void dhole__transport_close(struct dhole__transport *transport)
{
    if (transport == NULL)
        return;
    transport->ops->close(transport);
    free(transport);
}
