/* What tests say about the devices. */
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fabric.h"

#define EXPORT __attribute__((visibility("default")))

struct device devices[device_max];
int device_count;
static bool settled;

static const char *const qp_words[] = {"both", "rc", "uc", NULL};
static const char *const gid_words[] = {"rxe",  "mlx5",   "v4_at_1", "v4_at_2",
                                        "link", "global", "none",    NULL};
static const char *const port_words[] = {"", "down", "init", "armed", "active", NULL};
static const char *const pd_words[] = {"no", "yes", NULL};

struct key {
    const char *name;
    size_t offset;
    const char *const *words;
};

#define KEY(name, words)                              \
    {                                                 \
#name, offsetof(struct settings, name), words \
    }

static const struct key keys[] = {
    KEY(qp, qp_words),     KEY(qp_errno, NULL),   KEY(qp_max, NULL),      KEY(mr_max, NULL),
    KEY(qp_told, NULL),    KEY(mr_told, NULL),    KEY(wr_max, NULL),      KEY(sge_max, NULL),
    KEY(cqe_max, NULL),    KEY(inline_max, NULL), KEY(gids, gid_words),   KEY(port, port_words),
    KEY(pd, pd_words),     KEY(mtu, NULL),        KEY(msg_max, NULL),     KEY(msg_refuse, NULL),
    KEY(net, NULL),        KEY(host, NULL),       KEY(unreachable, NULL), KEY(gid_errno, NULL),
    KEY(gid_at, NULL),     KEY(seen, NULL),       KEY(unplugged, NULL),   KEY(quiet, NULL),
    KEY(drop, NULL),       KEY(drop_rate, NULL),  KEY(seed, NULL),        KEY(cut, NULL),
    KEY(cut_after, NULL),  KEY(twice, NULL),      KEY(fail_send, NULL),   KEY(fail_recv, NULL),
    KEY(fail_status, NULL)};

static const struct settings usual = {
    .qp_errno = 102,
    .qp_max = 256,
    .mr_max = 1024,
    .qp_told = -1,
    .mr_told = -1,
    .wr_max = 1024,
    .sge_max = 4,
    .cqe_max = 65536,
    .inline_max = 128,
    .port = IBV_PORT_ACTIVE,
    .pd = true,
    .mtu = 4096,
    .msg_max = 1 << 30,
    .msg_refuse = 1 << 30,
    .unreachable = ETIMEDOUT,
    .seen = true,
    .fail_status = IBV_WC_LOC_QP_OP_ERR,
};

static _Noreturn void refuse(const char *what, const char *word)
{
    fprintf(stderr, "fake verbs: %s \"%s\"\n", what, word);
    abort();
}

static int value_of(const struct key *key, const char *value)
{
    char *end;
    long number = strtol(value, &end, 10);

    for (int i = 0; key->words != NULL && key->words[i] != NULL; i++)
        if (strcmp(key->words[i], value) == 0)
            return i;
    if (key->words != NULL || *value == '\0' || *end != '\0')
        refuse(key->name, value);
    return (int)number;
}

static void set(struct device *device, const char *word)
{
    size_t length = strcspn(word, "=");

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const struct key *key = &keys[i];
        if (strlen(key->name) != length || strncmp(key->name, word, length) != 0)
            continue;
        if (word[length] == '=')
            *(int *)((char *)&device->settings + key->offset) = value_of(key, word + length + 1);
        if (strcmp(key->name, "seed") == 0)
            device->random = (unsigned long long)device->settings.seed;
        return;
    }
    refuse("no such setting", word);
}

static void set_all(struct device *device, const char *settings)
{
    char *copy = strdup(settings), *rest = copy, *word;

    while ((word = strtok_r(rest, " \n\t", &rest)) != NULL)
        set(device, word);
    free(copy);
}

static struct device *find(const char *name)
{
    for (int i = 0; i < device_count; i++)
        if (strcmp(devices[i].base.name, name) == 0)
            return &devices[i];
    return NULL;
}

static struct device *add(const char *name)
{
    struct device *device = &devices[device_count];

    if (device_count == device_max || strlen(name) >= sizeof device->base.name)
        refuse("no room for device", name);
    *device = (struct device){.number = device_count, .settings = usual};
    device->base.node_type = IBV_NODE_CA;
    device->base.transport_type = IBV_TRANSPORT_IB;
    snprintf(device->base.name, sizeof device->base.name, "%s", name);
    snprintf(device->base.dev_name, sizeof device->base.dev_name, "uverbs%d", device_count);
    device_count++;
    return device;
}

static void add_from(char *description)
{
    char *name = strtok_r(description, " \n\t", &description);

    if (name != NULL)
        set_all(add(name), description);
}

static void add_all(const char *text)
{
    char *copy = strdup(text), *rest = copy, *description;

    device_count = 0;
    while ((description = strtok_r(rest, ";", &rest)) != NULL)
        add_from(description);
    free(copy);
    settled = true;
}

void devices_settle(void)
{
    const char *text = getenv("DHOLE_FAKE_VERBS");

    if (!settled)
        add_all(text != NULL ? text : "fake0; fake1");
}

EXPORT void fake_load(void)
{
    Dl_info info;

    if (dladdr(devices, &info) == 0)
        refuse("no file of", "this library");
    setenv("DHOLE_VERBS_LIBRARY", info.dli_fname, 1);
}

EXPORT void fake_device(const char *name, const char *settings)
{
    struct device *device;

    pthread_mutex_lock(&fabric);
    devices_settle();
    device = find(name);
    if (strcmp(name, "*") != 0)
        set_all(device != NULL ? device : add(name), settings);
    else
        for (int i = 0; i < device_count; i++)
            set_all(&devices[i], settings);
    deliver();
    pthread_mutex_unlock(&fabric);
}

EXPORT void fake_devices(const char *text)
{
    pthread_mutex_lock(&fabric);
    for (int i = 0; i < device_count; i++)
        if (devices[i].counts.live > 0)
            refuse("still open", devices[i].base.name);
    add_all(text);
    pthread_mutex_unlock(&fabric);
}

EXPORT struct fake_counts fake_counts(const char *device)
{
    struct fake_counts counts;

    pthread_mutex_lock(&fabric);
    devices_settle();
    if (find(device) == NULL)
        refuse("no device", device);
    counts = find(device)->counts;
    pthread_mutex_unlock(&fabric);
    return counts;
}
