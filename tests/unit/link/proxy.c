#include "proxy.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "pair.h"

enum { preamble_size = 32, buffer_size = 1 << 16, idle_ms = 15 };

/* One direction: what has come and was not forwarded, as it is not a whole record yet. */
struct way {
    uint8_t data[buffer_size];
    size_t length;
    size_t offset; /* of data[0] in the stream */
    size_t records;
    bool ended, swapping;
};

struct proxy_wire {
    int fd[2]; /* to the client, to the server */
    unsigned kind;
    bool known; /* the kind */
    struct way way[2];
};

static struct sockaddr_in address_of(const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    in.sin_port = htons((uint16_t)atoi(strrchr(text, ':') + 1));
    return in;
}

static void write_all(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return; /* that side is gone, which the other one will be told */
        data += sent;
        size -= (size_t)sent;
    }
}

/* Size of the record at `data`, 0 when that cannot be told yet. */
static size_t record_size(unsigned kind, const uint8_t *data, size_t length)
{
    if (kind == 0)
        return length < 5 ? 0 : 5 + ((size_t)data[3] << 8 | data[4]);
    return length < 8 ? 0 : 8 + (size_t)dhole__get32(data) + 16;
}

static void set_record_size(unsigned kind, uint8_t *data, size_t size)
{
    if (kind == 0) {
        data[3] = (uint8_t)((size - 5) >> 8);
        data[4] = (uint8_t)(size - 5);
    } else {
        dhole__put32(data, (uint32_t)(size - 24));
    }
}

static void send_stray(struct proxy *proxy, int way, const uint8_t *data, size_t size)
{
    for (int i = 0; i < proxy->wires; i++)
        if (proxy->wire[i]->known && proxy->wire[i]->kind == proxy->edit.stray)
            write_all(proxy->wire[i]->fd[!way], data, size);
}

/* Forwards a record, changed. */
static void edit_record(struct proxy *proxy, int to, int way, uint8_t *record, size_t size)
{
    uint8_t grown[buffer_size + 1];

    switch (proxy->edit.what) {
    case EDIT_REPLAY:
        write_all(to, record, size);
        write_all(to, record, size);
        break;
    case EDIT_CUT: write_all(to, record, size - 1); break;
    case EDIT_GROW:
        memcpy(grown, record, size);
        grown[size] = 0;
        set_record_size(proxy->edit.kind, grown, size + 1);
        write_all(to, grown, size + 1);
        break;
    case EDIT_STRAY: send_stray(proxy, way, record, size); break;
    default: break; /* EDIT_DROP */
    }
    atomic_store(&proxy->edited, true);
}

static void forget(struct way *w, size_t size)
{
    memmove(w->data, w->data + size, w->length - size);
    w->length -= size;
    w->offset += size;
}

/* The first of two records waits for the second; false: it has not come. */
static bool swap_records(struct proxy *proxy, struct way *w, int to, size_t first)
{
    size_t second = record_size(proxy->edit.kind, w->data + first, w->length - first);

    atomic_store(&proxy->edited, true);
    w->swapping = second == 0 || first + second > w->length;
    if (w->swapping)
        return false;
    write_all(to, w->data + first, second);
    write_all(to, w->data, first);
    forget(w, second);
    return true;
}

/* Forwards whole records. */
static void forward_records(struct proxy *proxy, struct proxy_wire *wire, int way)
{
    struct way *w = &wire->way[way];
    int to = wire->fd[!way];
    size_t size;

    while ((size = record_size(wire->kind, w->data, w->length)) > 0 && size <= w->length) {
        bool mine = w->swapping || (w->records == proxy->edit.at && !atomic_load(&proxy->edited));
        if (mine && proxy->edit.what == EDIT_SWAP) {
            if (!swap_records(proxy, w, to, size))
                return;
        } else if (mine) {
            edit_record(proxy, to, way, w->data, size);
        } else {
            write_all(to, w->data, size);
        }
        forget(w, size);
        w->records++;
    }
}

static void forward(struct proxy *proxy, struct proxy_wire *wire, int way)
{
    const struct edit *edit = &proxy->edit;
    struct way *w = &wire->way[way];
    bool mine = edit->what != EDIT_NONE && wire->kind == edit->kind && way == edit->way;

    if (mine && edit->what != EDIT_FLIP) {
        forward_records(proxy, wire, way);
        return;
    }
    if (mine && edit->at >= w->offset && edit->at < w->offset + w->length) {
        w->data[edit->at - w->offset] ^= 1 << (edit->at % 8);
        atomic_store(&proxy->edited, true);
    }
    write_all(wire->fd[!way], w->data, w->length);
    forget(w, w->length);
}

