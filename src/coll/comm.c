#include "coll/comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "transport/io.h"

enum { header_size = 32, header_magic = 0xd401, scratch_size = 1 << 20 };

/* An exchange's messages; the header is the same for all that go out. */
struct exchange {
    const struct dhole__comm *comm;
    const struct dhole__call *call;
    uint8_t header[header_size];
    uint8_t theirs[dhole__rank_max][header_size];
    struct dhole__io io[2 * dhole__rank_max];
    int peer[2 * dhole__rank_max];
    int count;
};

dhole_err dhole__comm_init(struct dhole__comm *comm)
{
    comm->culprit = -1;
    comm->scratch_size = scratch_size;
    comm->scratch = dhole__sys.malloc(scratch_size);
    return comm->scratch ? DHOLE_OK : dhole__fail_nomem(scratch_size, "a group's scratch");
}

void dhole__comm_free(struct dhole__comm *comm)
{
    free(comm->scratch);
    comm->scratch = NULL;
}

void dhole__comm_begin(struct dhole__comm *comm, struct dhole__call *call)
{
    call->number = comm->calls++;
    call->step = 0;
}

static void put(uint8_t *dst, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        dst[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get(const uint8_t *src, int bytes)
{
    uint64_t value = 0;

    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)src[i] << (8 * i);
    return value;
}

/* Little-endian: magic 2, operation 1, type 1, root 2, step 2, zero 8, number 8, count 8. */
static void encode(const struct dhole__call *call, uint8_t header[static header_size])
{
    memset(header, 0, header_size);
    put(header, header_magic, 2);
    put(header + 2, call->coll, 1);
    put(header + 3, call->dtype, 1);
    put(header + 4, (uint64_t)call->root, 2);
    put(header + 6, call->step, 2);
    put(header + 16, call->number, 8);
    put(header + 24, call->count, 8);
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

static void describe(const uint8_t *header, char *text, size_t size)
{
    snprintf(text, size, "%s of %llu %s, root %u (number %llu, step %u)",
             coll_name(get(header + 2, 1)), (unsigned long long)get(header + 24, 8),
             dhole_dtype_name((dhole_dtype)get(header + 3, 1)), (unsigned)get(header + 4, 2),
             (unsigned long long)get(header + 16, 8), (unsigned)get(header + 6, 2));
}

static dhole_err check_header(struct dhole__io *io, void *arg)
{
    const struct exchange *x = arg;
    int peer = x->peer[io - x->io];
    const uint8_t *theirs = x->theirs[peer];
    char ours_text[128], theirs_text[128];

    if (memcmp(theirs, x->header, header_size) == 0)
        return DHOLE_OK;
    if (get(theirs, 2) != header_magic)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "what came from rank %d is not a message", peer);
    describe(x->header, ours_text, sizeof ours_text);
    describe(theirs, theirs_text, sizeof theirs_text);
    return dhole__fail(DHOLE_ERR_MISMATCH, "rank %d calls %s; rank %d calls %s", x->comm->rank,
                       ours_text, peer, theirs_text);
}

static void add(struct exchange *x, int peer, struct dhole__io io)
{
    x->peer[x->count] = peer;
    x->io[x->count++] = io;
}

/* Finds out which peer the failure is about, and says so in front of the message. */
static dhole_err blame(struct dhole__comm *comm, const struct exchange *x, dhole_err err)
{
    const char *name = coll_name(x->call->coll);

    for (int i = 0; i < x->count; i++) {
        bool at_fault = err == DHOLE_ERR_TIMEOUT ? dhole__io_left(&x->io[i]) > 0 : x->io[i].err;
        if (!at_fault)
            continue;
        comm->culprit = x->peer[i];
        if (err == DHOLE_ERR_TIMEOUT)
            return dhole__fail(err, "%s: rank %d did not %s in time", name, comm->culprit,
                               x->io[i].kind == DHOLE__RECV ? "send its part" : "take our part");
        return dhole__fail_in(err, "%s with rank %d", name, comm->culprit);
    }
    return dhole__fail_in(err, "%s", name);
}

dhole_err dhole__comm_exchange(struct dhole__comm *comm, struct dhole__call *call,
                               const struct dhole__part *out, int out_count,
                               const struct dhole__part *in, int in_count)
{
    struct exchange x; /* too big to be cleared on every call */
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
    err = dhole__io_run_idle(x.io, x.count, call->deadline, &comm->idle);
    return err ? blame(comm, &x, err) : DHOLE_OK;
}
