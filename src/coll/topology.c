#include "coll/topology.h"

#include <string.h>

static int find_host(const struct dhole__topology *t, const int *label, int wanted)
{
    int host = 0;

    while (host < t->hosts && label[t->rank[host][0]] != wanted)
        host++;
    return host;
}

void dhole__topology_init(struct dhole__topology *t, const int *label, int size)
{
    memset(t, 0, sizeof *t);
    for (int rank = 0; rank < size; rank++) {
        int host = find_host(t, label, label[rank]), place = t->ranks[host]++;
        if (host == t->hosts)
            t->hosts++;
        t->host[rank] = (uint8_t)host;
        t->place[rank] = (uint8_t)place;
        t->rank[host][place] = (uint8_t)rank;
    }
    t->fewest = size;
    for (int host = 0; host < t->hosts; host++) {
        t->fewest = t->ranks[host] < t->fewest ? t->ranks[host] : t->fewest;
        t->most = t->ranks[host] > t->most ? t->ranks[host] : t->most;
    }
    t->two_level = t->hosts > 1 && t->most > 1;
}
