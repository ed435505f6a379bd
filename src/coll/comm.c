#include "coll/comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/sys.h"
#include "coll/waits.h"
#include "transport/io.h"

enum { header_size = dhole__header_size, header_magic = 0xd401, scratch_size = 512 << 10 };

/* An exchange's messages; the header is the same for all that go out. */
struct dhole__exchange {
    const struct dhole__comm *comm;
    const struct dhole__call *call;
    uint8_t header[header_size];
    uint8_t theirs[dhole__rank_max][header_size];
    struct dhole__io io[2 * dhole__rank_max];
    int peer[2 * dhole__rank_max];
    int count;
};

static struct dhole__waits wait_in(const struct dhole__comm *comm, int rank,
                                   const uint8_t header[static header_size],
                                   enum dhole__io_kind kind, int peer)
{
    struct dhole__waits waits = {.begun = comm->calls,
                                 .peer = peer,
                                 .kind = kind,
                                 .sent = comm->sent[rank],
                                 .received = comm->received[rank]};

    memcpy(waits.header, header, header_size);
    return waits;
}

/* Nothing has moved for a while. */
static void say_wait(void *arg)
{
    struct dhole__comm *comm = arg;
    const struct dhole__exchange *x = comm->exchange;
    struct dhole__waits waits[dhole__rank_max];

    if (comm->on_wait == NULL)
        return;
    for (int rank = 0; rank < comm->size; rank++)
        waits[rank] = wait_in(comm, rank, x->header, x->io[0].kind, x->peer[0]);
    comm->waits = true;
    comm->on_wait(comm->on_wait_arg, waits);
}

static void end_wait(struct dhole__comm *comm)
{
    if (!comm->waits)
        return;
    comm->waits = false;
    comm->on_wait(comm->on_wait_arg, NULL);
}

/* Each rank is told of the message in which it has a part itself. */
void dhole__comm_wait(struct dhole__comm *comm, const struct dhole__message *const *messages,
                      int count)
{
    struct dhole__waits waits[dhole__rank_max];

    if (count == 0) {
        end_wait(comm);
        return;
    }
    if (comm->on_wait == NULL)
        return;
    for (int rank = 0; rank < comm->size; rank++) {
        const struct dhole__message *m = messages[0];
        for (int i = 0; i < count; i++)
            if (messages[i]->peer == rank)
                m = messages[i];
        waits[rank] = wait_in(comm, rank, m->ours, m->io.kind, m->peer);
    }
    comm->waits = true;
    comm->on_wait(comm->on_wait_arg, waits);
}

static dhole_err run(struct dhole__comm *comm, const struct dhole__exchange *x,
                     struct dhole__io *io, int n, dhole__deadline deadline)
{
    dhole_err err;

    comm->exchange = x;
    err = dhole__io_run_idle(io, n, deadline, &comm->idle, comm->crowded);
    comm->exchange = NULL;
    if (err == DHOLE_OK)
        end_wait(comm);
    return err;
}

dhole_err dhole__comm_init(struct dhole__comm *comm)
{
    comm->culprit = -1;
    comm->idle.slow = say_wait;
    comm->idle.slow_arg = comm;
    comm->scratch_size = scratch_size;
    comm->scratch = dhole__sys.malloc(scratch_size);
    return comm->scratch ? DHOLE_OK : dhole__fail_nomem(scratch_size, "a group's scratch");
}

void dhole__comm_free(struct dhole__comm *comm)
{
    dhole__self_free(&comm->self);
    free(comm->scratch);
    comm->scratch = NULL;
}

void dhole__comm_begin(struct dhole__comm *comm, struct dhole__call *call)
{
    call->number = comm->calls++;
    call->step = 0;
}

