#include "cluster/where.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static size_t host_length(const char *address)
{
    const char *colon = strrchr(address, ':');

    return colon != NULL ? (size_t)(colon - address) : strlen(address);
}

const char *dhole__where_port(const char *address)
{
    const char *colon = strrchr(address, ':');

    return colon != NULL ? colon + 1 : "";
}

void dhole__where_with_port(const char *address, const char *port, char out[DHOLE_ADDRESS_SIZE])
{
    char host[DHOLE_ADDRESS_SIZE];

    snprintf(host, sizeof host, "%.*s", (int)host_length(address), address);
    snprintf(out, DHOLE_ADDRESS_SIZE, "%.240s:%.5s", host, port);
}

bool dhole__where_same_host(const char *a, const char *b)
{
    size_t length = host_length(a);

    return length == host_length(b) && memcmp(a, b, length) == 0;
}

bool dhole__where_is_wild(const char *address)
{
    return dhole__where_same_host(address, "0.0.0.0:") || dhole__where_same_host(address, "[::]:");
}

bool dhole__where_is_numeric(const char *address)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    bool bracket = address[0] == '[';
    char host[DHOLE_ADDRESS_SIZE];
    size_t length = host_length(address);
    struct addrinfo *found;

    if (length >= sizeof host || (bracket && (length < 2 || address[length - 1] != ']')))
        return false;
    snprintf(host, sizeof host, "%.*s", (int)(length - 2 * bracket), address + bracket);
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return false;
    freeaddrinfo(found);
    return true;
}

/* Of fe80::/10. */
static bool is_link_local(const char *address)
{
    return strncasecmp(address, "[fe", 3) == 0 && address[3] != '\0' &&
           strchr("89abAB", address[3]) != NULL;
}

void dhole__where_localise(char *address, size_t size, const char *own)
{
    size_t host = strcspn(address, "%]"), before = strcspn(own, "%]");
    int scope = is_link_local(own) ? (int)strcspn(own + before, "]") : 0;
    const char *rest = strchr(address, ']');
    char out[DHOLE_ADDRESS_SIZE];
    int length;

    if (!is_link_local(address) || rest == NULL)
        return;
    length = snprintf(out, sizeof out, "%.*s%.*s%s", (int)host, address, scope, own + before, rest);
    if (length > 0 && (size_t)length < sizeof out && (size_t)length < size)
        memcpy(address, out, (size_t)length + 1);
}
