#include "cluster/discovery.h"

#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cluster/trust.h"

static const char *const keys[dhole__txt_keys] = {
    [dhole__txt_version] = "version=",
    [dhole__txt_fingerprint] = "fingerprint=",
    [dhole__txt_name] = "name=",
};

/* Of what the port speaks. */
static const char version[] = "1";

dhole_err dhole__txt_make(const char *name, int port, const dhole_pin *pin, struct dhole__txt *out)
{
    char fingerprint[DHOLE_FINGERPRINT_SIZE];
    const char *values[dhole__txt_keys] = {version, fingerprint, name};
    dhole_err err = dhole__check_name(name);

    if (err)
        return err;
    if (port < 1 || port > 65535)
        return dhole__fail(DHOLE_ERR_INVALID, "cannot announce port %d: expected 1 to 65535", port);
    dhole_fingerprint(pin, fingerprint);
    for (int key = 0; key < dhole__txt_keys; key++)
        snprintf(out->item[key], dhole__txt_max, "%s%s", keys[key], values[key]);
    return DHOLE_OK;
}

/* The key that the string begins with, in any case, as RFC 6763 has it; or dhole__txt_keys. */
static int key_of(const char *item, size_t size)
{
    int key;

    for (key = 0; key < dhole__txt_keys; key++) {
        size_t length = strlen(keys[key]);
        if (size >= length && strncasecmp(item, keys[key], length) == 0)
            break;
    }
    return key;
}

void dhole__claim_item(struct dhole__claim *claim, const void *item, size_t size)
{
    int key = key_of(item, size);
    char value[dhole__txt_max];
    size_t start, length;
    bool good;

    if (key == dhole__txt_keys)
        return;
    start = strlen(keys[key]);
    length = size - start;
    if (length >= sizeof value || memchr((const char *)item + start, '\0', length) != NULL ||
        claim->shown & 1U << key) {
        claim->bad = true;
        return;
    }
    memcpy(value, (const char *)item + start, length);
    value[length] = '\0';
    claim->shown |= 1U << key;
    if (key == dhole__txt_version)
        good = strcmp(value, version) == 0;
    else if (key == dhole__txt_fingerprint)
        good = dhole_fingerprint_parse(value, &claim->pin) == DHOLE_OK;
    else if ((good = dhole__check_name(value) == DHOLE_OK))
        memcpy(claim->name, value, length + 1);
    claim->bad |= !good;
}

bool dhole__claim_is_whole(const struct dhole__claim *claim)
{
    return !claim->bad && claim->shown == (1U << dhole__txt_keys) - 1;
}

static int worth_v4(const struct sockaddr_in *address)
{
    uint32_t host = ntohl(address->sin_addr.s_addr);

    if (host >> 24 == 0 || host >> 24 == 127 || host >= 0xe0000000)
        return 0;
    return host >> 16 == 0xa9fe ? 1 : 4;
}

static int worth_v6(const struct sockaddr_in6 *address)
{
    const struct in6_addr *host = &address->sin6_addr;

    if (IN6_IS_ADDR_UNSPECIFIED(host) || IN6_IS_ADDR_LOOPBACK(host) ||
        IN6_IS_ADDR_MULTICAST(host) || IN6_IS_ADDR_V4MAPPED(host))
        return 0;
    if (IN6_IS_ADDR_LINKLOCAL(host))
        return address->sin6_scope_id != 0 ? 2 : 0;
    return 3;
}

/* 0: nobody else can have it. */
static int worth_of(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return worth_v4((const struct sockaddr_in *)(const void *)address);
    if (address->sa_family == AF_INET6)
        return worth_v6((const struct sockaddr_in6 *)(const void *)address);
    return 0;
}

static bool write_address(const struct sockaddr *address, char out[static DHOLE_ADDRESS_SIZE])
{
    bool v6 = address->sa_family == AF_INET6;
    char host[INET6_ADDRSTRLEN + 1 + IF_NAMESIZE], port[sizeof "65535"];

    if (getnameinfo(address, v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in), host,
                    sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0 ||
        strcmp(port, "0") == 0)
        return false;
    snprintf(out, DHOLE_ADDRESS_SIZE, v6 ? "[%s]:%s" : "%s:%s", host, port);
    return true;
}

/* The same service that says the same; or a free place, or NULL. */
static struct dhole__sighting *place_of(struct dhole__sightings *sightings, const char *service,
                                        const struct dhole__claim *claim)
{
    for (int i = 0; i < sightings->count; i++) {
        struct dhole__sighting *s = &sightings->seen[i];
        if (strcmp(s->service, service) == 0 && strcmp(s->machine.name, claim->name) == 0 &&
            memcmp(&s->machine.pin, &claim->pin, sizeof claim->pin) == 0)
            return s;
    }
    if (sightings->count == dhole__sightings_max) {
        sightings->more = true;
        return NULL;
    }
    return &sightings->seen[sightings->count];
}

void dhole__sightings_add(struct dhole__sightings *sightings, const char *service,
                          const struct dhole__claim *claim, const struct sockaddr *address)
{
    struct dhole__sighting *s;
    char text[DHOLE_ADDRESS_SIZE];
    int worth = worth_of(address);

    if (!dhole__claim_is_whole(claim) || worth == 0 || strlen(service) >= sizeof s->service ||
        !write_address(address, text))
        return;
    s = place_of(sightings, service, claim);
    if (s == NULL)
        return;
    if (s == &sightings->seen[sightings->count]) {
        sightings->count++;
        *s = (struct dhole__sighting){.machine.pin = claim->pin};
        memcpy(s->service, service, strlen(service));
        memcpy(s->machine.name, claim->name, sizeof claim->name);
    }
    if (worth > s->worth) {
        s->worth = worth;
        memcpy(s->machine.address, text, sizeof text);
    }
}

void dhole__sightings_report(const struct dhole__sightings *sightings,
                             void (*found)(void *arg, const dhole_found *machine), void *arg)
{
    if (sightings->more)
        dhole__log(DHOLE__LOG_WARN, "discovery: more than %d machines say that they are there",
                   dhole__sightings_max);
    for (int i = 0; i < sightings->count; i++)
        found(arg, &sightings->seen[i].machine);
}
