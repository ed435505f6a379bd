/* What a rank says of a call in which nothing has moved for a while. Most disagreements show in the
 * headers of messages; those in which each side waits for the other show here. */
#ifndef DHOLE_COLL_WAITS_H
#define DHOLE_COLL_WAITS_H

#include <stdbool.h>

#include "coll/comm.h"

enum { dhole__waits_size = 64 };

/* What one rank is told of another's wait, or tells it of its own. */
struct dhole__waits {
    uint8_t header[dhole__header_size]; /* of the message that it would send or take next */
    uint64_t begun;                     /* collective calls, this one too */
    int peer;                           /* of a message of two */
    enum dhole__io_kind kind;
    uint64_t sent, received; /* messages of two that it has begun with the one who is told */
};

void dhole__waits_encode(const struct dhole__waits *waits, uint8_t out[static dhole__waits_size]);
void dhole__waits_decode(const uint8_t in[static dhole__waits_size], struct dhole__waits *out);

/* Whether two ranks make different calls where there is but one: in the place of one collective.
 * That stays true, however old the news is. */
bool dhole__waits_differ(const struct dhole__waits *ours, const struct dhole__waits *theirs);

/* Whether `rank` and `peer` wait for each other, each in a call that the other does not make, and
 * has not made before: else a message was lost. True only while both wait. `ours` is what that peer
 * is told. */
bool dhole__waits_deadlock(const struct dhole__waits *ours, int rank,
                           const struct dhole__waits *theirs, int peer);

/* Whether `peer`, who waits so, needs a call that this rank has not begun in their group. */
bool dhole__waits_need(const struct dhole__waits *theirs, int peer, const struct dhole__comm *comm);

void dhole__waits_describe(const struct dhole__waits *waits, char *text, size_t size);

/* DHOLE_ERR_MISMATCH that quotes both; the sentence is the same on both sides, which may be one. */
DHOLE__MUST_CHECK dhole_err dhole__waits_mismatch(const struct dhole__waits *ours, int rank,
                                                  const struct dhole__waits *theirs, int peer);

#endif
