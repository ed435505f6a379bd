#include "link/frame.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"

enum { magic = 0xd402, refusal_magic = 0xd403 };

const char *dhole__channel_name(dhole_channel channel)
{
    static const char *const names[] = {"CONTROL", "MESSAGES", "BULK"};

    return names[channel];
}

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

void dhole__refusal_encode(dhole_channel channel, size_t size, size_t most,
                           uint8_t out[static dhole__frame_head])
{
    memset(out, 0, dhole__frame_head);
    dhole__put16(out, refusal_magic);
    out[2] = (uint8_t)channel;
    dhole__put64(out + 8, size == SIZE_MAX ? UINT64_MAX : size);
    dhole__put64(out + 16, most);
}

bool dhole__refusal_is(const uint8_t in[static dhole__frame_head])
{
    return dhole__get16(in) == refusal_magic;
}

dhole_err dhole__refusal_decode(const uint8_t in[static dhole__frame_head])
{
    static const uint8_t zero[5];
    uint64_t size = dhole__get64(in + 8), most = dhole__get64(in + 16);

    if (in[2] > DHOLE_CHANNEL_BULK || memcmp(in + 3, zero, sizeof zero) != 0 || size <= most)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "it sent a malformed refusal");
    if (size == UINT64_MAX)
        return dhole__fail(DHOLE_ERR_LIMIT,
                           "it refused a message of more bytes than can be addressed on %s: it "
                           "takes at most %" PRIu64,
                           dhole__channel_name((dhole_channel)in[2]), most);
    return dhole__fail(DHOLE_ERR_LIMIT,
                       "it refused a message of %" PRIu64 " bytes on %s: it takes at most %" PRIu64,
                       size, dhole__channel_name((dhole_channel)in[2]), most);
}
