/* Devices of other processes. Where DHOLE_FAKE_FABRIC names a folder, every open device listens
 * there, at a Unix socket that is named after its net and host. A queue pair whose peer has an
 * address of no device here calls that socket, and each message of it is a packet of the
 * connection, which goes one way. A message counts as acknowledged when the system has it; RC
 * notices that the peer is gone when the next one cannot be sent. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fabric.h"

enum { letter_max = 128 << 10, fds_max = 1024, callers_max = 64 };

struct letter {
    uint32_t to, from; /* queue pairs */
    uint32_t first;    /* number of the first packet that these agreed on */
    uint32_t type, opcode, flags, immediate, size;
    uint8_t bytes[letter_max];
};

/* A queue pair of another process. */
struct caller {
    int fd;
    bool waits; /* its letter does, for a receive */
    struct letter letter;
    struct caller *next;
};

static struct caller *callers;
static int wakes[2];
static bool running; /* the thread, from the first device on until the process ends */
static pthread_t thread;

static _Noreturn void give_up(const char *what)
{
    perror(what);
    abort();
}

/* False: there are no other processes. */
static bool address_of(int net, int host, struct sockaddr_un *out)
{
    const char *folder = getenv("DHOLE_FAKE_FABRIC");

    if (folder == NULL || folder[0] == '\0')
        return false;
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (snprintf(out->sun_path, sizeof out->sun_path, "%s/%d.%d", folder, net, host) >=
        (int)sizeof out->sun_path)
        give_up("DHOLE_FAKE_FABRIC is too long");
    return true;
}

static int make_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        give_up("fake verbs: socket");
    return fd;
}

/* The thread looks at everything again. */
static void wake(void)
{
    if (!pthread_equal(pthread_self(), thread) && write(wakes[1], "", 1) < 0) {
        /* it has been told */
    }
}

static void end_caller(struct caller **link)
{
    struct caller *caller = *link;

    *link = caller->next;
    close(caller->fd);
    free(caller);
}

enum taking { TAKEN, WAITING, REFUSED };

static enum taking take(const struct letter *letter)
{
    bool rc = letter->type == IBV_QPT_RC;
    struct pair *pair = pairs;
    struct send send = {.wr = {.opcode = (enum ibv_wr_opcode)letter->opcode,
                               .imm_data = letter->immediate,
                               .send_flags = letter->flags & ~(unsigned)IBV_SEND_INLINE,
                               .num_sge = 1},
                        .sge = {{.addr = (uintptr_t)letter->bytes, .length = letter->size}}};

    while (pair != NULL && pair->qp.qp_num != letter->to)
        pair = pair->next;
    if (pair == NULL || pair->qp.state == IBV_QPS_ERR)
        return rc ? REFUSED : TAKEN;
    if (pair->qp.state != IBV_QPS_RTR && pair->qp.state != IBV_QPS_RTS)
        return rc ? WAITING : TAKEN;
    if (pair->qp.qp_type != (enum ibv_qp_type)letter->type ||
        pair->attr.dest_qp_num != letter->from || (rc && pair->attr.rq_psn != letter->first))
        return rc ? REFUSED : TAKEN;
    if (pair->recv_count == 0) {
        pair->device->counts.unmatched++;
        return rc ? WAITING : TAKEN;
    }
    return place(pair, &send) == IBV_WC_SUCCESS ? TAKEN : REFUSED;
}

/* Takes what is there; false: the caller is gone, or sent away. */
static bool hear(struct caller *caller)
{
    struct letter *letter = &caller->letter;
    size_t head = offsetof(struct letter, bytes);

    for (;;) {
        ssize_t n = 0;
        if (!caller->waits) {
            n = recv(caller->fd, letter, sizeof *letter, 0);
            if (n < 0 && errno == EAGAIN)
                return true;
            if (n < (ssize_t)head || (size_t)n != head + letter->size)
                return false;
        }
        switch (take(letter)) {
        case TAKEN: caller->waits = false; break;
        case WAITING: caller->waits = true; return true;
        case REFUSED: return false;
        }
    }
}

