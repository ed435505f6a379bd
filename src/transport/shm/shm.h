/* Shared memory under a connection between two processes of one host: its bytes go through
 * memory that both map, and the connection below carries no more than a byte that wakes a
 * sleeper, and the news that the other side is gone. */
#ifndef DHOLE_TRANSPORT_SHM_SHM_H
#define DHOLE_TRANSPORT_SHM_SHM_H

#include "transport/conn.h"

/* Upgrades `lower`, over which nothing may be under way. Side 0 makes the memory, with
 * `bulk_size` bytes for each direction (a power of two, the same on both sides), side 1 opens it.
 * Start moves no byte; *out owns `lower` at once, on failure the caller still does. Then step,
 * whenever the connection is ready (its arm says for what), until *done; only then may
 * bytes be sent or received.
 *
 * DHOLE_ERR_UNSUPPORTED means, on both sides, that these two cannot share memory: then
 * dhole__shm_give_up frees the connection and returns `lower`, on which they can go on. After any
 * other error all that is left is to close it. */
DHOLE__MUST_CHECK dhole_err dhole__shm_start(struct dhole__conn *lower, int side, size_t bulk_size,
                                             struct dhole__conn **out);
DHOLE__MUST_CHECK dhole_err dhole__shm_step(struct dhole__conn *conn, bool *done);
struct dhole__conn *dhole__shm_give_up(struct dhole__conn *conn);

#endif
