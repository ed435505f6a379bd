/* Groups of ranks and their collectives. Names and meanings follow MLX's.
 *
 * Rules that hold on every backend:
 * - Every call ends: it has a deadline, and a peer that dies, stops or is unplugged is
 *   an error on every rank within a bounded time that names the rank.
 * - Every call is checked: ranks that disagree about operation, type, size, root or order, or
 *   about which group to call on, get DHOLE_ERR_MISMATCH that quotes both sides, never wrong data.
 * - Every rank gets the same bits, from run to run too. f16 and bf16 are summed in f32
 *   and rounded once.
 * - Any count works, 0 included, in place (in == out) or not.
 *
 * Calls block until this rank's part is done. One thread at a time may call on a group;
 * dhole_abort may be called from any thread. After a call failed with anything but
 * DHOLE_ERR_INVALID the group is broken: every later call fails with the same error
 * until it is freed; a new group can then be made in the same process. Output
 * buffers hold unspecified bytes after a failure. */
#ifndef DHOLE_GROUP_H
#define DHOLE_GROUP_H

#include <stddef.h>
#include <stdint.h>

#include "dhole/dtype.h"
#include "dhole/error.h"
#include "dhole/identity.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dhole_group dhole_group;

typedef struct dhole_options {
    /* "ring" or its alias "tcp" (TCP between all ranks), "shm" (shared memory, ranks of one
     * host), "jaccl" (RDMA between all ranks; "jaccl-ring" is that with `ring`), "mem" (ranks are
     * threads of this process), or NULL or "any": jaccl when there are devices, else shared memory
     * inside a host and TCP between hosts, chosen from what is set here and in the environment; a
     * group of one only when nothing names a cluster. */
    const char *backend;
    /* This rank and the number of ranks; size 0 takes both from the environment. */
    int rank, size;
    /* Address of each rank, "host:port" or "[v6]:port"; size of them. Several addresses of a rank
     * are separated by commas, "10.0.0.1:5000,10.0.1.1:5000", as many for every rank: each is a
     * connection more between two ranks. Not for mem. */
    const char *const *hosts;
    /* A bound, listening socket for this rank's address, or -1; stays the
     * caller's. */
    int listen_fd;
    /* Names the group, to keep two jobs apart; at most 64 bytes. NULL is "". Ranks
     * with another session are refused. */
    const char *session;
    /* What all ranks must agree on, in words, such as a model's digest and a split; a
     * rank that says something else is refused with both texts quoted. NULL is "". At most 1024
     * bytes. */
    const char *agreement;
    /* Seals every byte when set (but see plain_memory and seal_rdma): this rank's identity, and the
     * pin of every rank, size of them. Both stay the caller's and must outlive the group. */
    const dhole_identity *identity;
    const dhole_pin *pins;
    /* Allows an unsealed group to cross to other hosts in the clear. */
    int allow_plain;
    /* dhole_init gives up with DHOLE_ERR_CANCELLED when this descriptor becomes readable;
     * -1 is none. */
    int cancel_fd;
    /* Deadlines in milliseconds; 0 is the default: 60 s a call, 30 s to connect. */
    int64_t timeout_ms, connect_timeout_ms;
    /* A peer that is silent for that long is lost; 0 is the default, 3 s. */
    int64_t silence_ms;
    /* Name of this rank's host, at most 128 bytes: ranks with the same one share memory when the
     * backend is "shm" or "any". NULL: found out. */
    const char *host;
    /* With an identity: what goes through memory shared with ranks of this host is not sealed, as
     * it crosses no network. The memory is still offered under seal, so nobody else can come
     * between. All ranks must say the same. */
    int plain_memory;
    /* This rank's row of the device matrix, for jaccl; size of them: the RDMA devices that lead to
     * each rank, separated by commas, "rdma_en2,rdma_en3"; NULL where none does. Either to all
     * other ranks, or, for a ring of cables, to those before and after this one only. */
    const char *const *devices;
    /* RDMA to the ranks before and after this one only, whatever devices lead to others. All ranks
     * must say the same. */
    int ring;
    /* With an identity: what goes over RDMA is sealed too. Else it is not, as the link is a cable
     * between two machines; it is set up under seal all the same. All ranks must say the same. */
    int seal_rdma;
    /* Of the caller: makes `all` every rank's `own`, size bytes each, in the order of ranks, and
     * returns 0, or anything else when it cannot. With it the ranks tell each other where they are:
     * of `hosts` only this rank's own entry is read then, an address, of which a free port is
     * taken. It may list several, on one port, for ranks that reach it on different networks: the
     * first is in `own`, and in `all` each is to have the one that this rank can call. Called once,
     * in dhole_init, unless these options are refused or size is 1. */
    int (*all_gather)(void *arg, const void *own, void *all, size_t size);
    void *all_gather_arg;
} dhole_options;

