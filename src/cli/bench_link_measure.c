/* The loop of `dhole bench link`.
 *
 * Rank 0 measures and rank 1 follows: both go through the same turns in the same order, and a
 * message whose first byte is 0 is the last one of a turn. Which side's turn comes first changes
 * from round to round, so that a machine that becomes slower or faster favours none. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/sys.h"
#include "cli/bench.h"
#include "cli/bench_link.h"
#include "cli/bench_wire.h"
#include "cli/signals.h"
#include "transport/io.h"
#include "transport/tcp/tcp.h"

enum { page = 4096, samples_max = 1 << 16 };

struct bench {
    const struct dhole__bench_link_plan *plan;
    const struct dhole__local *local;
    int rank, cancel_fd;

    dhole_link_options options;
    dhole_link_listener *listener;         /* at rank 1 */
    char address[dhole__address_text_max]; /* where it is */
    dhole_link *link[2];                   /* of one lane, of several */
    struct dhole__wire *side[dhole__side_count];
    struct dhole__wire *small; /* the link's channel for what is small */

    uint8_t *data;
    double *sample; /* samples_max */
};

/* make_socket, at rank 1. */
static dhole_err accept_socket(const struct bench *b, int *fd)
{
    struct pollfd pfds[] = {{.fd = b->local->listener[1], .events = POLLIN},
                            {.fd = b->cancel_fd, .events = POLLIN}};
    dhole_err err = dhole__io_poll(pfds, 2, dhole__deadline_in(dhole__wire_timeout_ms));

    if (!err)
        err = dhole__io_check_cancelled(b->cancel_fd);
    if (err)
        return err;
    *fd = dhole__sys.accept(b->local->listener[1], NULL, NULL);
    return *fd < 0 ? dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot accept a connection") : DHOLE_OK;
}

/* A connected socket between the two. */
static dhole_err make_socket(const struct bench *b, int *fd)
{
    struct dhole__address address;
    dhole_err err;

    if (b->rank == 1)
        return accept_socket(b, fd);
    err = dhole__tcp_resolve(b->local->host[1], &address);
    if (err)
        return err;
    *fd = dhole__tcp_try_connect(&address, dhole__deadline_in(dhole__wire_timeout_ms));
    return *fd < 0 ? dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot connect to %s", b->local->host[1])
                   : DHOLE_OK;
}

static dhole_err open_peers(struct bench *b)
{
    const dhole_identity *identity = b->local->identity[b->rank];
    int fd;
    dhole_err err = make_socket(b, &fd);

    if (!err)
        err = dhole__wire_tcp(fd, b->cancel_fd, &b->side[DHOLE__SIDE_TCP]);
    if (!err)
        err = make_socket(b, &fd);
    if (!err)
        err = dhole__wire_records(fd, b->cancel_fd, &b->side[DHOLE__SIDE_RECORDS]);
    if (!err)
        err = make_socket(b, &fd);
    if (!err)
        err = dhole__wire_tls(fd, b->cancel_fd, identity, b->rank == 1, &b->side[DHOLE__SIDE_TLS]);
    return err;
}

static size_t largest(const struct dhole__bench_link_plan *plan)
{
    return plan->size > plan->trip ? plan->size : plan->trip;
}

/* Rank 1 listens for links, and says where. */
static dhole_err listen_for_links(struct bench *b)
{
    struct dhole__wire *tcp = b->side[DHOLE__SIDE_TCP];
    dhole_err err;

    b->options = (dhole_link_options)DHOLE_LINK_OPTIONS_INIT;
    b->options.identity = b->local->identity[b->rank];
    b->options.pin = &b->local->pin[!b->rank];
    b->options.session = b->local->session;
    b->options.message_max = largest(b->plan);
    b->options.timeout_ms = b->options.connect_timeout_ms = dhole__wire_timeout_ms;
    b->options.cancel_fd = b->cancel_fd;
    if (b->rank == 0) {
        err = tcp->ops->recv(tcp, b->address, sizeof b->address);
        b->address[sizeof b->address - 1] = '\0';
        return err;
    }
    err = dhole_link_listen(&b->options, "127.0.0.1:0", &b->listener);
    if (err)
        return err;
    strncpy(b->address, dhole_link_listener_address(b->listener), sizeof b->address - 1);
    return tcp->ops->send(tcp, b->address, sizeof b->address);
}

static dhole_err make_link(struct bench *b, int lanes, dhole_link **out)
{
    if (b->rank == 1)
        return dhole_link_accept(b->listener, dhole__wire_timeout_ms, out);
    b->options.lanes = lanes;
    return dhole_link_connect(&b->options, b->address, out);
}

static dhole_err open_links(struct bench *b)
{
    dhole_err err = listen_for_links(b);

    if (!err)
        err = make_link(b, 1, &b->link[0]);
    if (!err)
        err = make_link(b, (int)b->plan->lanes, &b->link[1]);
    if (!err)
        err = dhole__wire_link(b->link[0], DHOLE_CHANNEL_BULK, &b->side[DHOLE__SIDE_LINK]);
    if (!err)
        err = dhole__wire_link(b->link[1], DHOLE_CHANNEL_BULK, &b->side[DHOLE__SIDE_LANES]);
    if (!err)
        err = dhole__wire_link(b->link[0], DHOLE_CHANNEL_MESSAGES, &b->small);
    return err;
}

