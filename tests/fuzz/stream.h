/* A connection that gives the bytes of a fuzzer's input, and takes whatever is sent. */
#ifndef DHOLE_TEST_FUZZ_STREAM_H
#define DHOLE_TEST_FUZZ_STREAM_H

#include <stddef.h>

#include "transport/conn.h"

/* At most `piece` bytes at a time, then the end of the stream. NULL for want of memory. The data
 * stays the caller's. */
struct dhole__conn *stream_new(const uint8_t *data, size_t size, size_t piece);

#endif
