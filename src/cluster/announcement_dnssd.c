#include <arpa/inet.h>
#include <dns_sd.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/os.h"
#include "base/pipe.h"
#include "base/sys.h"
#include "cluster/discovery.h"
#include "cluster/dnssd.h"

/* A thread keeps the announcement, and makes it anew when the daemon was restarted. The daemon
 * itself puts a number behind a name that others have. All but the pipe, whose end tells the thread
 * to stop, is the thread's. */
struct dhole_announcement {
    DNSServiceRef ref; /* NULL while there is none */
    char name[DHOLE_NAME_SIZE];
    uint16_t port; /* in network order */
    uint8_t txt[dhole__txt_keys * (1 + dhole__txt_max)];
    uint16_t txt_length;
    int pipe[2];
    pthread_t thread;
};

enum { pause_ms = 2000 };

static void registered(DNSServiceRef ref, DNSServiceFlags flags, DNSServiceErrorType error,
                       const char *name, const char *type, const char *domain, void *arg)
{
    (void)ref, (void)flags, (void)type, (void)domain, (void)arg;
    if (error == kDNSServiceErr_NoError)
        dhole__log(DHOLE__LOG_INFO, "discovery: announced as %s", name);
    else
        dhole__log(DHOLE__LOG_WARN, "discovery: cannot announce %s: error %d", name, (int)error);
}

static DNSServiceErrorType announce(dhole_announcement *a)
{
    DNSServiceErrorType error =
        DNSServiceRegister(&a->ref, 0, 0, a->name, DHOLE__SERVICE_TYPE, NULL, NULL, a->port,
                           a->txt_length, a->txt, registered, a);

    if (error != kDNSServiceErr_NoError)
        a->ref = NULL;
    return error;
}

static void withdraw(dhole_announcement *a)
{
    if (a->ref != NULL)
        DNSServiceRefDeallocate(a->ref);
    a->ref = NULL;
}

static void *keep(void *arg)
{
    dhole_announcement *a = arg;
    struct pollfd fds[2] = {{.fd = a->pipe[0], .events = POLLIN}, {.events = POLLIN}};

    dhole__thread_name("dhole-announce");
    for (;;) {
        fds[1].fd = a->ref == NULL ? -1 : DNSServiceRefSockFD(a->ref);
        fds[1].revents = 0;
        if (dhole__sys.poll(fds, 2, a->ref == NULL ? pause_ms : -1) < 0)
            continue;
        if (fds[0].revents != 0)
            return NULL;
        if (a->ref == NULL)
            announce(a);
        else if (fds[1].revents != 0 && DNSServiceProcessResult(a->ref) != kDNSServiceErr_NoError)
            withdraw(a);
    }
}

static void write_txt(dhole_announcement *a, const struct dhole__txt *txt)
{
    for (int key = 0; key < dhole__txt_keys; key++) {
        size_t length = strlen(txt->item[key]);
        a->txt[a->txt_length] = (uint8_t)length;
        memcpy(a->txt + a->txt_length + 1, txt->item[key], length);
        a->txt_length = (uint16_t)(a->txt_length + 1 + length);
    }
}

static dhole_err start(dhole_announcement *a)
{
    dhole_err err = dhole__pipe_open(a->pipe, 0);
    DNSServiceErrorType error;
    int failed;

    if (err)
        return err;
    error = announce(a);
    if (error != kDNSServiceErr_NoError)
        return dhole__dnssd_fail(error);
    failed = dhole__sys.thread_create(&a->thread, NULL, keep, a);
    if (failed) {
        errno = failed;
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot start the thread of the announcement");
    }
    return DHOLE_OK;
}

static void release(dhole_announcement *a)
{
    withdraw(a);
    dhole__pipe_close(a->pipe);
    free(a);
}

dhole_err dhole_announce(const char *name, int port, const dhole_pin *pin, dhole_announcement **out)
{
    struct dhole__txt txt;
    dhole_announcement *a;
    dhole_err err = dhole__txt_make(name, port, pin, &txt);

    if (err)
        return err;
    a = dhole__sys.calloc(1, sizeof *a);
    if (a == NULL)
        return dhole__fail_nomem(sizeof *a, "an announcement");
    a->port = htons((uint16_t)port);
    a->pipe[0] = a->pipe[1] = -1;
    memcpy(a->name, name, strlen(name));
    write_txt(a, &txt);
    err = start(a);
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
