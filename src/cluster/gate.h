/* Where a rank of a session listens: a listener, and the thread that accepts. */
#ifndef DHOLE_CLUSTER_GATE_H
#define DHOLE_CLUSTER_GATE_H

#include "cluster/wire.h"

struct dhole__gate {
    dhole_link_listener *listener; /* NULL: closed */
    struct dhole__mailbox *box;
    pthread_t thread;
    atomic_bool closing;
    int cancel_fd;
};

/* Each link that comes is put into the mailbox as a wire. `options` are copied but for what they
 * point to, and their cancel_fd must outlive these links: so it cannot be what ends the gate. */
DHOLE__MUST_CHECK dhole_err dhole__gate_open(struct dhole__gate *gate, struct dhole__mailbox *box,
                                             const dhole_link_options *options,
                                             const char *address);

/* A closed one is allowed. Takes a moment unless cancel_fd is readable. */
void dhole__gate_close(struct dhole__gate *gate);

#endif
