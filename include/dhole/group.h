/* Groups of ranks and their collectives. Names and meanings follow MLX's.
 *
 * Rules that hold on every backend:
 * - Every call ends: it has a deadline, and a peer that dies, stops or is unplugged is
 *   an error on every rank within a bounded time that names the rank.
 * - Every call is checked: ranks that disagree about operation, type or size get
 *   DHOLE_ERR_MISMATCH that quotes both sides, never wrong data.
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
#include "dhole/link.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dhole_group dhole_group;

typedef struct dhole_options {
    /* "ring" or its alias "tcp", "mem" (ranks are threads of this process), or NULL or "any":
     * chosen from what is set here and in the environment; a group of one only when nothing names a
     * cluster. */
    const char *backend;
    /* This rank and the number of ranks; size 0 takes both from the environment. */
    int rank, size;
    /* Address of each rank, "host:port" or "[v6]:port"; size of them. tcp only. */
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
    /* Seals every byte when set: this rank's identity, and the pin of every rank, size
     * of them. Both stay the caller's and must outlive the group. */
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
} dhole_options;

/* Start from this: dhole_options options = DHOLE_OPTIONS_INIT; */
/* clang-format off */
#define DHOLE_OPTIONS_INIT \
    {NULL, 0, 0, NULL, -1, NULL, NULL, NULL, NULL, 0, -1, 0, 0, 0} /* C++11 takes it too */
/* clang-format on */

/* Joins the group: blocks until every rank is connected or the deadline. NULL options
 * is DHOLE_OPTIONS_INIT. The environment read is DHOLE_RANK, DHOLE_HOSTFILE and MLX's MLX_RANK,
 * MLX_HOSTFILE; DHOLE_SEAL=off is allow_plain. The caller frees *out with dhole_group_free. */
dhole_err dhole_init(const dhole_options *options, dhole_group **out);

/* Whether this build and machine could make a group on that backend. */
int dhole_is_available(const char *backend);

/* Leaves the group; peers that still call on it get DHOLE_ERR_PEER_LOST. NULL is
 * allowed. */
void dhole_group_free(dhole_group *group);

int dhole_rank(const dhole_group *group);
int dhole_size(const dhole_group *group);

/* Deadline of this rank's later calls, in milliseconds, > 0. */
dhole_err dhole_set_timeout(dhole_group *group, int64_t timeout_ms);

/* Has `run` called, in the calling thread, while this rank's later calls wait for others: for work
 * of about a microsecond, such as fetching into the cache what is needed next. It returns 0 when it
 * has no more to do in this wait, and must not call on the group. NULL: nothing. */
void dhole_set_idle(dhole_group *group, int (*run)(void *arg), void *arg);

/* out[i] = sum, max, min over the ranks of in[i]; count elements each. */
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

/* Pairwise, in order per pair; a send may return before its receive is posted. A rank
 * may not send to itself: DHOLE_ERR_INVALID. */
dhole_err dhole_send(dhole_group *group, const void *data, size_t count, dhole_dtype dtype, int to);
dhole_err dhole_recv(dhole_group *group, void *data, size_t count, dhole_dtype dtype, int from);

/* Returns after every rank has called it. */
dhole_err dhole_barrier(dhole_group *group);

/* Breaks the group on all ranks: pending and later calls return DHOLE_ERR_ABORTED, with
 * `why` and this rank in the message. Any thread. */
void dhole_abort(dhole_group *group, const char *why);

/* Bytes of messages (headers included) that this rank sent and received, by whether they were
 * sealed. */
typedef struct dhole_stats {
    uint64_t sealed_bytes;
    uint64_t plain_bytes;
} dhole_stats;

void dhole_group_stats(const dhole_group *group, dhole_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
