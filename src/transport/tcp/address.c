#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/lookup.h"
#include "transport/tcp/tcp.h"

enum { host_max = 256, host_text_max = 80, look_up_ms = 10000 };

/* Splits "host:port" or "[v6]:port"; NULL when it is neither. */
static const char *split(const char *text, char host[static host_max])
{
    bool bracket = text[0] == '[';
    const char *start = text + bracket;
    const char *end = bracket ? strchr(start, ']') : strrchr(start, ':');
    const char *port = end == NULL ? NULL : end + bracket;
    char *rest;

    if (port == NULL || *port != ':' || end == start || (size_t)(end - start) >= host_max)
        return NULL;
    if (!bracket && memchr(start, ':', (size_t)(end - start)) != NULL)
        return NULL; /* an IPv6 address needs its brackets */
    port++;
    if (*port < '0' || *port > '9' || strtoul(port, &rest, 10) > 65535 || *rest != '\0')
        return NULL;
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    return port;
}

bool dhole__tcp_is_address(const char *text)
{
    char host[host_max];

    return split(text, host) != NULL;
}

static dhole_err resolve_one(const char *text, dhole__deadline deadline, int cancel_fd,
                             struct dhole__address *out)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found;
    char host[host_max];
    const char *port = split(text, host);
    dhole_err err;

    if (port == NULL)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "\"%s\" is not an address: expected host:port or [ipv6]:port", text);
    err = dhole__lookup(host, port, &hints, deadline, cancel_fd, &found);
    if (err)
        return dhole__fail_in(err, "cannot resolve \"%s\"", text);
    *out = (struct dhole__address){.length = found->ai_addrlen, .family = found->ai_family};
    memcpy(&out->addr, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return DHOLE_OK;
}

int dhole__tcp_rails(const char *text)
{
    int n = 1;

    for (; *text != '\0'; text++)
        n += *text == ',';
    return n;
}

const char *dhole__tcp_rail(const char *text, int rail, size_t *length)
{
    while (rail-- > 0)
        text = strchr(text, ',') + 1;
    *length = strcspn(text, ",");
    return text;
}

dhole_err dhole__tcp_resolve_rail_by(const char *text, int rail, dhole__deadline deadline,
                                     int cancel_fd, struct dhole__address *out)
{
    char one[host_max + sizeof "[]:65535"];
    size_t length;

    text = dhole__tcp_rail(text, rail, &length);
    if (length >= sizeof one)
        return dhole__fail(DHOLE_ERR_CONFIG, "\"%.40s...\" is too long for an address", text);
    memcpy(one, text, length);
    one[length] = '\0';
    return resolve_one(one, deadline, cancel_fd, out);
}

dhole_err dhole__tcp_resolve_rail(const char *text, int rail, struct dhole__address *out)
{
    return dhole__tcp_resolve_rail_by(text, rail, dhole__deadline_in(look_up_ms), -1, out);
}

dhole_err dhole__tcp_resolve(const char *text, struct dhole__address *out)
{
    return dhole__tcp_resolve_rail(text, 0, out);
}

int dhole__tcp_port(const struct dhole__address *address)
{
    if (address->family == AF_INET)
        return ntohs(((const struct sockaddr_in *)&address->addr)->sin_port);
    return ntohs(((const struct sockaddr_in6 *)&address->addr)->sin6_port);
}

void dhole__tcp_set_port(struct dhole__address *address, int port)
{
    if (address->family == AF_INET)
        ((struct sockaddr_in *)&address->addr)->sin_port = htons((uint16_t)port);
    else
        ((struct sockaddr_in6 *)&address->addr)->sin6_port = htons((uint16_t)port);
}

static bool is_loopback_v4(const uint8_t *address)
{
    return address[0] == 127;
}

bool dhole__tcp_is_loopback(const struct dhole__address *address)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address->addr;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address->addr;

    if (address->family == AF_INET)
        return is_loopback_v4((const uint8_t *)&v4->sin_addr);
    if (address->family != AF_INET6)
        return false;
    if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
        return is_loopback_v4(v6->sin6_addr.s6_addr + 12);
    return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

void dhole__tcp_address_text(const struct dhole__address *address,
                             char out[static dhole__address_text_max])
{
    char host[host_text_max], port[8];

    if (getnameinfo((const struct sockaddr *)&address->addr, address->length, host, sizeof host,
                    port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        snprintf(out, dhole__address_text_max, "?");
    else
        snprintf(out, dhole__address_text_max, strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s",
                 host, port);
}

void dhole__tcp_own_text(int fd, char out[static dhole__address_text_max])
{
    struct dhole__address address = {.length = sizeof address.addr};

    if (getsockname(fd, (struct sockaddr *)&address.addr, &address.length) < 0)
        address.length = 0;
    dhole__tcp_address_text(&address, out);
}

void dhole__tcp_peer_text(int fd, char out[static dhole__address_text_max])
{
    struct dhole__address address = {.length = sizeof address.addr};

    if (getpeername(fd, (struct sockaddr *)&address.addr, &address.length) < 0)
        address.length = 0;
    dhole__tcp_address_text(&address, out);
}
