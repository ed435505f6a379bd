/* What devices report of themselves. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "fabric.h"

#define EXPORT __attribute__((visibility("default")))

static struct context *contexts;
static int unacknowledged;

bool events_open(struct context *context)
{
    int fds[2];

    if (pipe(fds) != 0)
        return false;
    for (int i = 0; i < 2; i++)
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
    context->verbs.context.async_fd = fds[0];
    context->reporting = fds[1];
    context->next = contexts;
    contexts = context;
    return true;
}

void events_close(struct context *context)
{
    struct context **link = &contexts;

    while (*link != context)
        link = &(*link)->next;
    *link = context->next;
    if (contexts == NULL && unacknowledged != 0)
        misuse("ibv_close_device with events that were not acknowledged");
    close(context->verbs.context.async_fd);
    close(context->reporting);
}

EXPORT void fake_event(const char *device, int type)
{
    pthread_mutex_lock(&fabric);
    for (struct context *context = contexts; context != NULL; context = context->next)
        if (strcmp(context->device->base.name, device) == 0 &&
            write(context->reporting, &type, sizeof type) != (ssize_t)sizeof type)
            misuse("more events than there is room for");
    pthread_mutex_unlock(&fabric);
}

EXPORT int ibv_get_async_event(struct ibv_context *context, struct ibv_async_event *event)
{
    int type;

    if (read(context->async_fd, &type, sizeof type) != (ssize_t)sizeof type)
        return -1;
    *event = (struct ibv_async_event){.event_type = (enum ibv_event_type)type};
    event->element.port_num = 1; /* and of those that are of the device nothing looks there */
    pthread_mutex_lock(&fabric);
    unacknowledged++;
    pthread_mutex_unlock(&fabric);
    return 0;
}

EXPORT void ibv_ack_async_event(struct ibv_async_event *event)
{
    (void)event;
    pthread_mutex_lock(&fabric);
    unacknowledged--;
    pthread_mutex_unlock(&fabric);
}
