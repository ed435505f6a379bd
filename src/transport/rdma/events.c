#include "transport/rdma/events.h"

#include <errno.h>
#include <fcntl.h>

static const struct {
    enum ibv_event_type type;
    bool of_port; /* which may be another one */
    const char *what;
} failures[] = {
    {IBV_EVENT_PORT_ERR, true,
     "the port went down; check the cable, and that nobody has set the "
     "interface down"},
    {IBV_EVENT_DEVICE_FATAL, false, "it has failed or was taken away; look at the system's log"},
    {IBV_EVENT_CQ_ERR, false, "a completion queue has failed; look at the system's log"},
    {IBV_EVENT_QP_FATAL, false, "a queue pair has failed; look at the system's log"},
};

void dhole__events_open(struct dhole__device *device)
{
    int fd = device->context->async_fd, flags;

    device->events = -1;
    if (device->verbs->get_async_event == NULL || fd <= 0)
        return;
    flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0)
        device->events = fd;
}

static const char *failure_of(const struct dhole__device *device,
                              const struct ibv_async_event *event)
{
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++)
        if (failures[i].type == event->event_type &&
            (!failures[i].of_port || event->element.port_num == device->port))
            return failures[i].what;
    return NULL;
}

static void take(struct dhole__device *device, struct ibv_async_event *event)
{
    const char *failure = failure_of(device, event);

    if (failure != NULL && device->failure == NULL)
        device->failure = failure;
    device->verbs->ack_async_event(event);
}

dhole_err dhole__events_look(struct dhole__device *device)
{
    struct ibv_async_event event;

    if (device->events >= 0 && device->failure == NULL) {
        while (device->verbs->get_async_event(device->context, &event) == 0)
            take(device, &event);
        if (device->failure == NULL && errno != EAGAIN && errno != EINTR)
            device->failure = "it is gone";
    }
    if (device->failure == NULL)
        return DHOLE_OK;
    return dhole__fail(DHOLE_ERR_SYSTEM, "RDMA device %s port %u: %s", device->name, device->port,
                       device->failure);
}
