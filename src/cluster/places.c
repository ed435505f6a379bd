#include "cluster/places.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "cluster/trust.h"
#include "cluster/where.h"
#include "transport/tcp/tcp.h"

void dhole__places_add(char *places, size_t size, const char *address)
{
    size_t used = strlen(places), length = strlen(address), one;
    int count = used > 0 ? dhole__tcp_rails(places) : 0;

    for (int i = 0; i < count; i++) {
        const char *at = dhole__tcp_rail(places, i, &one);
        if (one == length && memcmp(at, address, length) == 0)
            return;
    }
    if (count < dhole__places_max && used + 1 + length < size)
        snprintf(places + used, size - used, "%s%s", used > 0 ? "," : "", address);
}

json_t *dhole__places_encode(const char *places)
{
    json_t *list = json_array();
    int count = *places != '\0' ? dhole__tcp_rails(places) : 0;

    for (int i = 0; i < count; i++) {
        size_t length;
        const char *at = dhole__tcp_rail(places, i, &length);
        json_array_append_new(list, json_stringn(at, length));
    }
    if (json_array_size(list) == (size_t)count)
        return list;
    json_decref(list);
    return NULL;
}

dhole_err dhole__places_decode(const json_t *list, char out[static dhole__places_size])
{
    char places[dhole__places_size] = "";
    const json_t *item;
    size_t i;

    if (list != NULL && (!json_is_array(list) || json_array_size(list) > dhole__places_max))
        return dhole__fail(DHOLE_ERR_PROTOCOL, "\"others\" must be a list of at most %d addresses",
                           dhole__places_max);
    json_array_foreach(list, i, item)
    {
        const char *address = json_string_value(item);
        if (address == NULL || dhole__check_address(address) != DHOLE_OK ||
            !dhole__where_is_numeric(address))
            return dhole__fail(DHOLE_ERR_PROTOCOL,
                               "\"others\" has an item %zu that is no address in digits", i);
        dhole__places_add(places, sizeof places, address);
    }
    memcpy(out, places, sizeof places);
    return DHOLE_OK;
}

/* ---- Which one to try first ---- */

static bool same_bits(const void *a, const void *b, const void *mask, size_t size)
{
    const uint8_t *x = a, *y = b, *m = mask;

    for (size_t i = 0; i < size; i++)
        if ((x[i] & m[i]) != (y[i] & m[i]))
            return false;
    return true;
}

static bool is_on(const struct ifaddrs *entry, const struct dhole__address *address)
{
    const struct sockaddr *own = entry->ifa_addr, *mask = entry->ifa_netmask;

    if (own == NULL || mask == NULL || own->sa_family != address->family ||
        !(entry->ifa_flags & IFF_UP) || (entry->ifa_flags & IFF_LOOPBACK))
        return false;
    if (own->sa_family == AF_INET)
        return same_bits(&((const struct sockaddr_in *)(const void *)own)->sin_addr,
                         &((const struct sockaddr_in *)&address->addr)->sin_addr,
                         &((const struct sockaddr_in *)(const void *)mask)->sin_addr, 4);
    return own->sa_family == AF_INET6 &&
           same_bits(&((const struct sockaddr_in6 *)(const void *)own)->sin6_addr,
                     &((const struct sockaddr_in6 *)&address->addr)->sin6_addr,
                     &((const struct sockaddr_in6 *)(const void *)mask)->sin6_addr, 16);
}

static bool is_near(const struct ifaddrs *all, const struct dhole__address *address)
{
    for (const struct ifaddrs *entry = all; entry != NULL; entry = entry->ifa_next)
        if (is_on(entry, address))
            return true;
    return false;
}

static int worth_of(const struct ifaddrs *all, const char *place, bool own_is_loopback)
{
    struct dhole__address address;

    if (!dhole__where_is_numeric(place) || dhole__tcp_resolve(place, &address) != DHOLE_OK)
        return 1;
    if (dhole__tcp_is_loopback(&address))
        return own_is_loopback ? 3 : 0;
    return is_near(all, &address) ? 2 : 1;
}

static bool is_loopback(const char *own)
{
    struct dhole__address address;

    return dhole__where_is_numeric(own) && dhole__tcp_resolve(own, &address) == DHOLE_OK &&
           dhole__tcp_is_loopback(&address);
}

void dhole__places_order(char *places, const char *own)
{
    char sorted[dhole__dial_size] = "";
    int count = dhole__tcp_rails(places);
    bool local = is_loopback(own);
    struct ifaddrs *all;

    if (getifaddrs(&all) != 0)
        all = NULL; /* then their own order must do */
    for (int worth = 3; worth >= 0; worth--)
        for (int i = 0; i < count; i++) {
            char place[DHOLE_ADDRESS_SIZE];
            size_t length;
            const char *at = dhole__tcp_rail(places, i, &length);
            snprintf(place, sizeof place, "%.*s", (int)length, at);
            if (worth_of(all, place, local) == worth)
                dhole__places_add(sorted, sizeof sorted, place);
        }
    freeifaddrs(all);
    strcpy(places, sorted);
}