static dhole_err allocate(struct bench *b)
{
    size_t size = (largest(b->plan) + page - 1) / page * page;

    b->data = dhole__sys.aligned_alloc(page, size);
    b->sample = dhole__sys.malloc(samples_max * sizeof *b->sample);
    if (b->data == NULL || b->sample == NULL)
        return dhole__fail_nomem(size, "the benchmark");
    memset(b->data, 0, size);
    return DHOLE_OK;
}

static void clean_up(struct bench *b)
{
    for (int i = 0; i < dhole__side_count; i++)
        dhole__wire_close(b->side[i]);
    dhole__wire_close(b->small);
    for (int i = 0; i < 2; i++)
        dhole_link_free(b->link[i]);
    dhole_link_listener_free(b->listener);
    free(b->data);
    free(b->sample);
}

static int64_t end_of_turn(const struct bench *b)
{
    return dhole__now() + (int64_t)(b->plan->seconds * 1e9);
}

static bool goes_on(int64_t until)
{
    return dhole__now() < until && !dhole__signals_caught();
}

/* One byte against the stream ends it. */
static dhole_err follow_stream(struct bench *b, struct dhole__wire *wire)
{
    dhole_err err;

    do
        err = wire->ops->recv(wire, b->data, b->plan->size);
    while (!err && b->data[0] != 0);
    return err ? err : wire->ops->send(wire, b->data, 1);
}

static dhole_err stream(struct bench *b, struct dhole__wire *wire, double *rate)
{
    int64_t start = dhole__now(), until = end_of_turn(b);
    size_t messages = 0;
    dhole_err err;

    if (b->rank == 1)
        return follow_stream(b, wire);
    do {
        b->data[0] = goes_on(until);
        err = wire->ops->send(wire, b->data, b->plan->size);
        messages++;
    } while (!err && b->data[0] != 0);
    if (!err)
        err = wire->ops->recv(wire, b->data, 1);
    *rate = (double)messages * (double)b->plan->size / ((double)(dhole__now() - start) * 1e-9);
    return err;
}

static double median_sample(struct bench *b, size_t n)
{
    dhole__bench_sort(b->sample, n);
    return b->sample[n / 2];
}

static dhole_err follow_trips(struct bench *b, struct dhole__wire *wire)
{
    dhole_err err;

    do {
        err = wire->ops->recv(wire, b->data, b->plan->trip);
        if (!err)
            err = wire->ops->send(wire, b->data, b->plan->trip);
    } while (!err && b->data[0] != 0);
    return err;
}

static dhole_err round_trips(struct bench *b, struct dhole__wire *wire, double *trip)
{
    int64_t until = end_of_turn(b);
    size_t n = 0;
    dhole_err err;

    if (b->rank == 1)
        return follow_trips(b, wire);
    do {
        int64_t start;
        b->data[0] = goes_on(until) && n + 1 < samples_max;
        start = dhole__now();
        err = wire->ops->send(wire, b->data, b->plan->trip);
        if (!err)
            err = wire->ops->recv(wire, b->data, b->plan->trip);
        b->sample[n++] = (double)(dhole__now() - start) * 1e-9;
    } while (!err && b->data[0] != 0);
    *trip = median_sample(b, n);
    return err;
}

/* Before each a byte says whether there is one more; it also says that the one before is over. */
static dhole_err handshakes(struct bench *b, double *seconds)
{
    struct dhole__wire *tcp = b->side[DHOLE__SIDE_TCP];
    int64_t until = end_of_turn(b);
    dhole_link *link = NULL;
    size_t n = 0;
    dhole_err err;

    for (;;) {
        uint8_t more = n == 0 || (goes_on(until) && n < samples_max);
        int64_t start;
        err = b->rank == 0 ? tcp->ops->send(tcp, &more, 1) : tcp->ops->recv(tcp, &more, 1);
        dhole_link_free(link);
        link = NULL;
        if (err || !more)
            break;
        start = dhole__now();
        err = make_link(b, 1, &link);
        if (err)
            break;
        if (b->rank == 0)
            b->sample[n++] = (double)(dhole__now() - start) * 1e-9;
    }
    if (!err && b->rank == 0)
        *seconds = median_sample(b, n);
    return err;
}

static dhole_err take_turns(struct bench *b, long long round,
                            struct dhole__bench_link_result *result)
{
    dhole_err err = dhole__io_check_cancelled(b->cancel_fd);

    for (int i = 0; i < dhole__side_count && !err; i++) {
        int side = (int)((round + i) % dhole__side_count);
        struct dhole__wire *wire = b->side[side];
        err = stream(b, wire, &result->stream[side][round]);
        if (side != DHOLE__SIDE_LANES && !err)
            err = round_trips(b, side == DHOLE__SIDE_LINK ? b->small : wire,
                              &result->trip[side][round]);
    }
    if (!err)
        err = handshakes(b, &result->handshake[round]);
    return err;
}

dhole_err dhole__bench_link_measure(const struct dhole__bench_link_plan *plan,
                                    const struct dhole__local *local, int rank, int cancel_fd,
                                    struct dhole__bench_link_result *result)
{
    struct bench b = {.plan = plan, .local = local, .rank = rank, .cancel_fd = cancel_fd};
    dhole_err err = allocate(&b);

    if (!err)
        err = open_peers(&b);
    if (!err)
        err = open_links(&b);
    if (!err)
        err = take_turns(&b, 0, result); /* warms up, and is overwritten */
    for (long long round = 0; round < plan->rounds && !err; round++)
        err = take_turns(&b, round, result);
    clean_up(&b);
    return err;
}
