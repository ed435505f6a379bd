#include "cli/launch_addresses.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/lookup.h"
#include "base/sys.h"

/* Where free ports are looked for: below the ranges that Linux and macOS give to outgoing
 * connections, so that none is lost between looking and listening. */
enum { first_free = 12000, end_free = 32000, port_max = 65535 };

enum { look_up_ms = 10000 };

static bool resolves(const char *name)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;

    if (dhole__lookup(name, "0", &hints, dhole__deadline_in(look_up_ms), -1, &found) != DHOLE_OK)
        return false;
    freeaddrinfo(found);
    return true;
}

/* The IPs or names of rank r: *count of them, of which the i-th is ip_of(). */
static dhole_err count_ips(const struct dhole__launch_hosts *hosts, int r, size_t *count)
{
    const struct dhole__launch_host *host = &hosts->rank[r];

    *count = host->ips != NULL ? json_array_size(host->ips) : 0;
    if (*count > 0)
        return DHOLE_OK;
    *count = 1;
    if (hosts->all_local)
        return DHOLE_OK;
    if (strcmp(host->name, "localhost") == 0 || strncmp(host->name, "127.", 4) == 0 ||
        strcmp(host->name, "::1") == 0)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "rank %d: other hosts do not reach \"%s\": give it \"ips\" in a host "
                           "file, or its address in --hosts",
                           r, host->name);
    if (!resolves(host->address))
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "rank %d: \"%s\" has no \"ips\", and is no name that has an address: "
                           "give it \"ips\" in a host file",
                           r, host->name);
    return DHOLE_OK;
}

static const char *ip_of(const struct dhole__launch_hosts *hosts, int r, size_t i)
{
    const struct dhole__launch_host *host = &hosts->rank[r];

    if (host->ips != NULL && json_array_size(host->ips) > 0)
        return json_string_value(json_array_get(host->ips, i));
    if (hosts->all_local && strcmp(host->name, "::1") != 0)
        return "127.0.0.1";
    return host->address;
}

dhole_err dhole__launch_meeting_ip(const struct dhole__launch_hosts *hosts, const char **out)
{
    size_t count;
    dhole_err err = count_ips(hosts, 0, &count);

    if (err == DHOLE_OK)
        *out = ip_of(hosts, 0, 0);
    return err;
}

/* Whether a rank of this machine can listen there, as an errno. */
static int try_listen(const char *ip, int port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    char service[16];
    int fd, on = 1, fault = EADDRNOTAVAIL;

    snprintf(service, sizeof service, "%d", port);
    if (getaddrinfo(ip, service, &hints, &found) != 0)
        return fault;
    fd = dhole__sys.socket(found->ai_family, SOCK_STREAM, 0);
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        fault = dhole__sys.bind(fd, found->ai_addr, found->ai_addrlen) == 0 &&
                        dhole__sys.listen(fd, 1) == 0
                    ? 0
                    : errno;
        close(fd);
    }
    freeaddrinfo(found);
    return fault;
}

/* Calls visit for each address of each rank, until one fails. */
typedef dhole_err visitor(void *arg, int r, const char *ip, int port);

static dhole_err for_each(const struct dhole__launch_hosts *hosts, int connections, int port,
                          visitor *visit, void *arg)
{
    for (int r = 0; r < hosts->count; r++) {
        size_t count;
        dhole_err err = count_ips(hosts, r, &count);
        for (size_t i = 0; i < count && err == DHOLE_OK; i++)
            for (int c = 0; c < connections && err == DHOLE_OK; c++, port++)
                if (port <= port_max)
                    err = visit(arg, r, ip_of(hosts, r, i), port);
                else
                    err = dhole__fail(DHOLE_ERR_CONFIG,
                                      "rank %d: no port is left after %d: choose a lower "
                                      "--starting-port",
                                      r, port_max);
        if (err)
            return err;
    }
    return DHOLE_OK;
}

static dhole_err check_free(void *arg, int r, const char *ip, int port)
{
    const struct dhole__launch_hosts *hosts = arg;
    int fault = hosts->rank[r].local ? try_listen(ip, port) : 0;

    if (fault == 0)
        return DHOLE_OK;
    errno = fault;
    return dhole__fail_errno(
        DHOLE_ERR_CONFIG,
        fault == EADDRNOTAVAIL
            ? "rank %d: %s is no address of this machine (port %d)"
            : "rank %d: cannot listen on %s, port %d: choose another --starting-port",
        r, ip, port);
}

static dhole_err add_address(void *arg, int r, const char *ip, int port)
{
    json_t *ranks = arg, *list = json_array_get(ranks, (size_t)r);
    const char *form = strchr(ip, ':') != NULL ? "[%s]:%d" : "%s:%d";

    if (list == NULL && json_array_append_new(ranks, list = json_array()) != 0)
        return dhole__fail_nomem(sizeof(void *), "a list of addresses");
    if (json_array_append_new(list, json_sprintf(form, ip, port)) != 0)
        return dhole__fail_nomem(sizeof(void *), "an address");
    return DHOLE_OK;
}

/* A first port from which on all are free, here. */
static dhole_err find_free(const struct dhole__launch_hosts *hosts, int connections, int *port)
{
    unsigned seed = (unsigned)getpid() ^ (unsigned)dhole__now();
    int tries = 100;
    dhole_err err;

    do {
        *port = first_free + rand_r(&seed) % (end_free - first_free);
        err = for_each(hosts, connections, *port, check_free, (void *)hosts);
    } while (err && --tries > 0);
    return err;
}

dhole_err dhole__launch_addresses(const struct dhole__launch_hosts *hosts,
                                  const struct dhole__launch_options *options, json_t **out)
{
    int connections = options->connections > 0 ? (int)options->connections : 1;
    int port = dhole__launch_default_port;
    json_t *ranks;
    dhole_err err;

    if (options->starting_port > 0)
        port = (int)options->starting_port;
    if (options->starting_port == 0 && hosts->all_local)
        err = find_free(hosts, connections, &port);
    else
        err = for_each(hosts, connections, port, check_free, (void *)hosts);
    if (err)
        return err;
    ranks = json_array();
    err = for_each(hosts, connections, port, add_address, ranks);
    if (err)
        json_decref(ranks);
    else
        *out = ranks;
    return err;
}
