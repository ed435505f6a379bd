#include "transport/rdma/offer.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

enum { version = 1, RELIABLE = 1, BY_LID = 2 };

static const char magic[4] = "dhR";

/* name; flags, MTU, GIDs, a zero; LID, window, 16 bits each; longest message, 32 bits; the GIDs,
 * and their types. */
static void encode_device(const struct dhole__offered *device, uint8_t *out)
{
    memcpy(out, device->name, dhole__offer_name);
    out += dhole__offer_name;
    out[0] = (uint8_t)((device->shape.reliable ? RELIABLE : 0) | (device->by_lid ? BY_LID : 0));
    out[1] = device->mtu;
    out[2] = (uint8_t)device->gids;
    dhole__put16(out + 4, device->lid);
    dhole__put16(out + 6, device->shape.window);
    dhole__put32(out + 8, device->shape.message);
    out += 12;
    for (int i = 0; i < device->gids; i++, out += dhole__gid_bytes + 1) {
        memcpy(out, device->gid[i].bytes, dhole__gid_bytes);
        out[dhole__gid_bytes] = device->gid[i].type;
    }
}

void dhole__rdma_offer_encode(const struct dhole__rdma_offer *offer,
                              uint8_t out[static dhole__rdma_offer_size])
{
    memset(out, 0, dhole__rdma_offer_size);
    memcpy(out, magic, sizeof magic);
    dhole__put16(out + 4, version);
    dhole__put16(out + 6, (unsigned)offer->n);
    for (int i = 0; i < offer->n; i++)
        encode_device(&offer->device[i], out + 8 + i * dhole__offer_device);
}

/* It will be shown to people. */
static void decode_name(const uint8_t *in, char out[static dhole__offer_name])
{
    memcpy(out, in, dhole__offer_name);
    out[dhole__offer_name - 1] = '\0';
    for (char *c = out; *c != '\0'; c++)
        if (!isgraph((unsigned char)*c))
            *c = '?';
}

static bool is_sane(const struct dhole__offered *device)
{
    const struct dhole__rdma_shape *shape = &device->shape;

    return device->mtu >= IBV_MTU_256 && device->mtu <= IBV_MTU_4096 &&
           device->gids <= dhole__gids_max && shape->window >= dhole__window_least &&
           shape->window <= dhole__window_most && (shape->window & (shape->window - 1)) == 0 &&
           shape->message >= dhole__message_least && shape->message <= dhole__message_most;
}

static bool decode_device(const uint8_t *in, struct dhole__offered *out)
{
    decode_name(in, out->name);
    in += dhole__offer_name;
    out->shape.reliable = (in[0] & RELIABLE) != 0;
    out->by_lid = (in[0] & BY_LID) != 0;
    out->mtu = in[1];
    out->gids = in[2];
    out->lid = (uint16_t)dhole__get16(in + 4);
    out->shape.window = dhole__get16(in + 6);
    out->shape.message = dhole__get32(in + 8);
    if (!is_sane(out))
        return false;
    in += 12;
    for (int i = 0; i < out->gids; i++, in += dhole__gid_bytes + 1) {
        memcpy(out->gid[i].bytes, in, dhole__gid_bytes);
        out->gid[i].type = in[dhole__gid_bytes] & 3;
    }
    return true;
}

dhole_err dhole__rdma_offer_decode(const uint8_t in[static dhole__rdma_offer_size],
                                   struct dhole__rdma_offer *out)
{
    struct dhole__rdma_offer offer = {.n = (int)dhole__get16(in + 6)};

    if (memcmp(in, magic, sizeof magic) != 0 || dhole__get16(in + 4) != version)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "the peer does not speak of RDMA devices");
    if (offer.n < 1 || offer.n > dhole__rdma_devices_max)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "the peer offers %d RDMA devices, expected 1 to %d",
                           offer.n, dhole__rdma_devices_max);
    for (int i = 0; i < offer.n; i++)
        if (!decode_device(in + 8 + i * dhole__offer_device, &offer.device[i]))
            return dhole__fail(DHOLE_ERR_PROTOCOL,
                               "what the peer says of its RDMA device %d is "
                               "impossible",
                               i);
    *out = offer;
    return DHOLE_OK;
}

struct list {
    struct dhole__attempt *out;
    int n;
};

/* Behind those that cost as much or less. */
static void insert(struct list *list, const struct dhole__attempt *attempt)
{
    int at = list->n;

    while (at > 0 && list->out[at - 1].cost > attempt->cost)
        at--;
    if (at == dhole__attempts_max)
        return;
    if (list->n == dhole__attempts_max)
        list->n--;
    memmove(&list->out[at + 1], &list->out[at], (size_t)(list->n - at) * sizeof *attempt);
    list->out[at] = *attempt;
    list->n++;
}

static void insert_pair(struct list *list, const struct dhole__offered *a,
                        const struct dhole__offered *b, int i, int j)
{
    struct dhole__attempt attempt = {.device = {i, j}, .gid = {-1, -1}};
    int distance = abs(i - j); /* of two that seem equal, cables are mostly laid in order */

    if (a->by_lid != b->by_lid)
        return;
    if (a->by_lid) {
        attempt.cost = distance;
        insert(list, &attempt);
        return;
    }
    for (attempt.gid[0] = 0; attempt.gid[0] < a->gids; attempt.gid[0]++)
        for (attempt.gid[1] = 0; attempt.gid[1] < b->gids; attempt.gid[1]++) {
            int cost = dhole__gid_pair_cost(&a->gid[attempt.gid[0]], &b->gid[attempt.gid[1]]);
            attempt.cost = cost * dhole__rdma_devices_max + distance;
            if (cost >= 0)
                insert(list, &attempt);
        }
}

int dhole__attempts_list(const struct dhole__rdma_offer *side0,
                         const struct dhole__rdma_offer *side1,
                         struct dhole__attempt out[static dhole__attempts_max])
{
    struct list list = {out, 0};

    for (int i = 0; i < side0->n; i++)
        for (int j = 0; j < side1->n; j++)
            insert_pair(&list, &side0->device[i], &side1->device[j], i, j);
    return list.n;
}

struct dhole__rdma_shape dhole__shape_common(const struct dhole__rdma_shape *a,
                                             const struct dhole__rdma_shape *b)
{
    return (struct dhole__rdma_shape){
        .message = a->message < b->message ? a->message : b->message,
        .window = a->window < b->window ? a->window : b->window,
        .reliable = a->reliable && b->reliable,
    };
}
