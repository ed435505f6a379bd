/* Where the ranks of a group listen, and how each reaches the others: on the networks on which the
 * session's links are, which need not be the same for any two ranks. In a group too the higher rank
 * calls the lower one. */
#include <stdio.h>
#include <string.h>

#include "cluster/session.h"
#include "cluster/where.h"

/* With port 0; this end of the link to that rank. */
static void own_end(const struct dhole__wire *wire, char out[DHOLE_ADDRESS_SIZE])
{
    dhole__where_with_port(dhole_link_own_address(wire->link), "0", out);
}

/* At a wildcard, or at all addresses at which it was called: there it listens already. Whom nobody
 * called nobody will call now. */
void dhole__session_own_host(const dhole_cluster *s, char *out, size_t size)
{
    const dhole_link_listener *listener = s->gate.listener;
    const char *gate = listener != NULL ? dhole_link_listener_address(listener) : "0.0.0.0:0";
    char host[DHOLE_ADDRESS_SIZE];

    *out = '\0';
    for (int rank = 0; rank < s->size; rank++) {
        const struct dhole__wire *wire = s->member[rank].wire;
        if (rank == s->rank || wire == NULL || !wire->up || wire->called)
            continue;
        own_end(wire, host);
        dhole__places_add(out, size, host);
    }
    if (*out != '\0')
        return;
    dhole__where_with_port(dhole__where_is_wild(gate) ? "127.0.0.1:0" : gate, "0", host);
    dhole__places_add(out, size, host);
}

void dhole__session_name_hosts(dhole_cluster *s, void *all, size_t size)
{
    pthread_mutex_lock(&s->lock);
    for (int rank = 0; rank < s->size; rank++) {
        const struct dhole__wire *wire = s->member[rank].wire;
        char *host = (char *)all + (size_t)rank * size, address[DHOLE_ADDRESS_SIZE];
        if (rank == s->rank || wire == NULL || !wire->up || memchr(host, '\0', size) == NULL ||
            *host == '\0')
            continue;
        dhole__where_with_port(dhole_link_address(wire->link), dhole__where_port(host), address);
        if (strlen(address) < size)
            strcpy(host, address);
    }
    pthread_mutex_unlock(&s->lock);
}
