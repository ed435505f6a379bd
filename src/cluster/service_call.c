/* What callers of a worker say. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/sys.h"
#include "cluster/service.h"
#include "cluster/words.h"
#include "link/link_internal.h"

enum { long_ms = INT32_MAX };

dhole_err dhole__service_call(const dhole_identity *identity, const dhole_pin *pin,
                              const char *address, int lanes, int64_t timeout_ms, int cancel_fd,
                              dhole_link **out)
{
    dhole_link_options options = DHOLE_LINK_OPTIONS_INIT;
    dhole_err err;

    options.identity = identity;
    options.pin = pin;
    options.session = dhole__service_session;
    options.lanes = lanes;
    options.message_max = dhole__service_bulk_bytes;
    options.connect_timeout_ms = timeout_ms;
    options.timeout_ms = timeout_ms;
    options.cancel_fd = cancel_fd;
    options.no_retry = 1;
    err = dhole_link_connect(&options, address, out);
    if (err == DHOLE_OK)
        dhole__link_set_cancel(*out, -1);
    return err;
}

static dhole_err recv_kind(dhole_link *link, uint32_t kind, int64_t timeout_ms, json_t **answer)
{
    uint32_t got;
    dhole_err err = dhole__words_recv(link, &got, answer, timeout_ms);

    if (err == DHOLE_OK && got != kind) {
        json_decref(*answer);
        err = dhole__fail(DHOLE_ERR_PROTOCOL, "%s sent a message of kind %u: expected %u",
                          dhole_link_address(link), got, kind);
    }
    return err;
}

static dhole_err ask(dhole_link *link, uint32_t kind, json_t *question, int64_t timeout_ms,
                     json_t **answer)
{
    dhole_err err = dhole__words_send(link, kind, question, timeout_ms);

    return err ? err : recv_kind(link, kind, timeout_ms, answer);
}

dhole_err dhole__service_status(dhole_link *link, int64_t timeout_ms, json_t **status)
{
    return ask(link, DHOLE__SERVICE_STATUS, json_object(), timeout_ms, status);
}

dhole_err dhole__service_ping(dhole_link *link, int64_t timeout_ms, int64_t *us)
{
    int64_t start = dhole__now();
    json_t *answer;
    dhole_err err = ask(link, DHOLE__SERVICE_PING, json_object(), timeout_ms, &answer);

    if (err)
        return err;
    *us = (dhole__now() - start) / 1000;
    json_decref(answer);
    return DHOLE_OK;
}

/* Sends `size` bytes in messages, and waits until they have come. */
static dhole_err transfer(dhole_link *link, const void *bytes, size_t size, int64_t timeout_ms,
                          double *seconds)
{
    size_t each = size < dhole__service_bulk_bytes ? size : dhole__service_bulk_bytes;
    dhole_message message = {.dtype = DHOLE_U8, .dims = 1, .shape = {each}};
    int64_t start = dhole__now();
    json_t *answer = NULL;
    int count = (int)(size / each);
    dhole_err err = dhole__words_send(link, DHOLE__SERVICE_BULK,
                                      json_pack("{s:i}", "messages", count), timeout_ms);

    for (int i = 0; i < count && err == DHOLE_OK; i++)
        err = dhole_link_send(link, DHOLE_CHANNEL_BULK, &message, bytes, timeout_ms);
    if (err == DHOLE_OK)
        err = recv_kind(link, DHOLE__SERVICE_BULK, timeout_ms, &answer);
    *seconds = (double)(dhole__now() - start) * 1e-9;
    json_decref(answer);
    return err;
}

/* More and more, for as long as the next transfer should be over in time: a slow link is not kept
 * busy for long, and what a fast one is measured with is large. */
dhole_err dhole__service_speed(dhole_link *link, int64_t timeout_ms, double *out)
{
    static const size_t sizes[] = {64 << 10, 512 << 10, 4 << 20, 8 << 20};
    static const double enough_seconds = 0.2;
    uint8_t *bytes = dhole__sys.calloc(1, dhole__service_bulk_bytes);
    double rate = 0;
    dhole_err err = DHOLE_OK;

    if (bytes == NULL)
        return dhole__fail_nomem(dhole__service_bulk_bytes, "a test of the link");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] && err == DHOLE_OK; i++) {
        double seconds;
        if (i > 0 && (double)sizes[i] / rate > enough_seconds)
            break;
        err = transfer(link, bytes, sizes[i], timeout_ms, &seconds);
        rate = (double)sizes[i] / (seconds > 1e-9 ? seconds : 1e-9);
    }
    free(bytes);
    if (err == DHOLE_OK)
        *out = rate;
    return err;
}

/* The error that a worker tells of, as this thread's. */
static dhole_err take_error(const json_t *answer)
{
    const char *why;
    long long code;
    dhole_err err = dhole__json_int(answer, "error", 0, DHOLE_ERR_CANCELLED, &code);

    if (err == DHOLE_OK)
        err = dhole__json_string(answer, "why", &why);
    if (err)
        return dhole__fail_in(DHOLE_ERR_PROTOCOL, "a worker's answer");
    return code != DHOLE_OK ? dhole__fail((dhole_err)code, "%s", why) : DHOLE_OK;
}

dhole_err dhole__service_invite(dhole_link *link, json_t *invitation, int64_t timeout_ms)
{
    json_t *answer;
    dhole_err err = ask(link, DHOLE__SERVICE_INVITE, invitation, timeout_ms, &answer);

    if (err)
        return err;
    err = take_error(answer);
    json_decref(answer);
    return err;
}

dhole_err dhole__service_wait_end(dhole_link *link, int64_t timeout_ms)
{
    json_t *answer;
    dhole_err err =
        recv_kind(link, DHOLE__SERVICE_ENDED, timeout_ms > 0 ? timeout_ms : long_ms, &answer);

    if (err)
        return err;
    err = take_error(answer);
    json_decref(answer);
    return err;
}