/* Little-endian: magic 2, operation 1, type 1, root 2, step 2, zero 8, number 8, count 8. */
static void encode(const struct dhole__call *call, uint8_t header[static header_size])
{
    dhole__put64(header, header_magic | (uint64_t)call->coll << 16 | (uint64_t)call->dtype << 24 |
                             (uint64_t)(uint16_t)call->root << 32 | (uint64_t)call->step << 48);
    dhole__put64(header + 8, 0);
    dhole__put64(header + 16, call->number);
    dhole__put64(header + 24, call->count);
}

static const char *coll_name(uint64_t coll)
{
    switch (coll) {
#define NAME(code, value, name) \
    case value: return name;
        DHOLE__COLL_MAP(NAME)
#undef NAME
    }
    return "an unknown operation";
}

enum dhole__coll dhole__header_coll(const uint8_t header[static dhole__header_size])
{
    return (enum dhole__coll)header[2];
}

uint64_t dhole__header_number(const uint8_t header[static dhole__header_size])
{
    return dhole__get64(header + 16);
}

/* All but the step. */
bool dhole__header_same_call(const uint8_t a[static dhole__header_size],
                             const uint8_t b[static dhole__header_size])
{
    return memcmp(a, b, 6) == 0 && memcmp(a + 8, b + 8, dhole__header_size - 8) == 0;
}

void dhole__header_describe(const uint8_t header[static dhole__header_size], char *text,
                            size_t size)
{
    snprintf(text, size, "%s of %llu %s, root %u (number %llu, step %u)", coll_name(header[2]),
             (unsigned long long)dhole__get64(header + 24),
             dhole_dtype_name((dhole_dtype)header[3]), dhole__get16(header + 4),
             (unsigned long long)dhole__get64(header + 16), dhole__get16(header + 6));
}

static dhole_err compare(const struct dhole__comm *comm, int peer, const uint8_t *ours,
                         const uint8_t *theirs)
{
    char ours_text[128], theirs_text[128];

    if (memcmp(theirs, ours, header_size) == 0)
        return DHOLE_OK;
    if (dhole__get16(theirs) != header_magic)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "what came from rank %d is not a message", peer);
    dhole__header_describe(ours, ours_text, sizeof ours_text);
    dhole__header_describe(theirs, theirs_text, sizeof theirs_text);
    return dhole__fail(DHOLE_ERR_MISMATCH, "rank %d calls %s; rank %d calls %s", comm->rank,
                       ours_text, peer, theirs_text);
}

static dhole_err check_header(struct dhole__io *io, void *arg)
{
    const struct dhole__exchange *x = arg;
    int peer = x->peer[io - x->io];

    return compare(x->comm, peer, x->header, x->theirs[peer]);
}

static void add(struct dhole__exchange *x, int peer, struct dhole__io io)
{
    x->peer[x->count] = peer;
    x->io[x->count++] = io;
}

/* Says in front of the message which peer the failure of this transfer is about. */
static dhole_err blame_peer(struct dhole__comm *comm, const struct dhole__call *call,
                            const struct dhole__io *io, int peer, dhole_err err)
{
    const char *name = coll_name(call->coll);

    comm->culprit = peer;
    if (err == DHOLE_ERR_TIMEOUT)
        return dhole__fail(err, "%s: rank %d did not %s in time", name, peer,
                           io->kind == DHOLE__RECV ? "send its part" : "take our part");
    return dhole__fail_in(err, "%s with rank %d", name, peer);
}

/* Finds out which peer the failure is about. */
static dhole_err blame(struct dhole__comm *comm, const struct dhole__exchange *x, dhole_err err)
{
    for (int i = 0; i < x->count; i++)
        if (err == DHOLE_ERR_TIMEOUT ? dhole__io_left(&x->io[i]) > 0 : x->io[i].err)
            return blame_peer(comm, x->call, &x->io[i], x->peer[i], err);
    return dhole__fail_in(err, "%s", coll_name(x->call->coll));
}

