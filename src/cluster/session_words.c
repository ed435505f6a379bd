/* Words of the program between the coordinator and the others. */
#include <stdlib.h>
#include <string.h>

#include "cluster/session.h"

enum { default_ms = 60000 };

void dhole__words_take(dhole_cluster *s, int rank, struct dhole__event *event)
{
    struct dhole__member *m = &s->member[rank];

    /* They may overtake the note that the epoch is live. */
    if (s->phase == DHOLE__EPOCH_OVER || (rank != 0 && !s->is_coordinator)) {
        dhole__event_free(event);
        return;
    }
    event->next = NULL;
    if (m->word == NULL)
        m->word = event;
    else
        m->last_word->next = event;
    m->last_word = event;
    m->word_bytes += dhole__event_cost(event);
    if (m->word_bytes > dhole__unread_max)
        dhole__session_lose(s, rank, "this rank does not receive what it sends");
    pthread_cond_broadcast(&s->changed);
}

static struct dhole__event *take_first(struct dhole__member *m)
{
    struct dhole__event *event = m->word;

    m->word = event->next;
    m->word_bytes -= dhole__event_cost(event);
    return event;
}

void dhole__words_drop(dhole_cluster *s)
{
    for (int rank = 0; rank < s->size; rank++)
        while (s->member[rank].word != NULL)
            dhole__event_free(take_first(&s->member[rank]));
}

static dhole_err check_rank(const dhole_cluster *s, int rank)
{
    if (rank >= 0 && rank < s->size && rank != s->rank && (rank == 0 || s->rank == 0))
        return DHOLE_OK;
    return dhole__fail(DHOLE_ERR_INVALID,
                       "rank %d of %d cannot exchange words with rank %d: one of the two must be "
                       "the coordinator, rank 0",
                       s->rank, s->size, rank);
}

/* With the lock held, which is given up while the words are on their way. */
static dhole_err send_word(dhole_cluster *s, struct dhole__wire *wire, const void *data,
                           size_t size)
{
    dhole_err err;

    wire->users++;
    pthread_mutex_unlock(&s->lock);
    err = dhole__wire_send(wire, DHOLE__NOTE_WORD, data, size, default_ms);
    pthread_mutex_lock(&s->lock);
    wire->users--;
    dhole__mailbox_wake(&s->box); /* the keeper may have found the wire busy */
    return err;
}

dhole_err dhole_cluster_send(dhole_cluster *s, int to, const void *data, size_t size)
{
    dhole_err err;

    if (size > dhole__note_max)
        return dhole__fail(DHOLE_ERR_INVALID, "words of %zu bytes: at most %d go", size,
                           dhole__note_max);
    pthread_mutex_lock(&s->lock);
    err = check_rank(s, to);
    if (!err)
        err = dhole__session_check(s);
    if (!err) {
        err = send_word(s, s->member[to].wire, data, size);
        if (err && dhole__session_check(s) == DHOLE_OK)
            err = dhole__fail(DHOLE_ERR_PEER_LOST, "rank %d does not take what it is sent", to);
        else if (err)
            err = DHOLE_ERR_PEER_LOST;
    }
    pthread_mutex_unlock(&s->lock);
    return err;
}

static dhole_err receive(struct dhole__member *m, void *data, size_t capacity, size_t *size)
{
    struct dhole__event *event = m->word;

    if (event->size > capacity)
        return dhole__fail(DHOLE_ERR_LIMIT, "words of %zu bytes wait: there is room for %zu",
                           event->size, capacity);
    event = take_first(m);
    memcpy(data, event->bytes, event->size);
    *size = event->size;
    dhole__event_free(event);
    return DHOLE_OK;
}

dhole_err dhole_cluster_recv(dhole_cluster *s, int from, void *data, size_t capacity, size_t *size,
                             int64_t timeout_ms)
{
    dhole__deadline deadline = dhole__deadline_in(timeout_ms > 0 ? timeout_ms : default_ms);
    struct dhole__member *m;
    dhole_err err;

    pthread_mutex_lock(&s->lock);
    err = check_rank(s, from);
    if (!err)
        err = dhole__session_check(s);
    m = &s->member[err ? 0 : from];
    while (!err && m->word == NULL) {
        if (!dhole__session_await(s, deadline))
            err = dhole__fail(DHOLE_ERR_TIMEOUT, "no words of rank %d have come", from);
        else
            err = dhole__session_check(s);
    }
    if (!err)
        err = receive(m, data, capacity, size);
    pthread_mutex_unlock(&s->lock);
    return err;
}
