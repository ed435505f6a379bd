#include "group/regroup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sys.h"
#include "group/hello.h"
#include "group/settings.h"

/* Where this rank listened when it joined. */
static dhole_err own_address(const dhole_group *parent, int rail, struct dhole__address *out)
{
    const struct dhole__settings *settings = parent->settings;

    if (rail > 0 || settings->bound_count == 0)
        return dhole__tcp_resolve_rail(settings->options.hosts[parent->rank], rail, out);
    *out = settings->bound[0];
    return DHOLE_OK;
}

/* An address that a rank has twice, for two connections, it has twice again. */
static bool repeats(struct dhole__door *door, const struct dhole__address *address, int rail)
{
    for (int i = 0; i < rail; i++) {
        if (address[i].length == address[rail].length &&
            memcmp(&address[i].addr, &address[rail].addr, address[rail].length) == 0) {
            door->port[rail] = door->port[i];
            return true;
        }
    }
    return false;
}

/* Its first address may be several, on networks of which each other rank knows one. */
static dhole_err open_rail(const dhole_group *parent, struct dhole__address address, int rail,
                           struct dhole__door *door)
{
    const struct dhole__settings *settings = parent->settings;
    struct dhole__address all[dhole__rails_max] = {address};
    int count = 1, fds[dhole__rails_max];

    for (int i = 1; rail == 0 && i < settings->bound_count; i++)
        all[count++] = settings->bound[i];
    dhole__tcp_set_port(&all[0], 0);
    if (dhole__tcp_listen_all(all, count, fds) < 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "rank %d cannot listen for another group",
                                 parent->rank);
    door->fd[rail] = fds[0];
    for (int i = 1; i < count; i++)
        door->fd[door->count + door->others++] = fds[i];
    if (getsockname(fds[0], (struct sockaddr *)&all[0].addr, &all[0].length) < 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "getsockname");
    door->port[rail] = (uint16_t)dhole__tcp_port(&all[0]);
    return DHOLE_OK;
}

dhole_err dhole__door_open(const dhole_group *parent, struct dhole__door *out)
{
    const dhole_options *options = &parent->settings->options;
    struct dhole__address address[dhole__rails_max];
    dhole_err err = DHOLE_OK;

    *out = (struct dhole__door){.count = 0};
    if (parent->size > 1 && parent->backend->has_addresses)
        out->count = dhole__tcp_rails(options->hosts[parent->rank]);
    for (int rail = 0; rail < dhole__rails_max; rail++)
        out->fd[rail] = -1;
    for (int rail = 0; rail < out->count && !err; rail++) {
        err = own_address(parent, rail, &address[rail]);
        if (!err && !repeats(out, address, rail))
            err = open_rail(parent, address[rail], rail, out);
    }
    if (err)
        dhole__door_close(out);
    return err;
}

void dhole__door_close(struct dhole__door *door)
{
    for (int i = 0; i < door->count + door->others; i++)
        if (door->fd[i] >= 0)
            close(door->fd[i]);
    door->count = door->others = 0;
}

static uint64_t hash(uint64_t seed, const void *data, size_t size)
{
    const uint8_t *byte = data;

    for (size_t i = 0; i < size; i++)
        seed = (seed ^ byte[i]) * 0x100000001b3u; /* FNV-1a */
    return seed;
}

uint32_t dhole__regroup_nonce(const dhole_group *parent)
{
    struct {
        int64_t now;
        uintptr_t group;
        int64_t process;
    } mix = {dhole__now(), (uintptr_t)parent, getpid()};

    return (uint32_t)(hash(0xcbf29ce484222325u, &mix, sizeof mix) >> 16);
}

/* A name of many generations is cut to a digest of it. */
static void make_session(const char *parent, const char *name,
                         char out[static dhole__session_max + 1])
{
    char digest[17];

    if (strlen(parent) + strlen(name) > dhole__session_max) {
        snprintf(digest, sizeof digest, "%016llx",
                 (unsigned long long)hash(0xcbf29ce484222325u, parent, strlen(parent)));
        parent = digest;
    }
    strcpy(out, parent);
    strcat(out, name);
}

/* The addresses of a member, as this rank knows them, with other ports. */
static dhole_err make_host(const char *parent, const struct dhole__member *member, char **out)
{
    size_t room = strlen(parent) + (size_t)member->port_count * sizeof ":65535," + 1, used = 0;
    char *host = dhole__sys.malloc(room);

    if (host == NULL)
        return dhole__fail_nomem(room, "an address");
    for (int rail = 0; rail < member->port_count; rail++) {
        int length = (int)strcspn(parent, ","), address = length;
        while (address > 0 && parent[address] != ':')
            address--;
        used += (size_t)snprintf(host + used, room - used, "%s%.*s:%d", rail > 0 ? "," : "",
                                 address, parent, member->port[rail]);
        parent += length + (parent[length] == ',');
    }
    *out = host;
    return DHOLE_OK;
}

/* What this rank knows of each member. */
struct choice {
    char *host[dhole__rank_max]; /* NULL: there is none, or it could not be made */
    const char *devices[dhole__rank_max];
    dhole_pin pin[dhole__rank_max];
};

static dhole_err choose(const dhole_options *parent, bool has_addresses,
                        const struct dhole__member *member, int size, struct choice *choice)
{
    dhole_err err = DHOLE_OK;

    for (int i = 0; i < size && !err; i++) {
        if (has_addresses)
            err = make_host(parent->hosts[member[i].rank], &member[i], &choice->host[i]);
        if (parent->devices != NULL)
            choice->devices[i] = parent->devices[member[i].rank];
        if (parent->pins != NULL)
            choice->pin[i] = parent->pins[member[i].rank];
    }
    return err;
}

dhole_err dhole__regroup(const dhole_group *parent, const struct dhole__member *member, int size,
                         int rank, const char *name, struct dhole__door *door, int cancel_fd,
                         dhole__deadline deadline, dhole_group **out)
{
    const dhole_options *old = &parent->settings->options;
    bool has_addresses = size > 1 && parent->backend->has_addresses;
    char session[dhole__session_max + 1];
    struct choice choice = {.host = {NULL}};
    dhole_options options = *old;
    dhole_err err;

    make_session(old->session, name, session);
    options.rank = rank;
    options.size = size;
    options.session = session;
    options.hosts = has_addresses ? (const char *const *)choice.host : NULL;
    options.devices = old->devices != NULL ? choice.devices : NULL;
    options.pins = old->pins != NULL ? choice.pin : NULL;
    options.listen_fd = door->count > 0 ? door->fd[0] : -1;
    options.cancel_fd = cancel_fd;
    options.connect_timeout_ms = dhole__deadline_ms(deadline);
    err = choose(old, has_addresses, member, size, &choice);
    if (err == DHOLE_OK)
        err = dhole__group_open(parent->backend, &options, door->count > 0 ? door->fd + 1 : NULL,
                                out);
    if (err == DHOLE_OK)
        (*out)->settings->options.connect_timeout_ms = old->connect_timeout_ms;
    for (int i = 0; i < size && err == DHOLE_OK; i++)
        (*out)->origin[i] = parent->origin[member[i].rank];
    for (int i = 0; i < size; i++)
        free(choice.host[i]);
    return err;
}
