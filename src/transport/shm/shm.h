/* Shared memory under a connection between two processes of one host: its bytes go through
 * memory that both map, and the connection below carries no more than a byte that wakes a
 * sleeper, and the news that the other side is gone. */
#ifndef DHOLE_TRANSPORT_SHM_SHM_H
#define DHOLE_TRANSPORT_SHM_SHM_H

#include "transport/conn.h"

enum { dhole__bulk_min = 64 << 10 };

/* Upgrades `lower`, over which nothing may be under way. Side 0 makes the memory, with
 * `bulk_size` bytes for each direction (a power of two of at least dhole__bulk_min, the same on
 * both sides), side 1 opens it. Start moves no byte; *out owns `lower` at once, on failure the
 * caller still does. Then step, whenever the connection is ready (its arm says for what), until
 * *done; only then may bytes be sent or received.
 *
 * DHOLE_ERR_UNSUPPORTED means, on both sides, that these two cannot share memory: then
 * dhole__shm_give_up frees the connection and returns `lower`, on which they can go on. After any
 * other error all that is left is to close it. */
DHOLE__MUST_CHECK dhole_err dhole__shm_start(struct dhole__conn *lower, int side, size_t bulk_size,
                                             struct dhole__conn **out);
DHOLE__MUST_CHECK dhole_err dhole__shm_step(struct dhole__conn *conn, bool *done);
struct dhole__conn *dhole__shm_give_up(struct dhole__conn *conn);

/* Where more ranks than processors are at work a connection's memory is out of the cache before it
 * is used again, unless there is little of it. Uses no more than `bulk_size` bytes, a power of two
 * of at least dhole__bulk_min, each way from here on, if conn is such a connection; best said on
 * both sides. */
void dhole__shm_narrow(struct dhole__conn *conn, size_t bulk_size);

#endif
