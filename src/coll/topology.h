/* Which ranks are on one host, for the algorithms that send data across the network once for all
 * of a host's ranks. */
#ifndef DHOLE_COLL_TOPOLOGY_H
#define DHOLE_COLL_TOPOLOGY_H

#include <stdbool.h>
#include <stdint.h>

enum { dhole__rank_max = 64 };

/* All zero: nothing is known. */
struct dhole__topology {
    bool two_level; /* several hosts, and several ranks on one of them */
    int hosts;
    int fewest, most;                               /* ranks on a host */
    uint8_t host[dhole__rank_max];                  /* of each rank, in the order of first ranks */
    uint8_t place[dhole__rank_max];                 /* of each rank among those of its host */
    uint8_t ranks[dhole__rank_max];                 /* how many on each host */
    uint8_t rank[dhole__rank_max][dhole__rank_max]; /* by host and place */
};

/* Ranks r and s are on one host when label[r] == label[s]. All ranks must give labels that say the
 * same. */
void dhole__topology_init(struct dhole__topology *topology, const int *label, int size);

#endif
