/* RDMA under a connection: its bytes go through queue pairs of InfiniBand, RoCE or Thunderbolt
 * devices, and the connection below carries what the two sides must agree on first, and later the
 * news that the other side is gone.
 *
 * libibverbs is opened at run time, and found by its usual name or by DHOLE_VERBS_LIBRARY. Where
 * there is none, or this build was made without its header, everything here is
 * DHOLE_ERR_UNSUPPORTED in words. DHOLE_RDMA_QP=rc|uc says which kind of queue pair to use; without
 * it, RC where both devices can, else UC. */
#ifndef DHOLE_TRANSPORT_RDMA_RDMA_H
#define DHOLE_TRANSPORT_RDMA_RDMA_H

#include "base/clock.h"
#include "transport/conn.h"

enum { dhole__rdma_devices_max = 8 }; /* of one rank, and between two ranks */

/* This rank's devices, opened for one group: an arena and a registered region each. */
struct dhole__rdma;

/* A device, "name" or "name:port" (else its first active port), and how many peers are reached
 * through it: that many queue pairs are made at most, and their memory is set aside. */
struct dhole__rdma_wish {
    const char *device;
    int queue_pairs;
};

/* DHOLE_ERR_UNSUPPORTED: no libibverbs. DHOLE_ERR_CONFIG: a device is not there, is down, has no
 * usable GID, or too few queue pairs; the message says what to do. */
DHOLE__MUST_CHECK dhole_err dhole__rdma_open(const struct dhole__rdma_wish *wishes, int n,
                                             struct dhole__rdma **out);

/* After all its connections. NULL is allowed. */
void dhole__rdma_close(struct dhole__rdma *rdma);

/* Whether libibverbs can be opened and shows at least one device; else why not. */
DHOLE__MUST_CHECK dhole_err dhole__rdma_available(void);

/* Upgrades `lower`, over which nothing may be under way, to the RDMA devices that lead to `peer`
 * (a rank, for messages): names as in the wishes. The two sides, 0 and 1, find out which of their
 * devices reach each other, and with which GIDs; each such pair becomes a rail. Start moves no
 * byte; *out owns `lower` at once, on failure the caller still does. Then step, whenever the
 * connection is ready (its arm says for what), and at the time that dhole__rdma_wake says whether
 * it is or not, until *done; only then may bytes be sent or received. The devices that do not reach
 * may take two seconds each to find out.
 *
 * DHOLE_ERR_UNSUPPORTED means, on both sides, that no device reaches: then dhole__rdma_give_up
 * frees the connection and returns `lower`, on which they can go on. After any other error all
 * that is left is to close it. */
DHOLE__MUST_CHECK dhole_err dhole__rdma_start(struct dhole__rdma *rdma, struct dhole__conn *lower,
                                              int side, int peer, const char *const *devices, int n,
                                              struct dhole__conn **out);
DHOLE__MUST_CHECK dhole_err dhole__rdma_step(struct dhole__conn *conn, bool *done);
dhole__deadline dhole__rdma_wake(const struct dhole__conn *conn);
struct dhole__conn *dhole__rdma_give_up(struct dhole__conn *conn);

/* Registers memory on all devices, so that it is sent without a copy; any thread. A failure does no
 * harm: it is sent with a copy then. Unregister before the memory is freed, when no call uses it;
 * memory that is not registered is ignored. */
DHOLE__MUST_CHECK dhole_err dhole__rdma_register(struct dhole__rdma *rdma, void *memory,
                                                 size_t size);
void dhole__rdma_unregister(struct dhole__rdma *rdma, void *memory);

#endif
