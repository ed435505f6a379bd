#include "cluster/own_addresses.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "transport/tcp/tcp.h"

static const char any4[] = "0.0.0.0:", any6[] = "[::]:";

static bool begins(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

bool dhole__is_wildcard(const char *address)
{
    return begins(address, any4) || begins(address, any6);
}

/* Addresses that mean the same on another machine: not loopback, and not fe80::/10, which needs the
 * name of an interface. */
static bool is_callable(const struct ifaddrs *entry, int family)
{
    const struct sockaddr *address = entry->ifa_addr;

    if (address == NULL || address->sa_family != family || !(entry->ifa_flags & IFF_UP) ||
        !(entry->ifa_flags & IFF_RUNNING) || (entry->ifa_flags & IFF_LOOPBACK))
        return false;
    return family == AF_INET ||
           !IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

static void format(const struct sockaddr *address, const char *port, char out[DHOLE_ADDRESS_SIZE])
{
    socklen_t length =
        address->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    struct dhole__address copy = {.length = length, .family = address->sa_family};
    char text[dhole__address_text_max];

    memcpy(&copy.addr, address, length);
    dhole__tcp_address_text(&copy, text);
    snprintf(out, DHOLE_ADDRESS_SIZE, "%.*s%s", (int)(strrchr(text, ':') - text), text, port);
}

dhole_err dhole__own_addresses(const char *listens, char (*out)[DHOLE_ADDRESS_SIZE], int most,
                               int *count)
{
    static const int families[] = {AF_INET, AF_INET6};
    const char *port = strrchr(listens, ':');
    struct ifaddrs *all;

    if (getifaddrs(&all) != 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot list this machine's addresses");
    *count = 0;
    for (int i = 0; i < 1 + begins(listens, any6); i++)
        for (const struct ifaddrs *entry = all; entry != NULL; entry = entry->ifa_next)
            if (*count < most && is_callable(entry, families[i]))
                format(entry->ifa_addr, port, out[(*count)++]);
    freeifaddrs(all);
    if (*count > 0)
        return DHOLE_OK;
    return dhole__fail(DHOLE_ERR_CONFIG,
                       "%s: this machine has no address that another one could call", listens);
}

void dhole__replace_wildcard(char address[static DHOLE_ADDRESS_SIZE], const char *seen)
{
    static const char mapped[] = "[::ffff:";
    const char *port = strrchr(address, ':'), *host = seen, *end = strrchr(seen, ':');
    char fixed[DHOLE_ADDRESS_SIZE];

    if (!dhole__is_wildcard(address) || end == NULL)
        return;
    if (begins(seen, mapped) && strchr(seen, '.') != NULL) {
        host = seen + sizeof mapped - 1;
        end -= 1; /* the bracket */
    }
    snprintf(fixed, sizeof fixed, "%.*s%s", (int)(end - host), host, port);
    memcpy(address, fixed, sizeof fixed);
}
