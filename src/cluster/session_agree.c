/* Before a group is made, each rank says whether it can: the others would wait for one that can't,
 * and not learn why. All gather their errors, and when there is one, the words of the first rank
 * that has one, in as many pieces as they take. */
#include <string.h>

#include "cluster/session.h"

/* That rank's words. */
static dhole_err gather_words(dhole_cluster *s, int rank, const char *own, dhole__deadline deadline,
                              char out[static dhole__message_max])
{
    char all[dhole__rank_max][dhole__piece_max];
    bool ended = false;

    for (size_t at = 0; !ended && at < dhole__message_max; at += dhole__piece_max) {
        uint32_t round;
        dhole_err err = dhole__session_gather(s, own + at, all, dhole__piece_max, deadline, &round);
        if (err)
            return err;
        memcpy(out + at, all[rank], dhole__piece_max);
        ended = memchr(out + at, '\0', dhole__piece_max) != NULL;
    }
    out[dhole__message_max - 1] = '\0';
    return DHOLE_OK;
}

/* Whoever has heard of it may leave, which ends the epoch: not before all have. */
static void await_all(dhole_cluster *s, dhole__deadline deadline)
{
    uint32_t round;
    dhole_err err = dhole__session_gather(s, "", NULL, 0, deadline, &round);

    (void)err; /* somebody has left */
}

static dhole_err fail(dhole_cluster *s, int rank, dhole_err err, const char *own,
                      dhole__deadline deadline)
{
    char words[dhole__message_max], name[DHOLE_NAME_SIZE];
    dhole_err failed = gather_words(s, rank, own, deadline, words);

    if (failed)
        return failed;
    await_all(s, deadline);
    pthread_mutex_lock(&s->lock);
    memcpy(name, s->roster.who[rank].name, sizeof name);
    pthread_mutex_unlock(&s->lock);
    return dhole__fail(err <= DHOLE_ERR_CANCELLED ? err : DHOLE_ERR_PROTOCOL, "rank %d (%s): %s",
                       rank, name, words);
}

dhole_err dhole__session_agree(dhole_cluster *s, dhole_err own, dhole__deadline deadline,
                               uint32_t *round)
{
    char why[dhole__message_max] = "";
    uint8_t code = (uint8_t)own, all[dhole__rank_max];
    int rank = 0, size = dhole_cluster_size(s);
    dhole_err err;

    if (own)
        dhole__message_save(why);
    err = dhole__session_gather(s, &code, all, sizeof code, deadline, round);
    if (err) /* nobody was told; this rank's own error is what it can do something about */
        return own ? dhole__fail(own, "%s", why) : err;
    while (rank < size && all[rank] == DHOLE_OK)
        rank++;
    return rank < size ? fail(s, rank, (dhole_err)all[rank], why, deadline) : DHOLE_OK;
}
