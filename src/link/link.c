/* A link, once its sides have said hello.
 *
 * Its channels are connections that may be sent to by one thread and received from by another;
 * what they share is the failure, as one that concerns the other side ends them all: it is kept
 * once, and all connections are shut down, which wakes whoever waits on one. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "link/link_internal.h"
#include "seal/seal.h"
#include "transport/rails.h"

dhole_link *dhole__link_alloc(void)
{
    dhole_link *link = dhole__sys.calloc(1, sizeof *link);

    if (link == NULL)
        return NULL;
    pthread_mutex_init(&link->lock, NULL);
    dhole__turn_init(&link->send_turn);
    dhole__turn_init(&link->recv_turn);
    return link;
}

dhole_err dhole__link_new(const struct dhole__link_terms *terms,
                          const struct dhole__link_hello *hello, struct dhole__conn *control,
                          struct dhole__conn *wire, dhole_link **out)
{
    const dhole_link_options *options = &terms->options;
    dhole_link *link = dhole__link_alloc();

    if (link == NULL)
        return dhole__fail_nomem(sizeof *link, "a link");
    link->channel[DHOLE_CHANNEL_CONTROL] = control;
    link->wire[0] = wire;
    dhole__tls_pin(control, &link->pin);
    link->rank = dhole__link_hello_rank(hello);
    link->message_max = options->message_max;
    link->peer_message_max = dhole__link_hello_message_max(hello);
    link->timeout_ms = options->timeout_ms;
    link->cancel_fd = options->cancel_fd;
    *out = link;
    return DHOLE_OK;
}

int dhole__link_lanes(const dhole_link *link)
{
    return link->bulk_lanes > 0 ? 1 + link->bulk_lanes : 0;
}

bool dhole__link_is_complete(const dhole_link *link)
{
    for (int i = 0; i < dhole__link_lanes(link); i++)
        if (link->lane[i] == NULL)
            return false;
    return true;
}

dhole_err dhole__link_join(dhole_link *link)
{
    const char *address[DHOLE_LANES_MAX];
    dhole_err err = DHOLE_OK;

    for (int i = 0; i < link->bulk_lanes; i++)
        address[i] = link->lane_address[1 + i];
    if (link->bulk_lanes == 1)
        link->channel[DHOLE_CHANNEL_BULK] = link->lane[1];
    else if (link->bulk_lanes > 1)
        err = dhole__rails_open(link->lane + 1, address, link->bulk_lanes, dhole__lane_record_max,
                                &link->channel[DHOLE_CHANNEL_BULK]);
    if (err)
        return err;
    link->channel[DHOLE_CHANNEL_MESSAGES] = link->lane[0];
    memset(link->lane, 0, sizeof link->lane);
    return DHOLE_OK;
}

static void shut_down(dhole_link *link)
{
    for (int i = 0; i < dhole__channel_count; i++)
        if (link->channel[i] != NULL)
            link->channel[i]->ops->shutdown(link->channel[i]);
}

/* Under the lock. */
static void set_link_fault(dhole_link *link, dhole_err err)
{
    dhole__fault_keep(&link->fault, err);
    for (int i = 0; i < dhole__channel_count; i++)
        atomic_store(&link->faulty[i], true);
}

/* Under the lock. */
static dhole_err repeat_fault(const dhole_link *link, dhole_channel channel)
{
    const struct dhole__fault *fault = &link->channel_fault[channel];

    if (link->fault.err)
        fault = &link->fault;
    return fault->err ? dhole__fault_repeat(fault) : DHOLE_OK;
}

dhole_err dhole__link_check(dhole_link *link, dhole_channel channel)
{
    dhole_err err;

    if (!atomic_load_explicit(&link->faulty[channel], memory_order_acquire))
        return DHOLE_OK;
    pthread_mutex_lock(&link->lock);
    err = repeat_fault(link, channel);
    pthread_mutex_unlock(&link->lock);
    return err;
}

void dhole__link_blame(dhole_link *link, dhole_err err)
{
    pthread_mutex_lock(&link->lock);
    set_link_fault(link, err);
    pthread_mutex_unlock(&link->lock);
}

dhole_err dhole__link_break(dhole_link *link, dhole_channel channel, dhole_err err)
{
    bool whole = err == DHOLE_ERR_AUTH || err == DHOLE_ERR_PROTOCOL || err == DHOLE_ERR_LIMIT ||
                 err == DHOLE_ERR_PEER_LOST;

    pthread_mutex_lock(&link->lock);
    if (whole)
        set_link_fault(link, err);
    else
        dhole__fault_keep(&link->channel_fault[channel], err);
    atomic_store(&link->faulty[channel], true);
    err = repeat_fault(link, channel);
    pthread_mutex_unlock(&link->lock);
    if (whole)
        shut_down(link);
    return err;
}

void dhole_link_close(dhole_link *link)
{
    char message[dhole__message_max];

    dhole__message_save(message);
    dhole__link_blame(link, dhole__fail(DHOLE_ERR_CANCELLED, "the link was closed"));
    dhole__message_restore(message);
    shut_down(link);
}

void dhole_link_free(dhole_link *link)
{
    if (link == NULL)
        return;
    for (int i = 0; i < dhole__link_lanes_max; i++)
        dhole__conn_close(link->lane[i]);
    for (int i = dhole__channel_count - 1; i >= 0; i--)
        dhole__conn_close(link->channel[i]);
    dhole__turn_destroy(&link->recv_turn);
    dhole__turn_destroy(&link->send_turn);
    pthread_mutex_destroy(&link->lock);
    free(link);
}

void dhole_link_pin(const dhole_link *link, dhole_pin *out)
{
    *out = link->pin;
}

int dhole_link_rank(const dhole_link *link)
{
    return link->rank;
}

void dhole__link_set_cancel(dhole_link *link, int cancel_fd)
{
    link->cancel_fd = cancel_fd;
}

const char *dhole_link_address(const dhole_link *link)
{
    return link->address;
}

const char *dhole_link_own_address(const dhole_link *link)
{
    return link->own_address;
}

void dhole_link_get_stats(const dhole_link *link, dhole_link_stats *stats)
{
    *stats = (dhole_link_stats){
        .sent_bytes = atomic_load(&link->sent_bytes),
        .received_bytes = atomic_load(&link->received_bytes),
        .sent_messages = atomic_load(&link->sent_messages),
        .received_messages = atomic_load(&link->received_messages),
    };
    for (int i = 0; i < 1 + dhole__link_lanes_max; i++)
        if (link->wire[i] != NULL)
            stats->wire_bytes +=
                atomic_load(&link->wire[i]->sent) + atomic_load(&link->wire[i]->received);
}

dhole_err dhole__link_export(dhole_link *link, const char *label, const void *context,
                             size_t context_length, uint8_t *out, size_t length)
{
    return dhole__tls_export(link->channel[DHOLE_CHANNEL_CONTROL], label, context, context_length,
                             out, length);
}
