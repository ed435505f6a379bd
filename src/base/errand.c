#include "base/errand.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/os.h"
#include "base/pipe.h"
#include "base/sys.h"

static void let_go(struct dhole__errand *errand)
{
    int over[2] = {errand->over[0], errand->over[1]};

    if (atomic_fetch_sub(&errand->holders, 1) > 1)
        return;
    errand->release(errand);
    dhole__pipe_close(over);
}

static void *run(void *arg)
{
    struct dhole__errand *errand = arg;

    dhole__thread_name("dhole-errand");
    errand->run(errand);
    atomic_store(&errand->done, true);
    if (write(errand->over[1], "", 1) < 0) { /* an empty pipe takes a byte */
    }
    let_go(errand);
    return NULL;
}

dhole_err dhole__errand_start(struct dhole__errand *errand)
{
    dhole_err err = dhole__pipe_open(errand->over, 0);
    int error;

    if (err)
        return err;
    atomic_store(&errand->holders, 2);
    error = dhole__sys.thread_create(&errand->thread, NULL, run, errand);
    if (error == 0)
        return DHOLE_OK;
    dhole__pipe_close(errand->over);
    errno = error;
    return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot start a thread");
}

bool dhole__errand_wait(struct dhole__errand *errand, int64_t timeout_ms)
{
    struct pollfd over = {.fd = errand->over[0], .events = POLLIN};
    dhole__deadline deadline = dhole__deadline_in(timeout_ms);
    int n;

    do
        n = dhole__sys.poll(&over, 1, dhole__deadline_ms(deadline));
    while (n < 0 && errno == EINTR);
    return n > 0 && atomic_load(&errand->done);
}

void dhole__errand_leave(struct dhole__errand *errand)
{
    if (dhole__errand_wait(errand, 0))
        pthread_join(errand->thread, NULL);
    else
        pthread_detach(errand->thread);
    let_go(errand);
}
