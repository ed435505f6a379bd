#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/os.h"
#include "base/pipe.h"
#include "base/sys.h"
#include "cluster/avahi.h"
#include "cluster/discovery.h"

/* A thread keeps the announcement: the daemon's client goes with the daemon, and a new one is made
 * when it is back. All but the pipe, whose end tells the thread to stop, is the thread's. */
struct dhole_announcement {
    const struct dhole__avahi *avahi;
    AvahiSimplePoll *loop;
    AvahiClient *client; /* NULL while there is none */
    AvahiEntryGroup *group;
    AvahiStringList *txt;
    char service[DHOLE_NAME_SIZE]; /* the name, with a number where others have it */
    uint16_t port;
    bool lost, over;
    int pipe[2];
    pthread_t thread;
};

enum { pause_ms = 2000, renames_max = 100 };

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

    if (state == AVAHI_ENTRY_GROUP_ESTABLISHED)
        dhole__log(DHOLE__LOG_INFO, "discovery: announced as %s", a->service);
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
    case AVAHI_CLIENT_CONNECTING: break;
    }
}

static int connect_to_daemon(dhole_announcement *a, AvahiClientFlags flags)
{
    int error = 0;

    a->lost = false;
    a->group = NULL;
    a->client =
        a->avahi->client_new(a->avahi->simple_poll_get(a->loop), flags, client_changed, a, &error);
    return a->client == NULL ? error : 0;
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

static void *keep(void *arg)
{
    dhole_announcement *a = arg;

    dhole__thread_name("dhole-announce");
    while (!a->over) {
        if (a->client == NULL && connect_to_daemon(a, AVAHI_CLIENT_NO_FAIL) != 0)
            a->lost = true;
        if (!a->lost && a->avahi->simple_poll_iterate(a->loop, -1) != 0 && errno != EINTR)
            a->lost = true;
        if (a->lost) {
            disconnect(a);
            nap(a);
        }
    }
    disconnect(a);
    return NULL;
}

static dhole_err start(dhole_announcement *a)
{
    dhole_err err = dhole__pipe_open(a->pipe, 0);
    const AvahiPoll *poll;
    int error;

    if (err)
        return err;
    a->loop = a->avahi->simple_poll_new();
    if (a->loop == NULL)
        return dhole__avahi_fail(a->avahi, AVAHI_ERR_NO_MEMORY);
    poll = a->avahi->simple_poll_get(a->loop);
    if (poll->watch_new(poll, a->pipe[0], AVAHI_WATCH_IN, told_to_stop, a) == NULL)
        return dhole__avahi_fail(a->avahi, AVAHI_ERR_NO_MEMORY);
    error = connect_to_daemon(a, 0);
    if (error != 0)
        return dhole__avahi_fail(a->avahi, error);
    error = dhole__sys.thread_create(&a->thread, NULL, keep, a);
    if (error != 0) {
        errno = error;
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot start the thread of the announcement");
    }
    return DHOLE_OK;
}

static void release(dhole_announcement *a)
{
    disconnect(a);
    if (a->loop != NULL)
        a->avahi->simple_poll_free(a->loop);
    a->avahi->string_list_free(a->txt);
    dhole__pipe_close(a->pipe);
    free(a);
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
    a->avahi = avahi;
    a->port = (uint16_t)port;
    a->pipe[0] = a->pipe[1] = -1;
    snprintf(a->service, sizeof a->service, "%s", name);
    a->txt = avahi->string_list_new(txt.item[0], txt.item[1], txt.item[2], NULL);
    err = a->txt == NULL ? dhole__avahi_fail(avahi, AVAHI_ERR_NO_MEMORY) : start(a);
    if (err)
        release(a);
    else
        *out = a;
    return err;
}

void dhole_announcement_free(dhole_announcement *a)
{
    if (a == NULL)
        return;
    close(a->pipe[1]);
    a->pipe[1] = -1;
    pthread_join(a->thread, NULL);
    release(a);
}
