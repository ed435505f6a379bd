#include "cli/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/error.h"
#include "base/pipe.h"

static int wake[2] = {-1, -1};
static volatile sig_atomic_t caught;
static dhole_engine *_Atomic running;

/* Only what is safe in a signal handler. */
static void on_signal(int number)
{
    unsigned char byte = (unsigned char)number;
    int saved = errno;

    if (number != SIGCHLD) {
        dhole_engine *engine = atomic_load(&running);
        caught = number;
        if (engine != NULL)
            dhole_engine_cancel(engine);
    }
    if (write(wake[1], &byte, 1) < 0) { /* full: it is readable already */
    }
    errno = saved;
}

static dhole_err handle(int number, int flags)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags | SA_RESTART};

    sigemptyset(&action.sa_mask);
    if (sigaction(number, &action, NULL) != 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot handle signal %d", number);
    return DHOLE_OK;
}

dhole_err dhole__signals_install(void)
{
    dhole_err err = dhole__pipe_open(wake, O_NONBLOCK);

    if (err == DHOLE_OK)
        err = handle(SIGINT, SA_RESETHAND);
    if (err == DHOLE_OK)
        err = handle(SIGTERM, SA_RESETHAND);
    if (err == DHOLE_OK)
        err = handle(SIGCHLD, SA_NOCLDSTOP);
    return err;
}

dhole_err dhole__signals_collect(const int *numbers, size_t count)
{
    dhole_err err = dhole__pipe_open(wake, O_NONBLOCK);

    for (size_t i = 0; i < count && err == DHOLE_OK; i++) {
        struct sigaction old;
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            err = handle(numbers[i], 0);
    }
    return err ? err : handle(SIGCHLD, SA_NOCLDSTOP);
}

int dhole__signals_next(void)
{
    unsigned char byte;

    return read(wake[0], &byte, 1) == 1 ? byte : 0;
}

int dhole__signals_fd(void)
{
    return wake[0];
}

void dhole__signals_wake(void)
{
    if (write(wake[1], "", 1) < 0) { /* full: it is readable already */
    }
}

void dhole__signals_drain(void)
{
    char rest[64];

    while (read(wake[0], rest, sizeof rest) > 0) {
    }
}

int dhole__signals_caught(void)
{
    return caught;
}

void dhole__signals_engine(dhole_engine *engine)
{
    atomic_store(&running, engine);
    if (engine != NULL && caught)
        dhole_engine_cancel(engine);
}
