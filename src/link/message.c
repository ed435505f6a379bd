/* Messages: a header that says what comes, then the elements.
 *
 * On a lane both are sealed together, so that whatever the header says is authentic before it is
 * believed, and a small message is one record and one call below.
 *
 * Who refuses a message for its size says so on CONTROL, and ends the link. The sender may be busy
 * on another channel, and nobody reads CONTROL: so whoever finds the link ended looks there for
 * the reason, or leaves that to who reads it already. Thus CONTROL is taken in turns. */
#include "link/frame.h"
#include "link/link_internal.h"

/* For the refusal to come, or to go; where nothing else has ended the link with it. */
enum { refusal_ms = 500 };

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
                           size, dhole__channel_name(channel), link->address, most);
    return DHOLE_OK;
}

static dhole_err take_turn(dhole_channel channel, struct dhole__turn *turn,
                           dhole__deadline deadline)
{
    if (channel != DHOLE_CHANNEL_CONTROL || dhole__turn_take(turn, deadline))
        return DHOLE_OK;
    return dhole__fail(DHOLE_ERR_TIMEOUT, "CONTROL was not free in time");
}

static void give_turn(dhole_channel channel, struct dhole__turn *turn)
{
    if (channel == DHOLE_CHANNEL_CONTROL)
        dhole__turn_give(turn);
}

static void say_where(const dhole_link *link, dhole_channel channel, const char *doing,
                      dhole_err err)
{
    dhole__fail_in(err, "%s %s on %s", doing, link->address, dhole__channel_name(channel));
}

/* Tells the other side, if that can be done at once, that its message is refused. It may close the
 * link upon that, which must not be what this side's other threads take for the reason. */
static void tell_refusal(dhole_link *link, dhole_channel channel, size_t size, size_t most)
{
    dhole__deadline deadline = dhole__deadline_in(refusal_ms);
    uint8_t bytes[dhole__frame_head];
    char message[dhole__message_max];
    struct dhole__io io;
    bool whole;

    if (!dhole__turn_take(&link->send_turn, deadline))
        return;
    dhole__message_save(message);
    whole = dhole__link_check(link, DHOLE_CHANNEL_CONTROL) == DHOLE_OK;
    dhole__message_restore(message);
    say_where(link, channel, "receiving from", DHOLE_ERR_LIMIT);
    dhole__link_blame(link, DHOLE_ERR_LIMIT);
    dhole__refusal_encode(channel, size, most, bytes);
    io = dhole__io_send(link->channel[DHOLE_CHANNEL_CONTROL], bytes, sizeof bytes, NULL, 0);
    if (whole)
        (void)!dhole__io_run_until(&io, 1, deadline, link->cancel_fd, false);
    dhole__message_restore(message);
    dhole__turn_give(&link->send_turn);
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
    size_t most = limit_on(channel, link->message_max);
    dhole_err err = take(link, channel, inbox->head, sizeof inbox->head, deadline, untouched);
    bool ignored;

    if (err) {
        *untouched &= err == DHOLE_ERR_TIMEOUT || err == DHOLE_ERR_CANCELLED;
        return err;
    }
    *untouched = false;
    if (channel == DHOLE_CHANNEL_CONTROL && dhole__refusal_is(inbox->head))
        return dhole__refusal_decode(inbox->head);
    err = dhole__frame_decode(inbox->head, channel, inbox->number, message);
    if (!err && message->dims > 0)
        err = take(link, channel, inbox->shape, 8 * (size_t)message->dims, deadline, &ignored);
    if (err)
        return err;
    err = dhole__frame_decode_shape(inbox->shape, most, message, &inbox->size);
    if (err == DHOLE_ERR_LIMIT)
        tell_refusal(link, channel, inbox->size, most);
    return err;
}

/* Passes over the rest of the message that is being taken from CONTROL. */
static dhole_err skip_elements(dhole_link *link, dhole__deadline deadline)
{
    struct dhole__inbox *inbox = &link->inbox[DHOLE_CHANNEL_CONTROL];
    uint8_t scrap[4096];
    bool ignored;
    dhole_err err = DHOLE_OK;

    while (inbox->has_message && inbox->size > 0 && !err) {
        size_t size = inbox->size < sizeof scrap ? inbox->size : sizeof scrap;
        err = take(link, DHOLE_CHANNEL_CONTROL, scrap, size, deadline, &ignored);
        inbox->size -= size;
    }
    inbox->has_message = false;
    return err;
}

/* Whether a refusal comes on CONTROL, passing over messages before it; it is this thread's message
 * then. In one's turn, on a link that is to be broken. */
static bool hear_refusal(dhole_link *link, dhole__deadline deadline)
{
    struct dhole__inbox *inbox = &link->inbox[DHOLE_CHANNEL_CONTROL];
    dhole_message message;
    bool ignored;

    while (skip_elements(link, deadline) == DHOLE_OK) {
        dhole_err err = take_message(link, DHOLE_CHANNEL_CONTROL, &message, deadline, &ignored);
        if (err)
            return err == DHOLE_ERR_LIMIT && dhole__refusal_is(inbox->head);
        inbox->number++;
        inbox->has_message = true;
    }
    return false;
}

static dhole_err fail_on(dhole_link *link, dhole_channel channel, const char *doing, dhole_err err)
{
    say_where(link, channel, doing, err);
    return dhole__link_break(link, channel, err);
}

