#include "transport/rdma/gid.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { table_max = 256 };

/* In the order of preference. */
enum scope { IPV4, GLOBAL, LINK_LOCAL, UNUSABLE };

static enum scope scope_of(const uint8_t bytes[static dhole__gid_bytes])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    static const uint8_t zero[dhole__gid_bytes];

    if (memcmp(bytes, mapped, sizeof mapped) == 0)
        return memcmp(bytes + 12, zero, 4) == 0 ? UNUSABLE : IPV4;
    if (memcmp(bytes, zero, sizeof zero) == 0 || bytes[0] == 0xff)
        return UNUSABLE;
    return bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80 ? LINK_LOCAL : GLOBAL;
}

static int preference(const struct dhole__gid *gid)
{
    return (gid->type == DHOLE__GID_ROCE_V1) * UNUSABLE + (int)scope_of(gid->bytes);
}

/* Adds it behind those that are preferred or equal, unless it is of no use or there is no room. */
static int add(struct dhole__gid *list, int n, const struct dhole__gid *gid)
{
    int at = n;

    if (scope_of(gid->bytes) == UNUSABLE)
        return n;
    while (at > 0 && preference(&list[at - 1]) > preference(gid))
        at--;
    if (at == dhole__gids_max)
        return n;
    if (n == dhole__gids_max)
        n--;
    memmove(&list[at + 1], &list[at], (size_t)(n - at) * sizeof *list);
    list[at] = *gid;
    return n + 1;
}

static uint8_t type_of(const struct ibv_gid_entry *entry)
{
    switch (entry->gid_type) {
    case IBV_GID_TYPE_IB: return DHOLE__GID_IB;
    case IBV_GID_TYPE_ROCE_V1: return DHOLE__GID_ROCE_V1;
    case IBV_GID_TYPE_ROCE_V2: return DHOLE__GID_ROCE_V2;
    default: return DHOLE__GID_UNTOLD;
    }
}

/* With types; negative where the system does not tell. */
static int read_table(const struct dhole__verbs *verbs, struct ibv_context *context, uint8_t port,
                      struct dhole__gid *out)
{
    struct ibv_gid_entry table[table_max];
    ssize_t entries = -1;
    int n = 0;

    if (verbs->query_gid_table != NULL)
        entries = verbs->query_gid_table(context, table, table_max, 0, sizeof table[0]);
    for (ssize_t i = 0; i < entries; i++) {
        struct dhole__gid gid = {.type = type_of(&table[i]), .index = (uint16_t)table[i].gid_index};
        memcpy(gid.bytes, table[i].gid.raw, sizeof gid.bytes);
        if (table[i].port_num == port && table[i].gid_index < table_max)
            n = add(out, n, &gid);
    }
    return entries < 0 ? -1 : n;
}

int dhole__gids_read(const struct dhole__verbs *verbs, struct ibv_context *context, uint8_t port,
                     int length, struct dhole__gid out[static dhole__gids_max])
{
    int n = read_table(verbs, context, port, out);

    if (n >= 0)
        return n;
    n = 0;
    for (int i = 0; i < length && i < table_max; i++) {
        struct dhole__gid gid = {.type = DHOLE__GID_UNTOLD, .index = (uint16_t)i};
        union ibv_gid raw;
        if (verbs->query_gid(context, port, i, &raw) != 0)
            continue;
        memcpy(gid.bytes, raw.raw, sizeof gid.bytes);
        n = add(out, n, &gid);
    }
    return n;
}

static int bits_in_common(const uint8_t *a, const uint8_t *b)
{
    int bits = 0;

    while (bits < 8 * dhole__gid_bytes && ((a[bits / 8] ^ b[bits / 8]) >> (7 - bits % 8) & 1) == 0)
        bits++;
    return bits;
}

/* Two ports of one network mostly have addresses that begin alike, so those are tried first. */
int dhole__gid_pair_cost(const struct dhole__gid *a, const struct dhole__gid *b)
{
    bool told = a->type != DHOLE__GID_UNTOLD && b->type != DHOLE__GID_UNTOLD;
    int preferred = preference(a) > preference(b) ? preference(a) : preference(b);

    if (scope_of(a->bytes) != scope_of(b->bytes) || scope_of(a->bytes) == UNUSABLE ||
        (told && a->type != b->type))
        return -1;
    return preferred * 256 + 8 * dhole__gid_bytes - bits_in_common(a->bytes, b->bytes);
}

void dhole__gid_text(const struct dhole__gid *gid, char out[static dhole__gid_text_max])
{
    static const char *const types[] = {"", ", InfiniBand", ", RoCE v1", ", RoCE v2"};
    char address[INET6_ADDRSTRLEN] = "?";

    inet_ntop(AF_INET6, gid->bytes, address, sizeof address);
    snprintf(out, dhole__gid_text_max, "GID %u (%s%s)", gid->index, address, types[gid->type & 3]);
}
