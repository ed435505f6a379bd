#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cli/doctor.h"
#include "transport/rdma/probe.h"

enum { subject_max = 80 };

/* The first IPv4 address of a network interface; "" when it has none. */
static void ipv4_of(const char *interface, char text[static INET_ADDRSTRLEN])
{
    struct ifaddrs *all = NULL;

    text[0] = '\0';
    if (getifaddrs(&all) != 0)
        return;
    for (const struct ifaddrs *a = all; a != NULL; a = a->ifa_next)
        if (text[0] == '\0' && a->ifa_addr != NULL && a->ifa_addr->sa_family == AF_INET &&
            strcmp(a->ifa_name, interface) == 0)
            inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)a->ifa_addr)->sin_addr,
                      text, INET_ADDRSTRLEN);
    freeifaddrs(all);
}

static bool is_ipv4(const struct dhole__probe_gid *gid)
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};

    return memcmp(gid->bytes, prefix, sizeof prefix) == 0;
}

/* Whether an entry of a matrix, "device" or "device:port", names it. */
static bool is_named(const json_t *wanted, const char *device)
{
    const char *name = json_string_value(wanted);
    size_t length = strlen(device);

    return strncmp(name, device, length) == 0 && (name[length] == '\0' || name[length] == ':');
}

/* How bad it is that a device cannot be used. Of several, those that no matrix names may well be
 * without a cable. */
static enum dhole__severity without_device(const struct dhole__doctor *d, const char *device)
{
    for (size_t i = 0; i < json_array_size(d->wanted); i++)
        if (is_named(json_array_get(d->wanted, i), device))
            return dhole__doctor_without_rdma(d);
    return DHOLE__FINDING_NOTE;
}

static void interface_of(const struct dhole__probe_device *device,
                         const struct dhole__probe_port *port,
                         char name[static dhole__doctor_interface_max])
{
    snprintf(name, dhole__doctor_interface_max, "%s", port->interface);
    if (name[0] == '\0')
        dhole__doctor_guess_interface(device->name, name);
}

static void examine_gids(struct dhole__doctor *d, const struct dhole__probe_port *port,
                         const char *subject, const char *interface)
{
    char text[INET6_ADDRSTRLEN], mend[dhole__doctor_mend_max], ipv4[INET_ADDRSTRLEN];
    const struct dhole__probe_gid *first = &port->gid[0];

    if (port->gids == 0)
        return; /* opening the device has told */
    inet_ntop(AF_INET6, first->bytes, text, sizeof text);
    dhole__doctor_say(d, DHOLE__FINDING_OK, "gid", subject, NULL,
                      "%s%s%s, index %d, is tried first, of %d", first->type,
                      first->type[0] != '\0' ? " " : "", text, first->index, port->gids);
    if (is_ipv4(first) || strcmp(port->link, "InfiniBand") == 0)
        return;
    ipv4_of(interface, ipv4);
    if (ipv4[0] != '\0') {
        dhole__doctor_say(
            d, DHOLE__FINDING_NOTE, "gid", subject,
            "set the interface down and up again, so that the device sees its address",
            "no GID stands for %s's IPv4 address %s: others are used", interface, ipv4);
        return;
    }
    dhole__doctor_mend(DHOLE__MEND_ADDRESS, interface, mend);
    dhole__doctor_say(d, DHOLE__FINDING_NOTE, "gid", subject, mend,
                      "%s has no IPv4 address: other GIDs are used",
                      *interface != '\0' ? interface : "the interface");
}

static json_t *describe_gids(const struct dhole__probe_port *port)
{
    json_t *gids = json_array();

    for (int i = 0; i < port->gids; i++) {
        char text[INET6_ADDRSTRLEN];
        inet_ntop(AF_INET6, port->gid[i].bytes, text, sizeof text);
        json_array_append_new(gids, json_pack("{s:i, s:s, s:s}", "index", port->gid[i].index, "gid",
                                              text, "type", port->gid[i].type));
    }
    return gids;
}

