#include "cluster/gate.h"

#include "base/log.h"
#include "base/os.h"
#include "base/sys.h"
#include "transport/io.h"

enum {
    slice_ms = 500,  /* between looks at `closing` */
    breath_ms = 100, /* when there are no descriptors, say */
};

static dhole_err accept_one(struct dhole__gate *gate)
{
    dhole_link *link;
    dhole_err err = dhole_link_accept(gate->listener, slice_ms, &link);

    if (!err) {
        err = dhole__wire_adopt(gate->box, link);
        if (err)
            dhole_link_free(link);
    }
    return err;
}

static void *accept_all(void *arg)
{
    struct dhole__gate *gate = arg;
    dhole_err err = DHOLE_OK;

    dhole__thread_name("dhole-gate");
    while (!atomic_load(&gate->closing) && err != DHOLE_ERR_CANCELLED) {
        struct pollfd stop = {.fd = gate->cancel_fd, .events = POLLIN};
        err = accept_one(gate);
        if (err == DHOLE_OK || err == DHOLE_ERR_CANCELLED || err == DHOLE_ERR_TIMEOUT)
            continue;
        dhole__log(DHOLE__LOG_WARN, "a call to this session: %s", dhole_error_message());
        if (dhole__io_poll(&stop, 1, dhole__deadline_in(breath_ms)) == DHOLE_OK)
            break;
    }
    return NULL;
}

dhole_err dhole__gate_open(struct dhole__gate *gate, struct dhole__mailbox *box,
                           const dhole_link_options *options, const char *address)
{
    dhole_err err = dhole_link_listen(options, address, &gate->listener);

    if (err)
        return err;
    gate->box = box;
    gate->cancel_fd = options->cancel_fd;
    atomic_store(&gate->closing, false);
    if (dhole__sys.thread_create(&gate->thread, NULL, accept_all, gate) == 0)
        return DHOLE_OK;
    dhole_link_listener_free(gate->listener);
    gate->listener = NULL;
    return dhole__fail(DHOLE_ERR_SYSTEM, "cannot start a thread for a listener");
}

void dhole__gate_close(struct dhole__gate *gate)
{
    if (gate->listener == NULL)
        return;
    atomic_store(&gate->closing, true);
    pthread_join(gate->thread, NULL);
    dhole_link_listener_free(gate->listener);
    gate->listener = NULL;
}
