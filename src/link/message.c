/* Messages: a header that says what comes, then the elements.
 *
 * On a lane both are sealed together, so that whatever the header says is authentic before it is
 * believed, and a small message is one record and one call below. */
#include "link/frame.h"
#include "link/link_internal.h"

static const char *const names[] = {"CONTROL", "MESSAGES", "BULK"};

/* 0 is the link's. */
static dhole__deadline deadline_of(const dhole_link *link, int64_t timeout_ms)
{
    return dhole__deadline_in(timeout_ms > 0 ? timeout_ms : link->timeout_ms);
}

/* The largest message that a side with that limit takes on the channel. */
static size_t limit_on(dhole_channel channel, size_t message_max)
{
    return channel == DHOLE_CHANNEL_CONTROL && message_max > dhole__control_max ? dhole__control_max
                                                                                : message_max;
}

/* Whether there is such a channel, and it is whole. */
static dhole_err check_channel(dhole_link *link, dhole_channel channel)
{
    if ((unsigned)channel >= dhole__channel_count)
        return dhole__fail(DHOLE_ERR_INVALID, "a link has no channel %d", (int)channel);
    if (link->channel[channel] == NULL)
        return dhole__fail(DHOLE_ERR_INVALID, "the link has no lanes, CONTROL alone");
    return dhole__link_check(link, channel);
}

static dhole_err fail_on(dhole_link *link, dhole_channel channel, const char *doing, dhole_err err)
{
    dhole__fail_in(err, "%s %s on %s", doing, link->address, names[channel]);
    return dhole__link_break(link, channel, err);
}

static dhole_err check_size(const dhole_link *link, dhole_channel channel,
                            const dhole_message *message)
{
    size_t size = dhole_message_size(message);
    size_t most = limit_on(channel, link->peer_message_max);

    if (size == SIZE_MAX)
        return dhole__fail(DHOLE_ERR_INVALID,
                           "a message of type %d with %d dimensions, or too large to address",
                           (int)message->dtype, message->dims);
    if (size > most)
        return dhole__fail(DHOLE_ERR_LIMIT, "a message of %zu bytes on %s: %s takes at most %zu",
                           size, names[channel], link->address, most);
    return DHOLE_OK;
}

dhole_err dhole_link_send(dhole_link *link, dhole_channel channel, const dhole_message *message,
                          const void *data, int64_t timeout_ms)
{
    uint8_t head[dhole__frame_max];
    struct dhole__io io;
    size_t head_size, size;
    dhole_err err = check_channel(link, channel);

    if (!err)
        err = check_size(link, channel, message);
    if (err)
        return err;
    size = dhole_message_size(message);
    head_size = dhole__frame_encode(message, channel, link->sent_number[channel]++, head);
    io = dhole__io_send(link->channel[channel], head, head_size, data, size);
    err = dhole__io_run_until(&io, 1, deadline_of(link, timeout_ms), link->cancel_fd,
                              channel != DHOLE_CHANNEL_CONTROL);
    if (err)
        return fail_on(link, channel, "sending to", err);
    atomic_fetch_add(&link->sent_bytes, size);
    atomic_fetch_add(&link->sent_messages, 1);
    return DHOLE_OK;
}

/* Receives into memory of the link's or the caller's; *untouched when nothing has come. */
static dhole_err take(dhole_link *link, dhole_channel channel, void *out, size_t size,
                      dhole__deadline deadline, bool *untouched)
{
    struct dhole__io io = dhole__io_recv(link->channel[channel], out, size, NULL, 0);
    dhole_err err =
        dhole__io_run_until(&io, 1, deadline, link->cancel_fd, channel != DHOLE_CHANNEL_CONTROL);

    *untouched = dhole__io_left(&io) == size;
    return err;
}

/* Head and shape; *untouched when a deadline or cancellation came before any of it. */
static dhole_err take_message(dhole_link *link, dhole_channel channel, dhole_message *message,
                              dhole__deadline deadline, bool *untouched)
{
    struct dhole__inbox *inbox = &link->inbox[channel];
    dhole_err err = take(link, channel, inbox->head, sizeof inbox->head, deadline, untouched);
    bool ignored;

    if (err) {
        *untouched &= err == DHOLE_ERR_TIMEOUT || err == DHOLE_ERR_CANCELLED;
        return err;
    }
    *untouched = false;
    err = dhole__frame_decode(inbox->head, channel, inbox->number, message);
    if (!err && message->dims > 0)
        err = take(link, channel, inbox->shape, 8 * (size_t)message->dims, deadline, &ignored);
    return err ? err
               : dhole__frame_decode_shape(inbox->shape, limit_on(channel, link->message_max),
                                           message, &inbox->size);
}

dhole_err dhole_link_recv(dhole_link *link, dhole_channel channel, dhole_message *message,
                          int64_t timeout_ms)
{
    struct dhole__inbox *inbox;
    dhole_message came;
    bool untouched;
    dhole_err err = check_channel(link, channel);

    if (err)
        return err;
    inbox = &link->inbox[channel];
    if (inbox->has_message && inbox->size > 0)
        return dhole__fail(DHOLE_ERR_INVALID,
                           "the elements of the message before, %zu bytes, were not taken",
                           inbox->size);
    err = take_message(link, channel, &came, deadline_of(link, timeout_ms), &untouched);
    if (err && untouched) {
        dhole_err broken = dhole__link_check(link, channel);
        return broken
                   ? broken
                   : dhole__fail_in(err, "receiving from %s on %s", link->address, names[channel]);
    }
    if (err)
        return fail_on(link, channel, "receiving from", err);
    inbox->number++;
    inbox->has_message = true;
    atomic_fetch_add(&link->received_messages, 1);
    *message = came;
    return DHOLE_OK;
}

dhole_err dhole_link_recv_data(dhole_link *link, dhole_channel channel, void *data,
                               int64_t timeout_ms)
{
    struct dhole__inbox *inbox;
    bool ignored;
    dhole_err err = check_channel(link, channel);

    if (err)
        return err;
    inbox = &link->inbox[channel];
    if (!inbox->has_message)
        return dhole__fail(DHOLE_ERR_INVALID, "no message was received whose elements could be");
    err = take(link, channel, data, inbox->size, deadline_of(link, timeout_ms), &ignored);
    if (err)
        return fail_on(link, channel, "receiving from", err);
    inbox->has_message = false;
    atomic_fetch_add(&link->received_bytes, inbox->size);
    return DHOLE_OK;
}
