/* Ranks that are threads of one process meet in a hub, found by session name and size. */
#include "transport/mem/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/pipe.h"
#include "base/sys.h"
#include "transport/transport.h"

enum { backlog = 128 };

struct port {
    bool open;
    int pipe[2]; /* readable while a connection waits */
    struct dhole__conn *waiting[backlog];
    int count;
};

struct hub {
    struct hub *next;
    char *session;
    int size, users;
    struct port port[];
};

struct mem {
    struct dhole__transport base;
    struct hub *hub;
    int rank;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hub *hubs;

/* These three are called with the lock held. */

static struct hub *hub_find(const char *session, int size)
{
    size_t bytes = sizeof(struct hub) + (size_t)size * sizeof(struct port);
    struct hub *hub;

    for (hub = hubs; hub != NULL; hub = hub->next)
        if (hub->size == size && strcmp(hub->session, session) == 0)
            return hub;
    hub = dhole__sys.calloc(1, bytes);
    if (hub == NULL)
        return NULL;
    hub->session = dhole__sys.malloc(strlen(session) + 1);
    if (hub->session == NULL) {
        free(hub);
        return NULL;
    }
    strcpy(hub->session, session);
    hub->size = size;
    hub->next = hubs;
    hubs = hub;
    return hub;
}

static void hub_release(struct hub *hub)
{
    if (hub->users > 0)
        return;
    for (struct hub **p = &hubs; *p != NULL; p = &(*p)->next) {
        if (*p == hub) {
            *p = hub->next;
            break;
        }
    }
    free(hub->session);
    free(hub);
}

static dhole_err port_open(struct port *port)
{
    dhole_err err;

    if (port->open)
        return dhole__fail(DHOLE_ERR_CONFIG, "another thread is this rank already");
    err = dhole__pipe_open(port->pipe, O_NONBLOCK);
    port->open = !err;
    return err;
}

static dhole_err mem_open(struct dhole__transport *transport,
                          const struct dhole__transport_config *config)
{
    struct mem *mem = (struct mem *)transport;
    dhole_err err;

    transport->rails = 1;
    pthread_mutex_lock(&lock);
    mem->rank = config->rank;
    mem->hub = hub_find(config->session, config->size);
    if (mem->hub == NULL) {
        err = dhole__fail_nomem(sizeof *mem->hub, "in-process ranks");
        goto out;
    }
    err = port_open(&mem->hub->port[mem->rank]);
    if (err)
        hub_release(mem->hub);
    else
        mem->hub->users++;
out:
    pthread_mutex_unlock(&lock);
    return err;
}

/* DHOLE_ERR_TIMEOUT: the peer cannot be reached as yet. */
static dhole_err try_connect(struct port *port, int peer, struct dhole__conn **out)
{
    struct dhole__conn *pair[2];
    dhole_err err;

    if (!port->open || port->count == backlog)
        return dhole__fail(DHOLE_ERR_TIMEOUT, "rank %d did not come", peer);
    err = dhole__mem_pair(pair);
    if (err)
        return err;
    port->waiting[port->count++] = pair[1];
    *out = pair[0];
    if (write(port->pipe[1], "", 1) < 0 && errno != EAGAIN)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "waking rank %d", peer);
    return DHOLE_OK;
}

static dhole_err mem_connect(struct dhole__transport *transport, int peer, int rail,
                             dhole__deadline deadline, struct dhole__conn **out)
{
    const struct mem *mem = (const struct mem *)transport;
    const struct timespec pause = {0, 1000000};
    dhole_err err;

    (void)rail; /* there is one */
    for (;;) {
        pthread_mutex_lock(&lock);
        err = try_connect(&mem->hub->port[peer], peer, out);
        pthread_mutex_unlock(&lock);
        if (err != DHOLE_ERR_TIMEOUT || dhole__now() >= deadline)
            return err;
        nanosleep(&pause, NULL);
    }
}

static dhole_err mem_accept(struct dhole__transport *transport, struct dhole__conn **out)
{
    const struct mem *mem = (const struct mem *)transport;
    struct port *port = &mem->hub->port[mem->rank];
    dhole_err err = DHOLE_OK;
    char byte;

    pthread_mutex_lock(&lock);
    *out = NULL;
    if (port->count > 0) {
        *out = port->waiting[0];
        port->count--;
        memmove(port->waiting, port->waiting + 1, (size_t)port->count * sizeof port->waiting[0]);
        if (read(port->pipe[0], &byte, 1) < 0)
            err = dhole__fail_errno(DHOLE_ERR_SYSTEM, "reading an in-process rank's pipe");
    }
    pthread_mutex_unlock(&lock);
    return err;
}

static int mem_arm_accept(struct dhole__transport *transport,
                          struct pollfd pfds[static dhole__rails_max])
{
    const struct mem *mem = (const struct mem *)transport;

    pfds[0] = (struct pollfd){.fd = mem->hub->port[mem->rank].pipe[0], .events = POLLIN};
    return 1;
}

static void mem_close_transport(struct dhole__transport *transport)
{
    struct mem *mem = (struct mem *)transport;
    struct port *port = &mem->hub->port[mem->rank];

    pthread_mutex_lock(&lock);
    for (int i = 0; i < port->count; i++)
        dhole__conn_close(port->waiting[i]);
    port->count = 0;
    port->open = false;
    dhole__pipe_close(port->pipe);
    mem->hub->users--;
    hub_release(mem->hub);
    pthread_mutex_unlock(&lock);
}

const struct dhole__transport_ops dhole__transport_mem = {
    .name = "mem",
    .size = sizeof(struct mem),
    .open = mem_open,
    .connect = mem_connect,
    .accept = mem_accept,
    .arm = mem_arm_accept,
    .close = mem_close_transport,
};
