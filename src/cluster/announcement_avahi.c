#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/errand.h"
#include "base/log.h"
#include "base/pipe.h"
#include "base/sys.h"
#include "cluster/avahi.h"
#include "cluster/discovery.h"

/* A thread keeps the announcement: the daemon's client goes with the daemon, and a new one is made
 * when it is back. All but the pipe, whose end tells the thread to stop, is the thread's. */
struct dhole_announcement {
    struct dhole__errand errand;
    const struct dhole__avahi *avahi;
    AvahiSimplePoll *loop;
    AvahiClient *client; /* NULL while there is none */
    AvahiEntryGroup *group;
    AvahiStringList *txt;
    char service[DHOLE_NAME_SIZE]; /* the name, with a number where others have it */
    uint16_t port;
    bool lost, over;
    bool told; /* that it is not announced, and why */
    int pipe[2];
};

enum { pause_ms = 2000, goodbye_ms = 1000, renames_max = 100 };

/* Once, until it is announced. */
static void tell_why_not(dhole_announcement *a, int error)
{
    if (a->told)
        return;
    a->told = true;
    if (dhole__avahi_fail(a->avahi, error) != DHOLE_OK)
        dhole__log(DHOLE__LOG_INFO, "%s is not announced on the local network yet: %s", a->service,
                   dhole_error_message());
}

static bool rename_service(dhole_announcement *a)
{
    char *other = a->avahi->alternative_service_name(a->service);

    if (other == NULL)
        return false;
    dhole__log(DHOLE__LOG_WARN, "discovery: another machine is announced as %s; this one as %s",
               a->service, other);
    snprintf(a->service, sizeof a->service, "%s", other);
    a->avahi->free(other);
    return true;
}

/* On this host a name is refused at once; on others, by way of group_changed. */
static void publish(dhole_announcement *a)
{
    const struct dhole__avahi *avahi = a->avahi;
    int error, renames = 0;

    if (!avahi->entry_group_is_empty(a->group))
        return;
    do {
        error = avahi->entry_group_add_service_strlst(a->group, AVAHI_IF_UNSPEC, AVAHI_PROTO_UNSPEC,
                                                      0, a->service, DHOLE__SERVICE_TYPE, NULL,
                                                      NULL, a->port, a->txt);
    } while (error == AVAHI_ERR_COLLISION && renames++ < renames_max && rename_service(a));
    if (error == 0)
        error = avahi->entry_group_commit(a->group);
    if (error != 0)
        dhole__log(DHOLE__LOG_WARN, "discovery: cannot announce %s: %s", a->service,
                   avahi->strerror(error));
}

static void group_changed(AvahiEntryGroup *group, AvahiEntryGroupState state, void *arg)
{
    dhole_announcement *a = arg;

    if (state == AVAHI_ENTRY_GROUP_ESTABLISHED) {
        a->told = false;
        dhole__log(DHOLE__LOG_INFO, "discovery: announced as %s", a->service);
    }
    if (state == AVAHI_ENTRY_GROUP_FAILURE)
        dhole__log(DHOLE__LOG_WARN, "discovery: %s is not announced", a->service);
    if (state != AVAHI_ENTRY_GROUP_COLLISION || a->group != group)
        return;
    if (rename_service(a) && a->avahi->entry_group_reset(group) == 0)
        publish(a);
}

/* The daemon takes its records off while it looks for a name for the host. */
static void client_changed(AvahiClient *client, AvahiClientState state, void *arg)
{
    dhole_announcement *a = arg;

    switch (state) {
    case AVAHI_CLIENT_S_RUNNING:
        if (a->group == NULL)
            a->group = a->avahi->entry_group_new(client, group_changed, a);
        if (a->group != NULL)
            publish(a);
        break;
    case AVAHI_CLIENT_S_COLLISION:
    case AVAHI_CLIENT_S_REGISTERING:
        if (a->group != NULL)
            a->avahi->entry_group_reset(a->group);
        break;
    case AVAHI_CLIENT_FAILURE: a->lost = true; break;
    case AVAHI_CLIENT_CONNECTING: tell_why_not(a, AVAHI_ERR_NO_DAEMON); break;
    }
}

