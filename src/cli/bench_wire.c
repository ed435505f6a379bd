#include "cli/bench_wire.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/sys.h"
#include "transport/io.h"
#include "transport/tcp/tcp.h"

/* Plain TCP. */
struct tcp_wire {
    struct dhole__wire base;
    struct dhole__conn *conn;
    int cancel_fd;
};

static dhole_err move(const struct tcp_wire *wire, struct dhole__io io)
{
    return dhole__io_run_until(&io, 1, dhole__deadline_in(dhole__wire_timeout_ms), wire->cancel_fd,
                               true);
}

static dhole_err tcp_send(struct dhole__wire *base, const void *data, size_t size)
{
    struct tcp_wire *wire = (struct tcp_wire *)base;

    return move(wire, dhole__io_send(wire->conn, data, size, NULL, 0));
}

static dhole_err tcp_recv(struct dhole__wire *base, void *data, size_t size)
{
    struct tcp_wire *wire = (struct tcp_wire *)base;

    return move(wire, dhole__io_recv(wire->conn, data, size, NULL, 0));
}

static void tcp_close(struct dhole__wire *base)
{
    dhole__conn_close(((struct tcp_wire *)base)->conn);
    free(base);
}

static const struct dhole__wire_ops tcp_ops = {tcp_send, tcp_recv, tcp_close};

dhole_err dhole__wire_tcp(int fd, int cancel_fd, struct dhole__wire **out)
{
    struct tcp_wire *wire = dhole__sys.malloc(sizeof *wire);
    dhole_err err;

    if (wire == NULL) {
        close(fd);
        return dhole__fail_nomem(sizeof *wire, "a connection of the benchmark");
    }
    *wire = (struct tcp_wire){{&tcp_ops}, NULL, cancel_fd};
    err = dhole__tcp_conn_open(fd, &wire->conn);
    if (err) {
        close(fd);
        free(wire);
        return err;
    }
    *out = &wire->base;
    return DHOLE_OK;
}

/* A channel of a link. */
struct link_wire {
    struct dhole__wire base;
    dhole_link *link;
    dhole_channel channel;
};

static dhole_err link_send(struct dhole__wire *base, const void *data, size_t size)
{
    struct link_wire *wire = (struct link_wire *)base;
    const dhole_message message = {.dtype = DHOLE_U8, .dims = 1, .shape = {size}};

    return dhole_link_send(wire->link, wire->channel, &message, data, 0);
}

static dhole_err link_recv(struct dhole__wire *base, void *data, size_t size)
{
    struct link_wire *wire = (struct link_wire *)base;
    dhole_message message;
    dhole_err err = dhole_link_recv(wire->link, wire->channel, &message, 0);

    if (err)
        return err;
    if (dhole_message_size(&message) != size)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "a message of %zu bytes came, expected %zu",
                           dhole_message_size(&message), size);
    return dhole_link_recv_data(wire->link, wire->channel, data, 0);
}

static void link_close(struct dhole__wire *base)
{
    free(base);
}

static const struct dhole__wire_ops link_ops = {link_send, link_recv, link_close};

dhole_err dhole__wire_link(dhole_link *link, dhole_channel channel, struct dhole__wire **out)
{
    struct link_wire *wire = dhole__sys.malloc(sizeof *wire);

    if (wire == NULL)
        return dhole__fail_nomem(sizeof *wire, "a channel of the benchmark");
    *wire = (struct link_wire){{&link_ops}, link, channel};
    *out = &wire->base;
    return DHOLE_OK;
}
