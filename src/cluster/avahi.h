/* Avahi's client library, opened at run time, so that one build runs where there is none too. */
#ifndef DHOLE_CLUSTER_AVAHI_H
#define DHOLE_CLUSTER_AVAHI_H

#include <avahi-client/client.h>
#include <avahi-client/lookup.h>
#include <avahi-client/publish.h>
#include <avahi-common/alternative.h>
#include <avahi-common/error.h>
#include <avahi-common/malloc.h>
#include <avahi-common/simple-watch.h>

#include "base/error.h"

/* The functions, as in libavahi-client and libavahi-common without "avahi_". */
struct dhole__avahi {
    AvahiSimplePoll *(*simple_poll_new)(void);
    void (*simple_poll_free)(AvahiSimplePoll *poll);
    const AvahiPoll *(*simple_poll_get)(AvahiSimplePoll *poll);
    int (*simple_poll_iterate)(AvahiSimplePoll *poll, int timeout_ms);
    AvahiClient *(*client_new)(const AvahiPoll *poll, AvahiClientFlags flags,
                               AvahiClientCallback callback, void *arg, int *error);
    void (*client_free)(AvahiClient *client);
    int (*client_errno)(AvahiClient *client);
    AvahiServiceBrowser *(*service_browser_new)(AvahiClient *client, AvahiIfIndex interface,
                                                AvahiProtocol protocol, const char *type,
                                                const char *domain, AvahiLookupFlags flags,
                                                AvahiServiceBrowserCallback callback, void *arg);
    AvahiServiceResolver *(*service_resolver_new)(AvahiClient *client, AvahiIfIndex interface,
                                                  AvahiProtocol protocol, const char *name,
                                                  const char *type, const char *domain,
                                                  AvahiProtocol address_protocol,
                                                  AvahiLookupFlags flags,
                                                  AvahiServiceResolverCallback callback, void *arg);
    int (*service_resolver_free)(AvahiServiceResolver *resolver);
    AvahiEntryGroup *(*entry_group_new)(AvahiClient *client, AvahiEntryGroupCallback callback,
                                        void *arg);
    int (*entry_group_is_empty)(AvahiEntryGroup *group);
    int (*entry_group_reset)(AvahiEntryGroup *group);
    int (*entry_group_commit)(AvahiEntryGroup *group);
    int (*entry_group_add_service_strlst)(AvahiEntryGroup *group, AvahiIfIndex interface,
                                          AvahiProtocol protocol, AvahiPublishFlags flags,
                                          const char *name, const char *type, const char *domain,
                                          const char *host, uint16_t port, AvahiStringList *txt);
    AvahiStringList *(*string_list_new)(const char *text, ...);
    void (*string_list_free)(AvahiStringList *list);
    char *(*alternative_service_name)(const char *name);
    void (*free)(void *p);
    const char *(*strerror)(int error);
};

/* The library that DHOLE_AVAHI_LIBRARY names, or else the system's; it is opened once and stays so.
 * Any thread. DHOLE_ERR_UNSUPPORTED says what is missing and what to install. */
DHOLE__MUST_CHECK dhole_err dhole__avahi_get(const struct dhole__avahi **out);

/* DHOLE_ERR_UNSUPPORTED for one of Avahi's errors, with what to do about it. */
dhole_err dhole__avahi_fail(const struct dhole__avahi *avahi, int error);

#endif