dhole_err dhole__comm_exchange(struct dhole__comm *comm, struct dhole__call *call,
                               const struct dhole__part *out, int out_count,
                               const struct dhole__part *in, int in_count)
{
    struct dhole__exchange x; /* too big to be cleared on every call */
    dhole_err err;

    x.comm = comm;
    x.call = call;
    x.count = 0;
    encode(call, x.header);
    for (int i = 0; i < out_count; i++)
        add(&x, out[i].peer,
            dhole__io_send(comm->lane[out[i].peer], x.header, header_size, out[i].data,
                           out[i].bytes));
    for (int i = 0; i < in_count; i++) {
        int peer = in[i].peer;
        struct dhole__io io =
            dhole__io_recv(comm->lane[peer], x.theirs[peer], header_size, in[i].data, in[i].bytes);
        io.on_head = check_header;
        io.arg = &x;
        add(&x, peer, io);
    }
    call->step++;
    err = run(comm, &x, x.io, x.count, call->deadline);
    return err ? blame(comm, &x, err) : DHOLE_OK;
}

static dhole_err check_message(struct dhole__io *io, void *arg)
{
    const struct dhole__message *m = arg;

    (void)io;
    return compare(m->comm, m->peer, m->ours, m->theirs);
}

void dhole__message_start(struct dhole__message *m, struct dhole__comm *comm,
                          const struct dhole__call *call, enum dhole__io_kind kind,
                          const struct dhole__part *part)
{
    struct dhole__conn *lane = comm->lane[part->peer];

    m->comm = comm;
    m->call = *call;
    m->peer = part->peer;
    encode(call, m->ours);
    if (kind == DHOLE__SEND) {
        m->io = dhole__io_send(lane, m->ours, header_size, part->data, part->bytes);
    } else {
        m->io = dhole__io_recv(lane, m->theirs, header_size, part->data, part->bytes);
        m->io.on_head = check_message;
        m->io.arg = m;
    }
}

/* A message of this rank to itself: one that receives waits for the one that sends. */
static dhole_err step_self(struct dhole__message *m, bool *moved)
{
    struct dhole__self *self = &m->comm->self;
    void *data = m->io.iov[1].iov_base;

    *moved = m->io.kind == DHOLE__SEND || self->first != NULL;
    if (!*moved)
        return DHOLE_OK;
    m->io.iov[0].iov_len = m->io.iov[1].iov_len = 0;
    return m->io.kind == DHOLE__SEND ? dhole__self_put(self, data, m->call.count, m->call.dtype)
                                     : dhole__self_take(self, data, m->call.count, m->call.dtype);
}

dhole_err dhole__message_step(struct dhole__message *m, bool *moved)
{
    dhole_err err =
        m->peer == m->comm->rank ? step_self(m, moved) : dhole__io_step(&m->io, 1, moved);

    if (!err && dhole__io_left(&m->io) > 0 && dhole__now() >= m->call.deadline)
        err = DHOLE_ERR_TIMEOUT;
    return err ? blame_peer(m->comm, &m->call, &m->io, m->peer, err) : DHOLE_OK;
}

dhole_err dhole__message_run_both(struct dhole__message *sent, struct dhole__message *received)
{
    struct dhole__message *m[] = {sent, received};
    struct dhole__io io[] = {sent->io, received->io};
    struct dhole__comm *comm = sent->comm;
    struct dhole__exchange x; /* what it waits in, if it does: the one that is received */
    dhole_err err;

    memcpy(x.header, received->ours, sizeof x.header);
    x.peer[0] = received->peer;
    x.io[0].kind = DHOLE__RECV;
    err = run(comm, &x, io, 2, sent->call.deadline);

    for (int i = 0; i < 2 && err; i++)
        if (err == DHOLE_ERR_TIMEOUT ? dhole__io_left(&io[i]) > 0 : io[i].err)
            return blame_peer(comm, &m[i]->call, &io[i], m[i]->peer, err);
    return err;
}