/* The first bytes of a connection say what it is. They are not part of a record. */
static void learn_kind(struct proxy *proxy, struct proxy_wire *wire)
{
    struct way *w = &wire->way[0];

    if (wire->known || w->length < preamble_size)
        return;
    wire->kind = dhole__get16(w->data + 8);
    wire->known = true;
    if (proxy->on_preamble != NULL)
        proxy->on_preamble(proxy, w->data);
    if (proxy->edit.what != EDIT_FLIP) {
        write_all(wire->fd[1], w->data, preamble_size);
        forget(w, preamble_size);
    }
}

static void move(struct proxy *proxy, struct proxy_wire *wire, int way)
{
    struct way *w = &wire->way[way];
    ssize_t got = recv(wire->fd[way], w->data + w->length, sizeof w->data - w->length, 0);

    if (got <= 0) {
        w->ended = true;
        shutdown(wire->fd[!way], SHUT_WR);
        return;
    }
    w->length += (size_t)got;
    learn_kind(proxy, wire);
    if (wire->known)
        forward(proxy, wire, way);
}

static void take_in(struct proxy *proxy)
{
    struct proxy_wire *wire = calloc(1, sizeof *wire);
    int on = 1;

    ASSERT(wire != NULL && proxy->wires < proxy_wires_max);
    wire->fd[0] = accept(proxy->listen_fd, NULL, NULL);
    ASSERT(wire->fd[0] >= 0);
    wire->fd[1] = dial_port(proxy->target);
    for (int side = 0; side < 2; side++)
        setsockopt(wire->fd[side], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    proxy->wire[proxy->wires++] = wire;
}

static void break_all(struct proxy *proxy)
{
    for (int i = 0; i < proxy->wires; i++)
        for (int side = 0; side < 2; side++)
            shutdown(proxy->wire[i]->fd[side], SHUT_RDWR);
}

static void *run(void *arg)
{
    struct proxy *proxy = arg;

    for (;;) {
        struct pollfd pfds[2 + 2 * proxy_wires_max] = {{.fd = proxy->stop[0], .events = POLLIN},
                                                       {.fd = proxy->listen_fd, .events = POLLIN}};
        int n = 2, ready;
        for (int i = 0; i < proxy->wires; i++)
            for (int way = 0; way < 2; way++)
                pfds[n++] = (struct pollfd){
                    .fd = proxy->wire[i]->way[way].ended ? -1 : proxy->wire[i]->fd[way],
                    .events = POLLIN};
        ready = poll(pfds, (nfds_t)n, atomic_load(&proxy->edited) && !proxy->keeps ? idle_ms : -1);
        if (pfds[0].revents != 0)
            return NULL;
        if (ready == 0)
            break_all(proxy);
        for (int i = 2; i < n; i++)
            if (pfds[i].revents != 0)
                move(proxy, proxy->wire[(i - 2) / 2], i % 2);
        if (pfds[1].revents != 0)
            take_in(proxy);
    }
}

void proxy_start(struct proxy *proxy, const char *target)
{
    struct sockaddr_in in = address_of(":0");
    socklen_t length = sizeof in;

    proxy->target = target;
    proxy->wires = 0;
    atomic_store(&proxy->edited, false);
    proxy->listen_fd = socket(AF_INET, SOCK_STREAM, 0);
    ASSERT(proxy->listen_fd >= 0);
    ASSERT(bind(proxy->listen_fd, (struct sockaddr *)&in, sizeof in) == 0);
    ASSERT(listen(proxy->listen_fd, 64) == 0);
    ASSERT(getsockname(proxy->listen_fd, (struct sockaddr *)&in, &length) == 0);
    snprintf(proxy->address, sizeof proxy->address, "127.0.0.1:%d", ntohs(in.sin_port));
    ASSERT(pipe(proxy->stop) == 0);
    ASSERT(pthread_create(&proxy->thread, NULL, run, proxy) == 0);
}

void proxy_stop(struct proxy *proxy)
{
    ASSERT(write(proxy->stop[1], "x", 1) == 1);
    pthread_join(proxy->thread, NULL);
    for (int i = 0; i < proxy->wires; i++) {
        close(proxy->wire[i]->fd[0]);
        close(proxy->wire[i]->fd[1]);
        free(proxy->wire[i]);
    }
    close(proxy->listen_fd);
    close(proxy->stop[0]);
    close(proxy->stop[1]);
}
