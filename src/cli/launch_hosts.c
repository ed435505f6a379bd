#include "cli/launch_hosts.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json.h"
#include "base/sys.h"

/* What goes into a shell's or ssh's arguments, or into an address, is checked here once. */
static bool is_plain(const char *text)
{
    if (*text == '\0' || *text == '-')
        return false;
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++)
        if (*p <= ' ' || *p == 0x7f || strchr("'\"\\`$&;|<>(){}*?!#", *p) != NULL)
            return false;
    return true;
}

static const char *without_user(const char *name)
{
    const char *at = strrchr(name, '@');

    return at != NULL ? at + 1 : name;
}

/* A numeric address is this machine's if one can bind to it. */
static bool is_own_address(const char *text)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM}, *found;
    bool own = false;
    int fd;

    if (getaddrinfo(text, NULL, &hints, &found) != 0)
        return false;
    fd = dhole__sys.socket(found->ai_family, SOCK_STREAM, 0);
    if (fd >= 0) {
        own = dhole__sys.bind(fd, found->ai_addr, found->ai_addrlen) == 0;
        close(fd);
    }
    freeaddrinfo(found);
    return own;
}

/* With a user's name in front it is for ssh, whatever it names. */
static bool is_local(const char *name)
{
    char own[256] = "";

    if (strcmp(name, "localhost") == 0)
        return true;
    if (gethostname(own, sizeof own - 1) == 0 && strcmp(name, own) == 0)
        return true;
    return is_own_address(name);
}

static dhole_err fail_entry(const char *what, size_t i, const char *expected)
{
    return dhole__fail(DHOLE_ERR_CONFIG, "%s: hosts[%zu]: expected %s", what, i, expected);
}

static bool are_ips(const json_t *ips)
{
    size_t i;
    const json_t *ip;

    if (!json_is_array(ips) || json_array_size(ips) > dhole__rank_max)
        return false;
    json_array_foreach(ips, i, ip) if (!json_is_string(ip) ||
                                       !is_plain(json_string_value(ip))) return false;
    return true;
}

static bool are_devices(const json_t *rdma)
{
    size_t i, k;
    const json_t *entry, *device;

    if (!json_is_array(rdma))
        return false;
    json_array_foreach(rdma, i, entry)
    {
        if (!json_is_null(entry) && !json_is_string(entry) && !json_is_array(entry))
            return false;
        if (json_is_array(entry))
            json_array_foreach(entry, k, device) if (!json_is_string(device)) return false;
    }
    return true;
}

static dhole_err read_host(const json_t *entry, const char *what, size_t i,
                           struct dhole__launch_host *out)
{
    const json_t *ips = json_object_get(entry, "ips"), *rdma = json_object_get(entry, "rdma");
    const char *name = json_string_value(json_object_get(entry, "ssh"));

    if (!json_is_object(entry) || name == NULL)
        return fail_entry(what, i, "an object with \"ssh\", the name of a host");
    if (!is_plain(name) || *without_user(name) == '\0')
        return fail_entry(what, i, "\"ssh\" to be the name of a host, as ssh takes it");
    if (ips != NULL && !are_ips(ips))
        return fail_entry(what, i, "\"ips\" to be a list of addresses");
    if (rdma != NULL && !are_devices(rdma))
        return fail_entry(what, i,
                          "\"rdma\" to be a list with null, a name or names of devices "
                          "for each rank");
    *out = (struct dhole__launch_host){.name = name,
                                       .address = without_user(name),
                                       .local = is_local(name),
                                       .ips = ips,
                                       .rdma = rdma};
    return DHOLE_OK;
}

static dhole_err read_hosts(const json_t *list, const char *what, int repeat,
                            struct dhole__launch_hosts *out)
{
    size_t n = json_array_size(list);

    if (!json_is_array(list) || n == 0)
        return dhole__fail(DHOLE_ERR_CONFIG, "%s: expected a list of hosts", what);
    if (n > (size_t)(dhole__rank_max / repeat))
        return dhole__fail(DHOLE_ERR_CONFIG, "%s: %zu hosts with %d ranks each: at most %d ranks",
                           what, n, repeat, dhole__rank_max);
    out->all_local = true;
    for (size_t i = 0; i < n; i++) {
        struct dhole__launch_host host = {0};
        dhole_err err = read_host(json_array_get(list, i), what, i, &host);
        if (err)
            return err;
        for (int k = 0; k < repeat; k++)
            out->rank[out->count++] = host;
        out->all_local = out->all_local && host.local;
    }
    return DHOLE_OK;
}

/* What is beside the hosts in a file that is an object. */
static dhole_err read_settings(const json_t *root, const char *what,
                               struct dhole__launch_hosts *out)
{
    const json_t *backend = json_object_get(root, "backend"), *env;
    size_t i;

    out->envs = json_object_get(root, "envs");
    out->backend = json_string_value(backend);
    if (backend != NULL && (out->backend == NULL ||
                            (*out->backend != '\0' && !dhole__launch_is_backend(out->backend))))
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "%s: \"backend\": expected one of " DHOLE__LAUNCH_BACKENDS, what);
    if (out->backend != NULL && *out->backend == '\0')
        out->backend = NULL;
    if (out->envs != NULL && !json_is_array(out->envs))
        return dhole__fail(DHOLE_ERR_CONFIG, "%s: \"envs\": expected a list", what);
    json_array_foreach(
        out->envs, i,
        env) if (!json_is_string(env) ||
                 !dhole__launch_is_variable(json_string_value(
                     env))) return dhole__fail(DHOLE_ERR_CONFIG,
                                               "%s: envs[%zu]: expected \"NAME=VALUE\"", what, i);
    return DHOLE_OK;
}

/* The hosts of the command line in the form of a file: a list of {"ssh": name}. */
static dhole_err list_hosts(const char *names, json_t **out)
{
    json_t *list = json_array();

    for (const char *p = names;; p++) {
        size_t n = strcspn(p, ",");
        if (json_array_append_new(list, json_pack("{s:s%}", "ssh", p, n)) != 0) {
            json_decref(list);
            return dhole__fail(DHOLE_ERR_CONFIG, "--hosts \"%s\": expected names in UTF-8", names);
        }
        p += n;
        if (*p == '\0')
            break;
    }
    *out = list;
    return DHOLE_OK;
}

dhole_err dhole__launch_hosts_read(const struct dhole__launch_options *options,
                                   struct dhole__launch_hosts *out)
{
    const char *what = options->hostfile != NULL ? options->hostfile : "--hosts";
    const char *names = options->hosts != NULL ? options->hosts : "localhost";
    int repeat = options->repeat > 0 ? (int)options->repeat : 1;
    const json_t *list;
    dhole_err err;

    *out = (struct dhole__launch_hosts){0};
    if (options->hostfile != NULL)
        err = dhole__json_load(options->hostfile, &out->root);
    else
        err = list_hosts(names, &out->root);
    if (err)
        return err;
    list = out->root;
    if (json_is_object(out->root)) {
        list = json_object_get(out->root, "hosts");
        err = read_settings(out->root, what, out);
    }
    if (err == DHOLE_OK)
        err = read_hosts(list, what, repeat, out);
    if (err)
        dhole__launch_hosts_free(out);
    return err;
}

void dhole__launch_hosts_free(struct dhole__launch_hosts *hosts)
{
    json_decref(hosts->root);
    *hosts = (struct dhole__launch_hosts){0};
}
