/* The tables of addresses that have been seen. */
#include <arpa/inet.h>
#include <string.h>

#include "fabric.h"

enum kind { EMPTY, LINK_LOCAL, MAPPED, WIDE };

struct row {
    enum kind kind;
    enum ibv_gid_type type;
};

static const struct row tables[][gid_max] = {
    [RXE] = {{LINK_LOCAL, IBV_GID_TYPE_ROCE_V2}, {MAPPED, IBV_GID_TYPE_ROCE_V2}},
    [MLX5] = {{LINK_LOCAL, IBV_GID_TYPE_ROCE_V1},
              {LINK_LOCAL, IBV_GID_TYPE_ROCE_V2},
              {MAPPED, IBV_GID_TYPE_ROCE_V1},
              {MAPPED, IBV_GID_TYPE_ROCE_V2}},
    [V4_AT_1] = {{LINK_LOCAL, IBV_GID_TYPE_ROCE_V2}, {MAPPED, IBV_GID_TYPE_ROCE_V2}},
    [V4_AT_2] = {{LINK_LOCAL, IBV_GID_TYPE_ROCE_V2},
                 {EMPTY, IBV_GID_TYPE_IB},
                 {MAPPED, IBV_GID_TYPE_ROCE_V2}},
    [LINK] = {{LINK_LOCAL, IBV_GID_TYPE_ROCE_V2}},
    [GLOBAL] = {{LINK_LOCAL, IBV_GID_TYPE_ROCE_V2}, {WIDE, IBV_GID_TYPE_ROCE_V2}},
    [NONE] = {{EMPTY, IBV_GID_TYPE_IB}},
};

int gid_table_length(const struct device *device)
{
    return device->settings.gids == NONE ? 0 : gid_max;
}

int host_of(const struct device *device)
{
    return device->settings.host > 0 ? device->settings.host : device->number + 1;
}

static union ibv_gid make(const struct device *device, enum kind kind)
{
    uint8_t net = (uint8_t)device->settings.net, host = (uint8_t)host_of(device);
    union ibv_gid gid = {.raw = {0}};

    switch (kind) {
    case EMPTY: break;
    case LINK_LOCAL:
        memcpy(gid.raw, (uint8_t[16]){0xfe, 0x80, [11] = 0xff, 0xfe, 0, 0, host}, 16);
        break;
    case MAPPED: memcpy(gid.raw, (uint8_t[16]){[10] = 0xff, 0xff, 10, 9, net, host}, 16); break;
    case WIDE: memcpy(gid.raw, (uint8_t[16]){0xfd, 0, [7] = net, [15] = host}, 16); break;
    }
    return gid;
}

struct gid gid_at(const struct device *device, int index)
{
    struct row row = {EMPTY, IBV_GID_TYPE_IB};

    if (index >= 0 && index < gid_table_length(device))
        row = tables[device->settings.gids][index];
    return (struct gid){make(device, row.kind), row.type};
}

static enum kind kind_of(const union ibv_gid *gid)
{
    static const uint8_t mapped[12] = {[10] = 0xff, 0xff}, empty[16];

    if (memcmp(gid->raw, empty, 16) == 0)
        return EMPTY;
    if (memcmp(gid->raw, mapped, 12) == 0)
        return MAPPED;
    return gid->raw[0] == 0xfe && gid->raw[1] == 0x80 ? LINK_LOCAL : WIDE;
}

bool gids_alike(const union ibv_gid *a, const union ibv_gid *b)
{
    return kind_of(a) == kind_of(b) && kind_of(a) != EMPTY;
}

struct device *device_with(const union ibv_gid *gid)
{
    for (int i = 0; i < device_count; i++)
        for (int index = 0; index < gid_table_length(&devices[i]); index++) {
            struct gid own = gid_at(&devices[i], index);
            if (memcmp(own.gid.raw, gid->raw, 16) == 0)
                return &devices[i];
        }
    return NULL;
}
