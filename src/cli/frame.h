/* Messages between rank 0 and a rank that it started: a length and that many bytes, over a
 * socket pair. */
#ifndef DHOLE_CLI_FRAME_H
#define DHOLE_CLI_FRAME_H

#include "base/buf.h"
#include "base/clock.h"

enum { dhole__frame_max = 64 << 10 };

DHOLE__MUST_CHECK dhole_err dhole__frame_write(int fd, const void *data, size_t length);

/* Reads one frame into an empty buffer, with a NUL after it. DHOLE_ERR_PEER_LOST at the
 * end of the stream. */
DHOLE__MUST_CHECK dhole_err dhole__frame_read(int fd, struct dhole__buf *out);

#endif