/* Start from this: dhole_options options = DHOLE_OPTIONS_INIT; */
/* clang-format off */
#define DHOLE_OPTIONS_INIT \
    {NULL, 0, 0, NULL, -1, NULL, NULL, NULL, NULL, 0, -1, 0, 0, 0, NULL, 0, \
     NULL, 0, 0, NULL, NULL} /* C++11 takes it too */
/* clang-format on */

/* Joins the group: blocks until every rank is connected or the deadline. NULL options
 * is DHOLE_OPTIONS_INIT. docs/environment.md says which variables are read and what they give:
 * DHOLE_*, MLX's, and those of mpirun, srun and torchrun; DHOLE_BACKEND is the backend,
 * DHOLE_SEAL says what is sealed, and DHOLE_IDENTITY and DHOLE_PINS are the keys of a group that
 * the environment names. DHOLE_ERR_CONFIG names the variable that is wrong or missing. The caller
 * frees *out with dhole_group_free. */
dhole_err dhole_init(const dhole_options *options, dhole_group **out);

/* Whether this build and machine could make a group on that backend; of "jaccl": whether there is
 * an RDMA device. */
int dhole_is_available(const char *backend);

/* Leaves the group; peers that still call on it get DHOLE_ERR_PEER_LOST. NULL is
 * allowed. */
void dhole_group_free(dhole_group *group);

int dhole_rank(const dhole_group *group);
int dhole_size(const dhole_group *group);

/* Deadline of this rank's later calls, in milliseconds, > 0. */
dhole_err dhole_set_timeout(dhole_group *group, int64_t timeout_ms);

/* Deadline of this rank's next call alone, in milliseconds, > 0. A call that is refused with
 * DHOLE_ERR_INVALID does not use it up, every other one does. */
dhole_err dhole_set_next_timeout(dhole_group *group, int64_t timeout_ms);

/* Has `run` called, in the calling thread, while this rank's later blocking calls wait for others
 * and no other call is outstanding: for work of about a microsecond, such as fetching into the
 * cache what is needed next. It returns 0 when it has no more to do in this wait, and must not
 * call on the group. NULL: nothing. */
void dhole_set_idle(dhole_group *group, int (*run)(void *arg), void *arg);

/* out[i] = sum, max, min over the ranks of in[i]; count elements each. On every
 * processor:
 * - Integers wrap.
 * - Floating point: a NaN of any rank's makes the result NaN, always the positive quiet one without
 *   payload; -0 < +0, so that max of both is +0 and min is -0. Neither depends on which rank has
 *   what.
 * - bool is a byte, any but 0 is true, and the result is 0 or 1: "or" for sum and max, "and" for
 *   min.
 * - complex64 is summed by part, and ordered by its real part, then its imaginary part; a NaN in
 *   either makes both parts of max and min NaN. Where two are equal but for the signs of zeros,
 *   each part is the max or min of those parts.
 * In a group of one the result is a copy of the bytes. */
dhole_err dhole_all_sum(dhole_group *group, const void *in, void *out, size_t count,
                        dhole_dtype dtype);
dhole_err dhole_all_max(dhole_group *group, const void *in, void *out, size_t count,
                        dhole_dtype dtype);
dhole_err dhole_all_min(dhole_group *group, const void *in, void *out, size_t count,
                        dhole_dtype dtype);

/* out: size * count elements, rank r's `in` at r * count. In place means that in is
 * this rank's part of out. */
dhole_err dhole_all_gather(dhole_group *group, const void *in, void *out, size_t count,
                           dhole_dtype dtype);

/* data of rank `root` replaces data of every other rank. */
dhole_err dhole_broadcast(dhole_group *group, void *data, size_t count, dhole_dtype dtype,
                          int root);

/* Pairwise, in order per pair; a send may return before its receive is posted. A message to this
 * rank itself is copied and kept until it is received, DHOLE_ERR_NOMEM when there is no room; a
 * receive from this rank itself is DHOLE_ERR_MISMATCH at once unless what it asks for was
 * sent before. */
dhole_err dhole_send(dhole_group *group, const void *data, size_t count, dhole_dtype dtype, int to);
dhole_err dhole_recv(dhole_group *group, void *data, size_t count, dhole_dtype dtype, int from);

/* Sends in_count elements to `to` and receives out_count from `from`, side by side; the two may be
 * any ranks, this one too, and the buffers may not overlap. For the others it is a send and a
 * receive, so these may be called on the other side. */
dhole_err dhole_sendrecv(dhole_group *group, const void *in, size_t in_count, int to, void *out,
                         size_t out_count, int from, dhole_dtype dtype);

/* in: size * count elements; out: count elements, the sum over the ranks of their part for this
 * rank, which lies at rank * count. In place means that out is this rank's part of in; the rest of
 * in stays as it is. */
dhole_err dhole_sum_scatter(dhole_group *group, const void *in, void *out, size_t count,
                            dhole_dtype dtype);

/* in and out: size * count elements. Part r of `in` goes to rank r, part r of `out` comes from
 * rank r. In place (in == out) or not overlapping, which ranks need not agree on. */
