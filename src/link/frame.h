/* The header of a message, which is sealed with its elements: u16 0xd402; u8 channel, type and
 * number of dimensions; three zero bytes; u32 tag; u32 0; u64 number of the message on its channel
 * in its direction; then 64 bits for each dimension. */
#ifndef DHOLE_LINK_FRAME_H
#define DHOLE_LINK_FRAME_H

#include <stdbool.h>

#include "base/error.h"
#include "dhole/link.h"

enum { dhole__frame_head = 24, dhole__frame_max = dhole__frame_head + 8 * DHOLE_SHAPE_MAX };

/* Returns the header's size. */
size_t dhole__frame_encode(const dhole_message *message, dhole_channel channel, uint64_t number,
                           uint8_t out[static dhole__frame_max]);

/* The fixed part: all of *out but the shape, of which 8 * dims bytes follow. DHOLE_ERR_PROTOCOL
 * when it is not that of message `number` on `channel`. */
DHOLE__MUST_CHECK dhole_err dhole__frame_decode(const uint8_t in[static dhole__frame_head],
                                                dhole_channel channel, uint64_t number,
                                                dhole_message *out);

/* The shape of a message whose fixed part is known, and its size in bytes. DHOLE_ERR_LIMIT when
 * that is more than `most`. */
DHOLE__MUST_CHECK dhole_err dhole__frame_decode_shape(const uint8_t *in, size_t most,
                                                      dhole_message *message, size_t *size);

/* What a side says on CONTROL, in place of a header, when it has refused a message, and then ends
 * the link: u16 0xd403; u8 channel; five zero bytes; u64 the message's size, all ones where that is
 * too large to address; u64 the most that is taken. */
void dhole__refusal_encode(dhole_channel channel, size_t size, size_t most,
                           uint8_t out[static dhole__frame_head]);
bool dhole__refusal_is(const uint8_t in[static dhole__frame_head]);

/* DHOLE_ERR_LIMIT in words; DHOLE_ERR_PROTOCOL when it is malformed. */
DHOLE__MUST_CHECK dhole_err dhole__refusal_decode(const uint8_t in[static dhole__frame_head]);

/* As link.h calls it. */
const char *dhole__channel_name(dhole_channel channel);

#endif
