#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/errand.h"
#include "base/sys.h"
#include "cluster/avahi.h"
#include "cluster/discovery.h"

enum {
    resolvers_max = 256, /* the daemon allows a client 1024 objects */
    grace_ms = 1000      /* at least as long again as the search, for a daemon that is slow */
};

struct search {
    struct dhole__errand errand;
    const struct dhole__avahi *avahi;
    AvahiSimplePoll *loop;
    int64_t timeout_ms;
    AvahiClient *client;
    int resolvers;
    int lost; /* Avahi's error, 0 while the daemon is there */
    struct dhole__sightings sightings;
};

static void gather(struct search *search, AvahiIfIndex interface, const char *service,
                   const AvahiAddress *address, uint16_t port, const AvahiStringList *txt)
{
    struct dhole__claim claim = {.shown = 0};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    bool is_v4 = address->proto == AVAHI_PROTO_INET;

    for (; txt != NULL; txt = txt->next)
        dhole__claim_item(&claim, txt->text, txt->size);
    if (is_v4) {
        v4.sin_addr.s_addr = address->data.ipv4.address;
    } else {
        memcpy(&v6.sin6_addr, address->data.ipv6.address, sizeof v6.sin6_addr);
        if (IN6_IS_ADDR_LINKLOCAL(&v6.sin6_addr) && interface > 0)
            v6.sin6_scope_id = (uint32_t)interface;
    }
    dhole__sightings_add(&search->sightings, service, &claim,
                         is_v4 ? (const struct sockaddr *)&v4 : (const struct sockaddr *)&v6);
}

static void resolved(AvahiServiceResolver *resolver, AvahiIfIndex interface, AvahiProtocol protocol,
                     AvahiResolverEvent event, const char *name, const char *type,
                     const char *domain, const char *host, const AvahiAddress *address,
                     uint16_t port, AvahiStringList *txt, AvahiLookupResultFlags flags, void *arg)
{
    struct search *search = arg;

    (void)protocol, (void)type, (void)domain, (void)host, (void)flags;
    if (event == AVAHI_RESOLVER_FOUND)
        gather(search, interface, name, address, port, txt);
    search->avahi->service_resolver_free(resolver);
    search->resolvers--;
}

static void browsed(AvahiServiceBrowser *browser, AvahiIfIndex interface, AvahiProtocol protocol,
                    AvahiBrowserEvent event, const char *name, const char *type, const char *domain,
                    AvahiLookupResultFlags flags, void *arg)
{
    struct search *search = arg;

    (void)browser, (void)flags;
    if (event != AVAHI_BROWSER_NEW)
        return;
    if (search->resolvers == resolvers_max) {
        search->sightings.more = true;
        return;
    }
    if (search->avahi->service_resolver_new(search->client, interface, protocol, name, type, domain,
                                            protocol, 0, resolved, search) != NULL)
        search->resolvers++;
}

static void changed(AvahiClient *client, AvahiClientState state, void *arg)
{
    struct search *search = arg;

    if (state == AVAHI_CLIENT_FAILURE)
        search->lost = search->avahi->client_errno(client);
}

/* Any call of Avahi's may wait for the daemon. */
static void look(struct dhole__errand *errand)
{
    struct search *search = (struct search *)errand;
    const struct dhole__avahi *avahi = search->avahi;
    dhole__deadline deadline = dhole__deadline_in(search->timeout_ms);
    int error = 0, ms;

    search->client =
        avahi->client_new(avahi->simple_poll_get(search->loop), 0, changed, search, &error);
    if (search->client == NULL) {
        search->lost = error;
        return;
    }
    if (avahi->service_browser_new(search->client, AVAHI_IF_UNSPEC, AVAHI_PROTO_UNSPEC,
                                   DHOLE__SERVICE_TYPE, NULL, 0, browsed, search) == NULL)
        search->lost = avahi->client_errno(search->client);
    while (search->lost == 0 && (ms = dhole__deadline_ms(deadline)) > 0)
        if (avahi->simple_poll_iterate(search->loop, ms) != 0 && errno != EINTR)
            search->lost = AVAHI_ERR_FAILURE;
    avahi->client_free(search->client); /* and all that was made with it */
}

static void release(struct dhole__errand *errand)
{
    struct search *search = (struct search *)errand;

    if (search->loop != NULL)
        search->avahi->simple_poll_free(search->loop);
    free(search);
}

static dhole_err finish(struct search *search, void (*found)(void *arg, const dhole_found *machine),
                        void *arg)
{
    int64_t grace = search->timeout_ms > grace_ms ? search->timeout_ms : grace_ms;
    dhole_err err = DHOLE_OK;

    if (!dhole__errand_wait(&search->errand, search->timeout_ms + grace))
        err = dhole__avahi_fail(search->avahi, AVAHI_ERR_TIMEOUT);
    else if (search->lost != 0)
        err = dhole__avahi_fail(search->avahi, search->lost);
    else
        dhole__sightings_report(&search->sightings, found, arg);
    dhole__errand_leave(&search->errand);
    return err;
}

dhole_err dhole_discover(int64_t timeout_ms, void (*found)(void *arg, const dhole_found *machine),
                         void *arg)
{
    const struct dhole__avahi *avahi;
    struct search *search;
    dhole_err err = dhole__avahi_get(&avahi);

    if (err)
        return err;
    search = dhole__sys.calloc(1, sizeof *search);
    if (search == NULL)
        return dhole__fail_nomem(sizeof *search, "a search of the local network");
    search->errand.run = look;
    search->errand.release = release;
    search->avahi = avahi;
    search->timeout_ms = timeout_ms;
    search->loop = avahi->simple_poll_new();
    err = search->loop == NULL ? dhole__avahi_fail(avahi, AVAHI_ERR_NO_MEMORY)
                               : dhole__errand_start(&search->errand);
    if (err) {
        release(&search->errand);
        return err;
    }
    return finish(search, found, arg);
}