/* The daemon may come later. */
static void connect_to_daemon(dhole_announcement *a)
{
    int error = 0;

    a->group = NULL;
    a->client = a->avahi->client_new(a->avahi->simple_poll_get(a->loop), AVAHI_CLIENT_NO_FAIL,
                                     client_changed, a, &error);
    a->lost = a->client == NULL;
    if (a->lost)
        tell_why_not(a, error);
}

static void disconnect(dhole_announcement *a)
{
    if (a->client != NULL)
        a->avahi->client_free(a->client);
    a->client = NULL;
    a->group = NULL; /* which the client has freed */
}

static void told_to_stop(AvahiWatch *watch, int fd, AvahiWatchEvent event, void *arg)
{
    dhole_announcement *a = arg;

    (void)watch, (void)fd, (void)event;
    a->over = true;
}

static void nap(dhole_announcement *a)
{
    struct pollfd stop = {.fd = a->pipe[0], .events = POLLIN};

    a->over = dhole__sys.poll(&stop, 1, pause_ms) > 0;
}

static void keep(struct dhole__errand *errand)
{
    dhole_announcement *a = (dhole_announcement *)errand;

    while (!a->over) {
        if (a->client == NULL)
            connect_to_daemon(a);
        if (!a->lost && a->avahi->simple_poll_iterate(a->loop, -1) != 0 && errno != EINTR)
            a->lost = true;
        if (a->lost) {
            disconnect(a);
            nap(a);
        }
    }
    disconnect(a);
}

static void release(struct dhole__errand *errand)
{
    dhole_announcement *a = (dhole_announcement *)errand;

    if (a->loop != NULL)
        a->avahi->simple_poll_free(a->loop);
    a->avahi->string_list_free(a->txt);
    dhole__pipe_close(a->pipe);
    free(a);
}

static dhole_err start(dhole_announcement *a)
{
    dhole_err err = dhole__pipe_open(a->pipe, 0);
    const AvahiPoll *poll;

    if (err)
        return err;
    a->loop = a->avahi->simple_poll_new();
    if (a->loop == NULL)
        return dhole__avahi_fail(a->avahi, AVAHI_ERR_NO_MEMORY);
    poll = a->avahi->simple_poll_get(a->loop);
    if (poll->watch_new(poll, a->pipe[0], AVAHI_WATCH_IN, told_to_stop, a) == NULL)
        return dhole__avahi_fail(a->avahi, AVAHI_ERR_NO_MEMORY);
    return dhole__errand_start(&a->errand);
}

dhole_err dhole_announce(const char *name, int port, const dhole_pin *pin, dhole_announcement **out)
{
    const struct dhole__avahi *avahi;
    struct dhole__txt txt;
    dhole_announcement *a;
    dhole_err err = dhole__txt_make(name, port, pin, &txt);

    if (!err)
        err = dhole__avahi_get(&avahi);
    if (err)
        return err;
    a = dhole__sys.calloc(1, sizeof *a);
    if (a == NULL)
        return dhole__fail_nomem(sizeof *a, "an announcement");
    a->errand.run = keep;
    a->errand.release = release;
    a->avahi = avahi;
    a->port = (uint16_t)port;
    a->pipe[0] = a->pipe[1] = -1;
    snprintf(a->service, sizeof a->service, "%s", name);
    a->txt = avahi->string_list_new(txt.item[0], txt.item[1], txt.item[2], NULL);
    err = a->txt == NULL ? dhole__avahi_fail(avahi, AVAHI_ERR_NO_MEMORY) : start(a);
    if (err)
        release(&a->errand);
    else
        *out = a;
    return err;
}

/* A daemon that hangs is not waited for. */
void dhole_announcement_free(dhole_announcement *a)
{
    if (a == NULL)
        return;
    if (write(a->pipe[1], "", 1) < 0) { /* an empty pipe takes a byte */
    }
    dhole__errand_wait(&a->errand, goodbye_ms);
    dhole__errand_leave(&a->errand);
}
