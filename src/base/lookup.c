#include "base/lookup.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/errand.h"
#include "base/sys.h"

struct lookup {
    struct dhole__errand errand;
    char host[NI_MAXHOST], port[NI_MAXSERV];
    struct addrinfo hints, *found;
    int error;
};

static void ask(struct dhole__errand *errand)
{
    struct lookup *lookup = (struct lookup *)errand;

    lookup->error =
        dhole__sys.getaddrinfo(lookup->host, lookup->port, &lookup->hints, &lookup->found);
}

static void release(struct dhole__errand *errand)
{
    struct lookup *lookup = (struct lookup *)errand;

    if (lookup->found != NULL)
        freeaddrinfo(lookup->found);
    free(lookup);
}

static dhole_err start(const char *host, const char *port, const struct addrinfo *hints,
                       struct lookup **out)
{
    struct lookup *lookup = dhole__sys.calloc(1, sizeof *lookup);
    dhole_err err;

    if (lookup == NULL)
        return dhole__fail_nomem(sizeof *lookup, "looking up a host");
    lookup->errand.run = ask;
    lookup->errand.release = release;
    lookup->hints = *hints;
    snprintf(lookup->host, sizeof lookup->host, "%s", host);
    snprintf(lookup->port, sizeof lookup->port, "%s", port);
    err = dhole__errand_start(&lookup->errand);
    if (err)
        free(lookup);
    else
        *out = lookup;
    return err;
}

static dhole_err wait_for(struct lookup *lookup, dhole__deadline deadline, int cancel_fd)
{
    struct pollfd pfds[2] = {{.fd = lookup->errand.over[0], .events = POLLIN},
                             {.fd = cancel_fd, .events = POLLIN}};
    int n;

    do
        n = dhole__sys.poll(pfds, 2, dhole__deadline_ms(deadline));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "poll");
    if (dhole__errand_wait(&lookup->errand, 0))
        return DHOLE_OK;
    if (n > 0)
        return dhole__fail(DHOLE_ERR_CANCELLED, "cancelled");
    return dhole__fail(DHOLE_ERR_TIMEOUT, "no name server answered in time");
}

static dhole_err result(int error)
{
    if (error == 0)
        return DHOLE_OK;
    if (error == EAI_MEMORY)
        return dhole__fail(DHOLE_ERR_NOMEM, "%s", gai_strerror(error));
    return dhole__fail(DHOLE_ERR_CONFIG, "%s", gai_strerror(error));
}

dhole_err dhole__lookup(const char *host, const char *port, const struct addrinfo *hints,
                        dhole__deadline deadline, int cancel_fd, struct addrinfo **out)
{
    struct addrinfo in_digits = *hints;
    struct lookup *lookup = NULL;
    dhole_err err;
    int error;

    /* Nobody has to be asked where these digits are. */
    in_digits.ai_flags |= AI_NUMERICHOST;
    error = dhole__sys.getaddrinfo(host, port, &in_digits, out);
    if (error != EAI_NONAME)
        return result(error);
    err = start(host, port, hints, &lookup);
    if (err)
        return err;
    err = wait_for(lookup, deadline, cancel_fd);
    if (!err)
        err = result(lookup->error);
    if (!err) {
        *out = lookup->found;
        lookup->found = NULL;
    }
    dhole__errand_leave(&lookup->errand);
    return err;
}