/* The same when the other side may have said on CONTROL why it ended the link. */
static dhole_err fail_for_a_reason(dhole_link *link, dhole_channel channel, const char *doing,
                                   dhole_err err)
{
    dhole__deadline deadline = dhole__deadline_in(refusal_ms);
    char message[dhole__message_max];

    if (err != DHOLE_ERR_PEER_LOST || atomic_load(&link->faulty[DHOLE_CHANNEL_CONTROL]) ||
        !dhole__turn_take(&link->recv_turn, deadline))
        return fail_on(link, channel, doing, err);
    dhole__message_save(message);
    if (!atomic_load(&link->faulty[DHOLE_CHANNEL_CONTROL]) && hear_refusal(link, deadline))
        err = DHOLE_ERR_LIMIT;
    else
        dhole__message_restore(message);
    err = fail_on(link, channel, doing, err);
    dhole__turn_give(&link->recv_turn);
    return err;
}

static dhole_err send_message(dhole_link *link, dhole_channel channel, const dhole_message *message,
                              const void *data, dhole__deadline deadline)
{
    uint8_t head[dhole__frame_max];
    size_t head_size = dhole__frame_encode(message, channel, link->sent_number[channel]++, head);
    struct dhole__io io =
        dhole__io_send(link->channel[channel], head, head_size, data, dhole_message_size(message));

    return dhole__io_run_until(&io, 1, deadline, link->cancel_fd, channel != DHOLE_CHANNEL_CONTROL);
}

dhole_err dhole_link_send(dhole_link *link, dhole_channel channel, const dhole_message *message,
                          const void *data, int64_t timeout_ms)
{
    dhole__deadline deadline = deadline_of(link, timeout_ms);
    dhole_err err = check_channel(link, channel);

    if (!err)
        err = check_size(link, channel, message);
    if (!err)
        err = take_turn(channel, &link->send_turn, deadline);
    if (err)
        return err;
    err = send_message(link, channel, message, data, deadline);
    if (err)
        err = fail_for_a_reason(link, channel, "sending to", err);
    give_turn(channel, &link->send_turn);
    if (err)
        return err;
    atomic_fetch_add(&link->sent_bytes, dhole_message_size(message));
    atomic_fetch_add(&link->sent_messages, 1);
    return DHOLE_OK;
}

static dhole_err begin_receiving(dhole_link *link, dhole_channel channel, dhole__deadline deadline)
{
    dhole_err err = check_channel(link, channel);

    return err ? err : take_turn(channel, &link->recv_turn, deadline);
}

/* CONTROL is read to its end in its turn, where no other reason can come. */
static dhole_err fail_receiving(dhole_link *link, dhole_channel channel, dhole_err err)
{
    return channel == DHOLE_CHANNEL_CONTROL
               ? fail_on(link, channel, "receiving from", err)
               : fail_for_a_reason(link, channel, "receiving from", err);
}

static dhole_err recv_message(dhole_link *link, dhole_channel channel, dhole_message *message,
                              dhole__deadline deadline)
{
    struct dhole__inbox *inbox = &link->inbox[channel];
    dhole_message came;
    bool untouched;
    dhole_err err = dhole__link_check(link, channel);

    if (err)
        return err;
    if (inbox->has_message && inbox->size > 0)
        return dhole__fail(DHOLE_ERR_INVALID,
                           "the elements of the message before, %zu bytes, were not taken",
                           inbox->size);
    err = take_message(link, channel, &came, deadline, &untouched);
    if (err && untouched) {
        dhole_err broken = dhole__link_check(link, channel);
        return broken ? broken
                      : dhole__fail_in(err, "receiving from %s on %s", link->address,
                                       dhole__channel_name(channel));
    }
    if (err)
        return fail_receiving(link, channel, err);
    inbox->number++;
    inbox->has_message = true;
    atomic_fetch_add(&link->received_messages, 1);
    *message = came;
    return DHOLE_OK;
}

dhole_err dhole_link_recv(dhole_link *link, dhole_channel channel, dhole_message *message,
                          int64_t timeout_ms)
{
    dhole__deadline deadline = deadline_of(link, timeout_ms);
    dhole_err err = begin_receiving(link, channel, deadline);

    if (err)
        return err;
    err = recv_message(link, channel, message, deadline);
    give_turn(channel, &link->recv_turn);
    return err;
}

static dhole_err recv_data(dhole_link *link, dhole_channel channel, void *data,
                           dhole__deadline deadline)
{
    struct dhole__inbox *inbox = &link->inbox[channel];
    bool ignored;
    dhole_err err = dhole__link_check(link, channel);

    if (err)
        return err;
    if (!inbox->has_message)
        return dhole__fail(DHOLE_ERR_INVALID, "no message was received whose elements could be");
    err = take(link, channel, data, inbox->size, deadline, &ignored);
    if (err)
        return fail_receiving(link, channel, err);
    inbox->has_message = false;
    atomic_fetch_add(&link->received_bytes, inbox->size);
    return DHOLE_OK;
}

dhole_err dhole_link_recv_data(dhole_link *link, dhole_channel channel, void *data,
                               int64_t timeout_ms)
{
    dhole__deadline deadline = deadline_of(link, timeout_ms);
    dhole_err err = begin_receiving(link, channel, deadline);

    if (err)
        return err;
    err = recv_data(link, channel, data, deadline);
    give_turn(channel, &link->recv_turn);
    return err;
}
