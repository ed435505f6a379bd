/* Rails: a filter that joins several connections to one peer into one stream of bytes, so that they
 * share the load.
 *
 * The stream is cut into chunks, and chunk i goes over rail i modulo their number. Both sides know
 * that, so no byte is added, and a small message is one call below. When one rail
 * breaks, the stream is broken, and the message says which rail it was. */
#ifndef DHOLE_TRANSPORT_RAILS_H
#define DHOLE_TRANSPORT_RAILS_H

#include "transport/conn.h"

/* The chunk of a group's lanes. */
enum { dhole__rails_max = 8, dhole__rails_chunk = 128 << 10 };

/* Joins rail[0..n), 1 <= n <= dhole__rails_max, in the order that the peer gives them too; none has
 * carried a byte of the stream, which is cut into chunks of `chunk` bytes. `address` names each in
 * messages. On success *out owns them all; on failure the caller still does. */
DHOLE__MUST_CHECK dhole_err dhole__rails_open(struct dhole__conn *const *rail,
                                              const char *const *address, int n, size_t chunk,
                                              struct dhole__conn **out);

/* From now on no rail receives before it is its turn: for rails that keep what has come, so that
 * whoever receives need not offer the same memory next. */
void dhole__rails_receive_in_turn(struct dhole__conn *rails);

#endif
