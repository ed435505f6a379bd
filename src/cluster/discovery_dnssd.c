#include <arpa/inet.h>
#include <dns_sd.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/sys.h"
#include "cluster/discovery.h"
#include "cluster/dnssd.h"

/* The first question is who is there; each answer makes one for its host and port, and that one
 * two for the host's addresses. */
enum { questions_max = 128 };

struct question {
    struct search *search;
    DNSServiceRef ref; /* NULL: a free place */
    bool answered;
    char service[DHOLE_NAME_SIZE];
    struct dhole__claim claim;
    uint16_t port; /* in network order */
};

struct search {
    struct question questions[questions_max];
    struct dhole__sightings sightings;
    dhole_err err;
};

static struct question *free_question(struct search *search)
{
    for (int i = 0; i < questions_max; i++) {
        struct question *q = &search->questions[i];
        if (q->ref == NULL) {
            *q = (struct question){.search = search};
            return q;
        }
    }
    search->sightings.more = true;
    return NULL;
}

static void host_found(DNSServiceRef ref, DNSServiceFlags flags, uint32_t interface,
                       DNSServiceErrorType error, const char *name, uint16_t type, uint16_t class,
                       uint16_t length, const void *data, uint32_t ttl, void *arg)
{
    struct question *q = arg;
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = q->port};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = q->port};

    (void)ref, (void)name, (void)class, (void)ttl;
    q->answered = !(flags & kDNSServiceFlagsMoreComing);
    if (error != kDNSServiceErr_NoError || !(flags & kDNSServiceFlagsAdd))
        return;
    if (type == kDNSServiceType_A && length == sizeof v4.sin_addr) {
        memcpy(&v4.sin_addr, data, length);
        dhole__sightings_add(&q->search->sightings, q->service, &q->claim,
                             (const struct sockaddr *)&v4);
    } else if (type == kDNSServiceType_AAAA && length == sizeof v6.sin6_addr) {
        memcpy(&v6.sin6_addr, data, length);
        if (IN6_IS_ADDR_LINKLOCAL(&v6.sin6_addr))
            v6.sin6_scope_id = interface;
        dhole__sightings_add(&q->search->sightings, q->service, &q->claim,
                             (const struct sockaddr *)&v6);
    }
}

static void ask_for_host(const struct question *about, uint32_t interface, const char *host,
                         uint16_t type)
{
    struct question *q = free_question(about->search);

    if (q == NULL)
        return;
    memcpy(q->service, about->service, sizeof q->service);
    q->claim = about->claim;
    q->port = about->port;
    if (DNSServiceQueryRecord(&q->ref, 0, interface, host, type, kDNSServiceClass_IN, host_found,
                              q) != kDNSServiceErr_NoError)
        q->ref = NULL;
}

static void service_resolved(DNSServiceRef ref, DNSServiceFlags flags, uint32_t interface,
                             DNSServiceErrorType error, const char *name, const char *host,
                             uint16_t port, uint16_t length, const unsigned char *txt, void *arg)
{
    struct question *q = arg;

    (void)ref, (void)flags, (void)name;
    q->answered = true;
    if (error != kDNSServiceErr_NoError)
        return;
    q->port = port;
    for (size_t at = 0; at < length && at + 1 + txt[at] <= length; at += 1 + txt[at])
        dhole__claim_item(&q->claim, txt + at + 1, txt[at]);
    if (!dhole__claim_is_whole(&q->claim))
        return;
    ask_for_host(q, interface, host, kDNSServiceType_A);
    ask_for_host(q, interface, host, kDNSServiceType_AAAA);
}

static void service_found(DNSServiceRef ref, DNSServiceFlags flags, uint32_t interface,
                          DNSServiceErrorType error, const char *name, const char *type,
                          const char *domain, void *arg)
{
    struct question *browse = arg, *q;

    (void)ref;
    if (error != kDNSServiceErr_NoError)
        browse->search->err = dhole__dnssd_fail(error);
    if (error != kDNSServiceErr_NoError || !(flags & kDNSServiceFlagsAdd) ||
        strlen(name) >= sizeof q->service)
        return;
    q = free_question(browse->search);
    if (q == NULL)
        return;
    memcpy(q->service, name, strlen(name));
    if (DNSServiceResolve(&q->ref, 0, interface, name, type, domain, service_resolved, q) !=
        kDNSServiceErr_NoError)
        q->ref = NULL;
}

static void hear(struct question *q)
{
    DNSServiceErrorType error = DNSServiceProcessResult(q->ref);

    if (error != kDNSServiceErr_NoError && !q->search->err)
        q->search->err = dhole__dnssd_fail(error);
    if (q->answered) {
        DNSServiceRefDeallocate(q->ref);
        q->ref = NULL;
    }
}

static void hear_all(struct search *search, int timeout_ms)
{
    struct pollfd fds[questions_max];

    for (int i = 0; i < questions_max; i++) {
        const struct question *q = &search->questions[i];
        fds[i].fd = q->ref == NULL ? -1 : DNSServiceRefSockFD(q->ref);
        fds[i].events = POLLIN;
        fds[i].revents = 0;
    }
    if (dhole__sys.poll(fds, questions_max, timeout_ms) < 0 && errno != EINTR)
        search->err = dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot wait for the local network");
    for (int i = 0; i < questions_max && !search->err; i++)
        if (fds[i].revents != 0)
            hear(&search->questions[i]);
}

static void look(struct search *search, int64_t timeout_ms)
{
    dhole__deadline deadline = dhole__deadline_in(timeout_ms);
    struct question *browse = free_question(search);
    DNSServiceErrorType error =
        DNSServiceBrowse(&browse->ref, 0, 0, DHOLE__SERVICE_TYPE, NULL, service_found, browse);
    int ms;

    if (error != kDNSServiceErr_NoError) {
        browse->ref = NULL;
        search->err = dhole__dnssd_fail(error);
    }
    while (!search->err && (ms = dhole__deadline_ms(deadline)) > 0)
        hear_all(search, ms);
    for (int i = 0; i < questions_max; i++)
        if (search->questions[i].ref != NULL)
            DNSServiceRefDeallocate(search->questions[i].ref);
}

dhole_err dhole_discover(int64_t timeout_ms, void (*found)(void *arg, const dhole_found *machine),
                         void *arg)
{
    struct search *search = dhole__sys.calloc(1, sizeof *search);
    dhole_err err;

    if (search == NULL)
        return dhole__fail_nomem(sizeof *search, "a search of the local network");
    look(search, timeout_ms);
    err = search->err;
    if (!err)
        dhole__sightings_report(&search->sightings, found, arg);
    free(search);
    return err;
}
