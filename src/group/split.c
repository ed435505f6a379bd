#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/sys.h"
#include "group/regroup.h"
#include "group/settings.h"

/* What each rank tells all others. Ranks share a byte order, as they exchange numbers. */
struct offer {
    int32_t color, key;
    uint32_t nonce;
    int16_t failed; /* the rank has no place to listen, and this is its error */
    uint16_t port_count;
    uint16_t port[dhole__rails_max];
};

/* To be sorted: by key, then by rank. */
struct place {
    int key, rank;
};

static int compare_places(const void *left, const void *right)
{
    const struct place *a = left, *b = right;

    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return a->rank - b->rank;
}

/* The ranks of a color, in their new order. */
static int choose_places(const struct offer *offer, int size, int color,
                         struct place place[static dhole__rank_max])
{
    int n = 0;

    for (int rank = 0; rank < size; rank++)
        if (offer[rank].color == color)
            place[n++] = (struct place){offer[rank].key < 0 ? rank : offer[rank].key, rank};
    qsort(place, (size_t)n, sizeof place[0], compare_places);
    return n;
}

static struct dhole__member make_member(const struct offer *offer, int rank)
{
    struct dhole__member member = {.rank = rank, .port_count = offer->port_count};

    for (int i = 0; i < member.port_count && i < dhole__rails_max; i++)
        member.port[i] = offer->port[i];
    return member;
}

/* Joins the ranks of this rank's color. */
static dhole_err join(dhole_group *group, const struct offer *offer, struct dhole__door *door,
                      dhole_group **out)
{
    const struct offer *own = &offer[group->rank];
    dhole__deadline deadline = dhole__deadline_in(group->settings->options.connect_timeout_ms);
    struct place place[dhole__rank_max];
    struct dhole__member member[dhole__rank_max];
    int size = choose_places(offer, group->size, own->color, place), rank = 0;
    char name[64];

    for (int i = 0; i < size; i++) {
        const struct offer *theirs = &offer[place[i].rank];
        if (theirs->failed)
            return dhole__fail((dhole_err)theirs->failed,
                               "rank %d has no place to listen for the new group", place[i].rank);
        if (theirs->port_count > dhole__rails_max)
            return dhole__fail(DHOLE_ERR_PROTOCOL, "rank %d offers %d ports", place[i].rank,
                               theirs->port_count);
        member[i] = make_member(theirs, place[i].rank);
        if (place[i].rank == group->rank)
            rank = i;
    }
    snprintf(name, sizeof name, "/split %d color %d %08x", group->splits, own->color,
             offer[place[0].rank].nonce);
    return dhole__regroup(group, member, size, rank, name, door, -1, deadline, out);
}

static struct offer make_offer(const dhole_group *group, int color, int key, dhole_err failed,
                               const struct dhole__door *door)
{
    struct offer offer = {.color = color,
                          .key = key,
                          .nonce = dhole__regroup_nonce(group),
                          .failed = (int16_t)failed,
                          .port_count = (uint16_t)door->count};

    for (int i = 0; i < door->count; i++)
        offer.port[i] = door->port[i];
    return offer;
}

/* Ranks that have no part in a new group, or cannot have one, tell the others so. */
dhole_err dhole_split(dhole_group *group, int color, int key, dhole_group **out)
{
    struct dhole__door door = {.count = 0};
    struct offer offer[dhole__rank_max], own;
    dhole_err failed = DHOLE_OK, err;
    char why[dhole__message_max];

    if (color >= 0)
        failed = dhole__door_open(group, &door);
    dhole__message_save(why);
    group->splits++;
    own = make_offer(group, color, key, failed, &door);
    err = dhole_all_gather(group, &own, offer, sizeof own, DHOLE_U8);
    if (err == DHOLE_OK && failed) {
        dhole__message_restore(why);
        err = failed;
    } else if (err == DHOLE_OK && color < 0) {
        *out = NULL;
    } else if (err == DHOLE_OK) {
        err = join(group, offer, &door, out);
    }
    dhole__door_close(&door);
    return err ? dhole__fail_in(err, "cannot split the group") : DHOLE_OK;
}