dhole_err dhole_all_to_all(dhole_group *group, const void *in, void *out, size_t count,
                           dhole_dtype dtype);

/* Returns after every rank has called it. */
dhole_err dhole_barrier(dhole_group *group);

/* Non-blocking forms: the call is queued, this rank goes on, and a thread of the group's does the
 * work, in the order of the calls; sends and receives make progress side by side. Buffers
 * must stay as they are until the request is done. A request ends with dhole_wait, which blocks and
 * returns what the blocking call would have, or with a dhole_test that sets *done; both free it
 * then. Arguments are checked at once, so that a request comes of valid calls only.
 *
 * A call's time counts from its turn: when those before it are done, or of a send or receive those
 * before it with the same peer and direction. A blocking call that comes while others are
 * outstanding waits for its turn like them. To this rank itself a receive may be posted before the
 * send. Freeing the group ends what is outstanding with DHOLE_ERR_CANCELLED, and is a loss of this
 * rank to the others. dhole_wait and dhole_test may be called from any thread, and after the group
 * is freed.
 *
 * Ranks that wait for each other's part get DHOLE_ERR_MISMATCH when the time is over; a rank waits
 * so in a dhole_wait, in a blocking call, and where a collective is behind a send or receive. One
 * that may still go on, as it only looks with dhole_test, is late: DHOLE_ERR_TIMEOUT. */
typedef struct dhole_request dhole_request;

dhole_err dhole_iall_sum(dhole_group *group, const void *in, void *out, size_t count,
                         dhole_dtype dtype, dhole_request **request);
dhole_err dhole_iall_max(dhole_group *group, const void *in, void *out, size_t count,
                         dhole_dtype dtype, dhole_request **request);
dhole_err dhole_iall_min(dhole_group *group, const void *in, void *out, size_t count,
                         dhole_dtype dtype, dhole_request **request);
dhole_err dhole_iall_gather(dhole_group *group, const void *in, void *out, size_t count,
                            dhole_dtype dtype, dhole_request **request);
dhole_err dhole_isum_scatter(dhole_group *group, const void *in, void *out, size_t count,
                             dhole_dtype dtype, dhole_request **request);
dhole_err dhole_iall_to_all(dhole_group *group, const void *in, void *out, size_t count,
                            dhole_dtype dtype, dhole_request **request);
dhole_err dhole_ibroadcast(dhole_group *group, void *data, size_t count, dhole_dtype dtype,
                           int root, dhole_request **request);
dhole_err dhole_ibarrier(dhole_group *group, dhole_request **request);
dhole_err dhole_isend(dhole_group *group, const void *data, size_t count, dhole_dtype dtype, int to,
                      dhole_request **request);
dhole_err dhole_irecv(dhole_group *group, void *data, size_t count, dhole_dtype dtype, int from,
                      dhole_request **request);

dhole_err dhole_wait(dhole_request *request);

/* *done is 0 or 1; the error is that of the call, DHOLE_OK while it is not done. */
dhole_err dhole_test(dhole_request *request, int *done);

/* Memory that every transport moves without a copy of its own; any other memory works too. It
 * begins with a page, and is uninitialised; size 0 is allowed. DHOLE_ERR_NOMEM does not break the
 * group. The caller frees it with dhole_dealloc before the group; NULL is allowed there. */
dhole_err dhole_alloc(dhole_group *group, size_t size, void **out);
void dhole_dealloc(dhole_group *group, void *memory);

/* A group of the ranks that gave the same color, ordered by key and then by rank; a negative key
 * stands for the rank, a negative color for none: *out is NULL then. All ranks of
 * the group must call it. The new group has the options of this one, other ports at the same
 * addresses, lives on its own and is freed on its own. When it cannot be made, this one is as good
 * as before. */
dhole_err dhole_split(dhole_group *group, int color, int key, dhole_group **out);

/* Of a broken group: a new group of the ranks that are left and call this too, in the old order.
 * A rank that has died, has left or is silent is not waited for, one that is there but does not
 * call is, for two thirds of the group's connect_timeout_ms, which bounds the whole. It is then
 * left behind: should it call later, it gets DHOLE_ERR_PEER_LOST, as does the rank that the
 * group was broken for the loss of, if it lives. A network that falls apart leaves a group on each
 * side. DHOLE_ERR_INVALID when the group is not broken. It is still to be freed, at any
 * time. */
dhole_err dhole_shrink(dhole_group *group, dhole_group **out);

/* Breaks the group on all ranks: pending and later calls return DHOLE_ERR_ABORTED, with
 * `why` and this rank in the message. Any thread. */
void dhole_abort(dhole_group *group, const char *why);

/* Bytes that this rank sent and received since it joined: messages with their headers, and what
 * the control connections carried. */
typedef struct dhole_stats {
    uint64_t sealed_bytes;
    uint64_t plain_bytes;  /* in the clear, over a connection */
    uint64_t memory_bytes; /* not sealed, through memory shared with ranks of this host */
} dhole_stats;

void dhole_group_stats(const dhole_group *group, dhole_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