static void accept_all(const struct device *device)
{
    int fd;

    while ((fd = accept4(device->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        struct caller *caller = calloc(1, sizeof *caller);
        caller->fd = fd;
        caller->next = callers;
        callers = caller;
    }
}

static bool listens(const struct device *device)
{
    return device->opened > 0 && device->listener >= 0;
}

static void look(void)
{
    char bytes[64];

    while (read(wakes[0], bytes, sizeof bytes) > 0)
        continue;
    for (int i = 0; i < device_count; i++)
        if (listens(&devices[i]))
            accept_all(&devices[i]);
    for (struct caller **link = &callers; *link != NULL;)
        if (hear(*link))
            link = &(*link)->next;
        else
            end_caller(link);
    deliver();
}

static int watch(struct pollfd fds[static fds_max])
{
    int n = 0;

    fds[n++] = (struct pollfd){.fd = wakes[0], .events = POLLIN};
    for (int i = 0; i < device_count && n < fds_max; i++)
        if (listens(&devices[i]))
            fds[n++] = (struct pollfd){.fd = devices[i].listener, .events = POLLIN};
    for (const struct caller *caller = callers; caller != NULL && n < fds_max;
         caller = caller->next)
        if (!caller->waits)
            fds[n++] = (struct pollfd){.fd = caller->fd, .events = POLLIN};
    for (const struct pair *pair = pairs; pair != NULL && n < fds_max; pair = pair->next)
        if (pair->call >= 0 && pair->send_count > 0)
            fds[n++] = (struct pollfd){.fd = pair->call, .events = POLLOUT};
    return n;
}

static void *run(void *arg)
{
    struct pollfd fds[fds_max];

    (void)arg;
    pthread_mutex_lock(&fabric);
    for (;;) {
        int n = watch(fds);
        pthread_mutex_unlock(&fabric);
        poll(fds, (nfds_t)n, -1);
        pthread_mutex_lock(&fabric);
        look();
    }
    return NULL;
}

static void start(void)
{
    if (running)
        return;
    if (pipe2(wakes, O_CLOEXEC | O_NONBLOCK) != 0 || pthread_create(&thread, NULL, run, NULL) != 0)
        give_up("fake verbs: a thread");
    pthread_detach(thread);
    running = true;
}

void abroad_open(struct device *device)
{
    struct sockaddr_un address;

    if (device->opened++ > 0)
        return;
    device->listener = -1;
    if (!address_of(device->settings.net, host_of(device), &address))
        return;
    device->listener = make_socket();
    unlink(address.sun_path);
    if (bind(device->listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(device->listener, callers_max) != 0)
        give_up(address.sun_path);
    start();
    wake();
}

void abroad_close(struct device *device)
{
    struct sockaddr_un address;

    if (--device->opened > 0 || device->listener < 0)
        return;
    if (address_of(device->settings.net, host_of(device), &address))
        unlink(address.sun_path);
    close(device->listener);
    wake();
}

void abroad_hang_up(struct pair *pair)
{
    if (pair->call >= 0)
        close(pair->call);
    pair->call = -1;
}

bool abroad_call(struct pair *pair, const union ibv_gid *gid)
{
    struct sockaddr_un address;

    abroad_hang_up(pair);
    if (!address_of(pair->device->settings.net, gid->raw[15], &address))
        return false;
    pair->call = make_socket();
    if (connect(pair->call, (struct sockaddr *)&address, sizeof address) == 0)
        return true;
    abroad_hang_up(pair);
    return false;
}

static uint32_t copy_out(const struct send *message, uint8_t *to)
{
    uint32_t size = 0;

    for (int i = 0; i < message->wr.num_sge; i++) {
        bool is_inline = (message->wr.send_flags & IBV_SEND_INLINE) != 0;
        const void *from = is_inline ? (const void *)(message->bytes + size)
                                     : (const void *)(uintptr_t)message->sge[i].addr;
        if (message->sge[i].length > letter_max - size)
            give_up("fake verbs: a message is too long for another process");
        memcpy(to + size, from, message->sge[i].length);
        size += message->sge[i].length;
    }
    return size;
}

enum sending abroad_send(struct pair *pair, const struct send *message)
{
    static struct letter letter; /* under the lock */
    size_t head = offsetof(struct letter, bytes);

    letter.to = pair->attr.dest_qp_num;
    letter.from = pair->qp.qp_num;
    letter.first = pair->attr.sq_psn;
    letter.type = pair->qp.qp_type;
    letter.opcode = message->wr.opcode;
    letter.flags = message->wr.send_flags;
    letter.immediate = message->wr.imm_data;
    letter.size = copy_out(message, letter.bytes);
    if (pair->device->settings.unplugged)
        return GONE;
    if (send(pair->call, &letter, head + letter.size, MSG_NOSIGNAL) >= 0)
        return SENT;
    if (errno != EAGAIN)
        return GONE;
    wake();
    return NOT_YET;
}

void abroad_look(void)
{
    for (const struct caller *caller = callers; caller != NULL; caller = caller->next)
        if (caller->waits) {
            wake();
            return;
        }
}
