#include "coll/two_level.h"

/* Bytes between two hosts from which on sending them once is worth a step inside the hosts. */
enum { between_hosts = 32 << 10 };

bool dhole__two_level_pays(const struct dhole__comm *comm, size_t bytes)
{
    const struct dhole__topology *t = &comm->topology;

    return t->two_level && bytes > between_hosts / (size_t)(t->fewest * t->most);
}

dhole_err dhole__parts_exchange(struct dhole__parts *p, struct dhole__comm *comm,
                                struct dhole__call *call)
{
    dhole_err err = dhole__comm_exchange(comm, call, p->to, p->to_count, p->from, p->from_count);

    p->to_count = p->from_count = 0;
    return err;
}
