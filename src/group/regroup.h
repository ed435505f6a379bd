/* Making a group of some ranks of another: what split and shrink have in common. */
#ifndef DHOLE_GROUP_REGROUP_H
#define DHOLE_GROUP_REGROUP_H

#include "group/backend.h"
#include "transport/rails.h"

/* Where this rank can be reached by the new group: sockets at the addresses that it has in the old
 * one, at ports that are free. None where ranks have no addresses. */
struct dhole__door {
    int count;
    int others; /* sockets for the first address on other networks, behind those of the others */
    int fd[dhole__rails_max]; /* -1 where an address repeats another, and beyond */
    uint16_t port[dhole__rails_max];
};

DHOLE__MUST_CHECK dhole_err dhole__door_open(const dhole_group *parent, struct dhole__door *out);
void dhole__door_close(struct dhole__door *door);

/* A rank of the new group. */
struct dhole__member {
    int rank; /* that it has in the old one */
    int port_count;
    uint16_t port[dhole__rails_max];
};

/* Tells apart groups that would have the same name. */
uint32_t dhole__regroup_nonce(const dhole_group *parent);

/* Joins the group of `size` members, of which this rank is number `rank`; blocks as dhole_init
 * does. `name` is appended to the session's, at most 44 bytes. */
DHOLE__MUST_CHECK dhole_err dhole__regroup(const dhole_group *parent,
                                           const struct dhole__member *member, int size, int rank,
                                           const char *name, struct dhole__door *door,
                                           int cancel_fd, dhole__deadline deadline,
                                           dhole_group **out);

#endif
