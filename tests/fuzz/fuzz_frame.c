/* Any bytes as what a link's other side sends: as messages, in records sealed with its key, or as
 * the records. Messages are taken until the link breaks, and are what was sealed. */
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "fuzz.h"
#include "link/frame.h"
#include "link/link_internal.h"
#include "seal/record.h"
#include "stream.h"

enum { message_max = 1 << 14, input_max = 1 << 16 };

static const uint8_t theirs[dhole__lane_key_size] = {1}, ours[dhole__lane_key_size] = {2};

/* A link with one channel, whose lane reads `wire`, and CONTROL. */
static dhole_link *link_over(dhole_channel channel, const uint8_t *wire, size_t size)
{
    dhole_link *link = dhole__link_alloc();
    struct dhole__conn *lower = stream_new(wire, size, size + 1);

    if (link == NULL || lower == NULL ||
        dhole__lane_open_keyed(lower, ours, theirs, &link->channel[channel]) != DHOLE_OK)
        abort();
    if (channel != DHOLE_CHANNEL_CONTROL)
        link->channel[DHOLE_CHANNEL_CONTROL] = stream_new(NULL, 0, 1);
    if (link->channel[DHOLE_CHANNEL_CONTROL] == NULL)
        abort();
    link->message_max = message_max;
    link->timeout_ms = 60000;
    link->cancel_fd = -1;
    return link;
}

/* `text` is what was sealed; NULL: nothing, so no message may come. */
static void take_messages(dhole_link *link, dhole_channel channel, const uint8_t *text)
{
    static uint8_t data[message_max];
    dhole_message message;
    size_t at = 0;

    while (dhole_link_recv(link, channel, &message, 0) == DHOLE_OK) {
        size_t size = dhole_message_size(&message);
        if (text == NULL || size > message_max || message.dims > DHOLE_SHAPE_MAX)
            abort();
        at += dhole__frame_head + 8 * (size_t)message.dims;
        if (dhole_link_recv_data(link, channel, data, 0) != DHOLE_OK)
            break;
        if (memcmp(data, text + at, size) != 0)
            abort();
        at += size;
    }
    dhole_link_free(link);
}

/* Seals `text` in records of `length` bytes into `wire`, which has room. */
static size_t seal(const uint8_t *text, size_t size, size_t length, uint8_t *wire)
{
    struct dhole__record_key key;
    size_t end = 0, step;

    if (dhole__record_key_init(&key, true, theirs) != DHOLE_OK)
        abort();
    for (size_t at = 0; at < size; at += step) {
        struct iovec iov = {(void *)(text + at), size - at};
        step = length < size - at ? length : size - at;
        if (dhole__record_seal(&key, (struct dhole__walk){&iov, 1, 0}, step, wire + end) !=
            DHOLE_OK)
            abort();
        end += step + dhole__record_extra;
    }
    dhole__record_key_free(&key);
    return end;
}

static void take_sealed(dhole_channel channel, const uint8_t *text, size_t size, size_t length)
{
    size_t records = (size - 1) / length + 1;
    uint8_t *wire = malloc(size + records * dhole__record_extra);

    if (wire == NULL)
        return;
    take_messages(link_over(channel, wire, seal(text, size, length, wire)), channel, text);
    free(wire);
}

/* The first byte says which channel, and whether the others are to be sealed; the second, how long
 * records are. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dhole_channel channel;

    if (size < 3 || size > input_max)
        return 0;
    channel = (dhole_channel)(data[0] % 128 % dhole__channel_count);
    if (data[0] < 128)
        take_sealed(channel, data + 2, size - 2, 1 + data[1] * 8U);
    else
        take_messages(link_over(channel, data + 2, size - 2), channel, NULL);
    return 0;
}
