#include "coll/waits.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"

void dhole__waits_encode(const struct dhole__waits *waits, uint8_t out[static dhole__waits_size])
{
    memset(out, 0, dhole__waits_size);
    memcpy(out, waits->header, dhole__header_size);
    dhole__put64(out + dhole__header_size, waits->begun);
    dhole__put16(out + dhole__header_size + 8, (unsigned)waits->peer);
    out[dhole__header_size + 10] = waits->kind;
    dhole__put64(out + dhole__header_size + 16, waits->sent);
    dhole__put64(out + dhole__header_size + 24, waits->received);
}

void dhole__waits_decode(const uint8_t in[static dhole__waits_size], struct dhole__waits *out)
{
    memcpy(out->header, in, dhole__header_size);
    out->begun = dhole__get64(in + dhole__header_size);
    out->peer = (int)dhole__get16(in + dhole__header_size + 8);
    out->kind = in[dhole__header_size + 10] == DHOLE__SEND ? DHOLE__SEND : DHOLE__RECV;
    out->sent = dhole__get64(in + dhole__header_size + 16);
    out->received = dhole__get64(in + dhole__header_size + 24);
}

static bool is_message(const struct dhole__waits *waits)
{
    return dhole__header_coll(waits->header) == DHOLE__COLL_POINT;
}

static uint64_t number_of(const struct dhole__waits *waits)
{
    return dhole__header_number(waits->header);
}

bool dhole__waits_differ(const struct dhole__waits *ours, const struct dhole__waits *theirs)
{
    return !is_message(ours) && !is_message(theirs) && number_of(ours) == number_of(theirs) &&
           !dhole__header_same_call(ours->header, theirs->header);
}

/* Whether the other side of the message in which somebody waits has begun its part of it. */
static bool is_met(const struct dhole__waits *message, uint64_t sent, uint64_t received)
{
    return number_of(message) < (message->kind == DHOLE__RECV ? sent : received);
}

/* Whether `waiter` needs the other one's part of a message, and that one does something else. */
static bool is_alone(const struct dhole__waits *message, const struct dhole__waits *others,
                     int other)
{
    return message->peer == other && !is_met(message, others->sent, others->received);
}

/* Whether the one who waits for a message keeps the other, who sends or takes none, from ending a
 * collective, as it has not come to that yet. */
static bool keeps_waiting(const struct dhole__waits *message, const struct dhole__waits *collective,
                          int other)
{
    return is_alone(message, collective, other) && message->begun <= number_of(collective);
}

bool dhole__waits_deadlock(const struct dhole__waits *ours, int rank,
                           const struct dhole__waits *theirs, int peer)
{
    if (!is_message(ours) && !is_message(theirs))
        return dhole__waits_differ(ours, theirs);
    if (!is_message(theirs))
        return keeps_waiting(ours, theirs, peer);
    if (!is_message(ours))
        return keeps_waiting(theirs, ours, rank);
    return ours->kind == theirs->kind && is_alone(ours, theirs, peer) &&
           is_alone(theirs, ours, rank);
}

bool dhole__waits_need(const struct dhole__waits *theirs, int peer, const struct dhole__comm *comm)
{
    if (!is_message(theirs))
        return number_of(theirs) >= comm->calls;
    return theirs->peer == comm->rank && !is_met(theirs, comm->sent[peer], comm->received[peer]);
}

void dhole__waits_describe(const struct dhole__waits *waits, char *text, size_t size)
{
    char call[128];

    dhole__header_describe(waits->header, call, sizeof call);
    if (is_message(waits))
        snprintf(text, size, "%s, %s rank %d", call, waits->kind == DHOLE__SEND ? "to" : "from",
                 waits->peer);
    else
        snprintf(text, size, "%s", call);
}

dhole_err dhole__waits_mismatch(const struct dhole__waits *ours, int rank,
                                const struct dhole__waits *theirs, int peer)
{
    char ours_text[160], theirs_text[160];

    if (peer < rank)
        return dhole__waits_mismatch(theirs, peer, ours, rank);
    dhole__waits_describe(ours, ours_text, sizeof ours_text);
    if (peer == rank)
        return dhole__fail(DHOLE_ERR_MISMATCH, "rank %d calls %s, and nothing else", rank,
                           ours_text);
    dhole__waits_describe(theirs, theirs_text, sizeof theirs_text);
    return dhole__fail(DHOLE_ERR_MISMATCH, "rank %d calls %s; rank %d calls %s", rank, ours_text,
                       peer, theirs_text);
}
