#include "link/frame.h"

#include <string.h>

#include "base/bytes.h"

enum { magic = 0xd402 };

size_t dhole_message_size(const dhole_message *message)
{
    size_t size = dhole_dtype_size(message->dtype);

    if (size == 0 || message->dims < 0 || message->dims > DHOLE_SHAPE_MAX)
        return SIZE_MAX;
    for (int i = 0; i < message->dims; i++)
        if (message->shape[i] == 0)
            return 0;
    for (int i = 0; i < message->dims; i++) {
        if (message->shape[i] > PTRDIFF_MAX / size)
            return SIZE_MAX;
        size *= (size_t)message->shape[i];
    }
    return size;
}

size_t dhole__frame_encode(const dhole_message *message, dhole_channel channel, uint64_t number,
                           uint8_t out[static dhole__frame_max])
{
    memset(out, 0, dhole__frame_head);
    dhole__put16(out, magic);
    out[2] = (uint8_t)channel;
    out[3] = (uint8_t)message->dtype;
    out[4] = (uint8_t)message->dims;
    dhole__put32(out + 8, message->tag);
    dhole__put64(out + 16, number);
    for (int i = 0; i < message->dims; i++)
        dhole__put64(out + dhole__frame_head + 8 * i, message->shape[i]);
    return dhole__frame_head + 8 * (size_t)message->dims;
}

dhole_err dhole__frame_decode(const uint8_t in[static dhole__frame_head], dhole_channel channel,
                              uint64_t number, dhole_message *out)
{
    static const uint8_t zero[4];
    uint64_t came = dhole__get64(in + 16);

    if (dhole__get16(in) != magic || in[2] != channel || memcmp(in + 5, zero, 3) != 0 ||
        memcmp(in + 12, zero, 4) != 0 || dhole_dtype_size((dhole_dtype)in[3]) == 0 ||
        in[4] > DHOLE_SHAPE_MAX)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "it sent a malformed message");
    if (came != number)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "message %llu came in place of %llu",
                           (unsigned long long)came, (unsigned long long)number);
    *out = (dhole_message){.tag = dhole__get32(in + 8), .dtype = (dhole_dtype)in[3], .dims = in[4]};
    return DHOLE_OK;
}

dhole_err dhole__frame_decode_shape(const uint8_t *in, size_t most, dhole_message *message,
                                    size_t *size)
{
    for (int i = 0; i < message->dims; i++)
        message->shape[i] = dhole__get64(in + 8 * i);
    *size = dhole_message_size(message);
    if (*size > most)
        return dhole__fail(DHOLE_ERR_LIMIT, "a message of %s%zu bytes came: at most %zu are taken",
                           *size == SIZE_MAX ? "at least " : "", *size, most);
    return DHOLE_OK;
}