static json_t *examine_port(struct dhole__doctor *d, const struct dhole__probe_device *device,
                            const struct dhole__probe_port *port)
{
    char subject[subject_max], interface[dhole__doctor_interface_max];
    char mend[dhole__doctor_mend_max];

    interface_of(device, port, interface);
    snprintf(subject, sizeof subject, "%s:%d", device->name, port->number);
    if (port->active) {
        dhole__doctor_say(d, DHOLE__FINDING_OK, "port", subject, NULL,
                          "%s, %s%s%s, MTU %d, messages of up to %u bytes", port->state, port->link,
                          *interface != '\0' ? " " : "", interface, port->mtu,
                          (unsigned)port->message_max);
        examine_gids(d, port, subject, interface);
    } else {
        dhole__doctor_mend(DHOLE__MEND_PORT, interface, mend);
        dhole__doctor_say(d, DHOLE__FINDING_NOTE, "port", subject, mend, "the port is %s",
                          port->state);
    }
    return json_pack("{s:i, s:s, s:s, s:b, s:s, s:i, s:I, s:o}", "port", port->number, "interface",
                     interface, "state", port->state, "active", port->active, "link", port->link,
                     "mtu", port->mtu, "message_bytes", (json_int_t)port->message_max, "gids",
                     describe_gids(port));
}

static void mend_device(const struct dhole__probe_device *device, char *mend)
{
    snprintf(mend, dhole__doctor_mend_max, "docs/rdma.md, \"What the errors mean\"");
    for (int i = 0; i < device->ports; i++) {
        const struct dhole__probe_port *port = &device->port[i];
        char interface[dhole__doctor_interface_max];
        interface_of(device, port, interface);
        if (!port->active)
            dhole__doctor_mend(DHOLE__MEND_PORT, interface, mend);
        else if (port->gids == 0)
            dhole__doctor_mend(DHOLE__MEND_ADDRESS, interface, mend);
    }
}

static void examine_use(struct dhole__doctor *d, const struct dhole__probe_device *device)
{
    if (device->why[0] != '\0') {
        char mend[dhole__doctor_mend_max];
        mend_device(device, mend);
        dhole__doctor_say(d, without_device(d, device->name), "device", device->name, mend, "%s",
                          device->why);
    } else {
        dhole__doctor_say(d, DHOLE__FINDING_OK, "device", device->name, NULL,
                          "%s; %d queue pairs, of which a group takes one for each peer, and %d "
                          "regions, of which it takes one",
                          device->reliable ? "RC" : "UC only", device->queue_pairs,
                          device->regions);
    }
}

static void examine_device(struct dhole__doctor *d, const struct dhole__probe_device *device)
{
    bool usable = device->why[0] == '\0';
    const char *kind = !usable ? NULL : device->reliable ? "RC" : "UC";
    json_t *ports = json_array();

    examine_use(d, device);
    for (int i = 0; i < device->ports; i++)
        json_array_append_new(ports, examine_port(d, device, &device->port[i]));
    json_array_append_new(
        d->devices, json_pack("{s:o, s:b, s:s?, s:i, s:i, s:I, s:o}", "name",
                              dhole__doctor_string(device->name), "usable", usable, "kind", kind,
                              "queue_pairs", device->queue_pairs, "regions", device->regions,
                              "region_bytes", (json_int_t)device->region_max, "ports", ports));
}

/* Each device that a matrix names is there. */
static void check_wanted(struct dhole__doctor *d, const struct dhole__probe_device *devices, int n)
{
    for (size_t i = 0; i < json_array_size(d->wanted); i++) {
        const json_t *wanted = json_array_get(d->wanted, i);
        int k = 0;
        while (k < n && !is_named(wanted, devices[k].name))
            k++;
        if (k == n)
            dhole__doctor_say(d, dhole__doctor_without_rdma(d), "device", json_string_value(wanted),
                              "ibv_devices lists those that there are",
                              "the device matrix names it, and this machine has none of that name");
    }
}

void dhole__doctor_rdma(struct dhole__doctor *d)
{
    struct dhole__probe_device *devices = NULL;
    int count = 0, usable = 0;
    dhole_err err = dhole__rdma_probe(&devices, &count);

    if (err) {
        char mend[dhole__doctor_mend_max];
        dhole__doctor_mend(DHOLE__MEND_LIBRARY, "", mend);
        dhole__doctor_say_error(d, dhole__doctor_without_rdma(d), "library", NULL, mend);
    }
    for (int i = 0; i < count; i++) {
        examine_device(d, &devices[i]);
        usable += devices[i].why[0] == '\0';
    }
    if (err == DHOLE_OK)
        check_wanted(d, devices, count);
    dhole__doctor_system(d, err ? -1 : count);
    if (count > 0 && usable == 0)
        dhole__doctor_say(d, dhole__doctor_without_rdma(d), "device", NULL,
                          "what is said of each device above", "no RDMA device can be used");
    free(devices);
}
