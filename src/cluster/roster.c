#include "cluster/roster.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "cluster/trust.h"
#include "transport/tcp/tcp.h"

/* A machine and its address as bytes that compare as the numbers do. */
struct place {
    uint8_t key[1 + 16 + 2];
    dhole_trusted who;
};

static dhole_err locate(const dhole_trusted *who, struct place *out)
{
    struct dhole__address address;
    dhole_err err = dhole__tcp_resolve(who->address, &address);

    if (err)
        return err;
    memset(out->key, 0, sizeof out->key);
    if (address.family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address.addr;
        memcpy(out->key + 1, &v4->sin_addr, 4);
        memcpy(out->key + 17, &v4->sin_port, 2);
    } else {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address.addr;
        out->key[0] = 1;
        memcpy(out->key + 1, &v6->sin6_addr, 16);
        memcpy(out->key + 17, &v6->sin6_port, 2);
    }
    out->who = *who;
    return DHOLE_OK;
}

static int compare(const void *left, const void *right)
{
    const struct place *a = left, *b = right;
    int order = memcmp(a->key, b->key, sizeof a->key);

    return order != 0 ? order : memcmp(&a->who.pin, &b->who.pin, sizeof a->who.pin);
}

dhole_err dhole__roster_order(dhole_trusted *who, int count)
{
    struct place place[dhole__rank_max];
    dhole_err err = DHOLE_OK;

    for (int i = 0; i < count && !err; i++)
        err = locate(&who[i], &place[i]);
    if (err)
        return err;
    qsort(place, (size_t)count, sizeof place[0], compare);
    for (int i = 0; i < count; i++)
        who[i] = place[i].who;
    return DHOLE_OK;
}

json_t *dhole__roster_encode(const struct dhole__roster *roster, int rank)
{
    json_t *ranks = json_array();

    for (int i = 0; i < roster->size; i++) {
        char key[DHOLE_FINGERPRINT_SIZE];
        dhole_fingerprint(&roster->who[i].pin, key);
        json_array_append_new(ranks, json_pack("{s:s, s:s, s:s, s:o}", "name", roster->who[i].name,
                                               "address", roster->who[i].address, "key", key,
                                               "others", dhole__places_encode(roster->others[i])));
    }
    if (json_array_size(ranks) != (size_t)roster->size) {
        json_decref(ranks);
        return NULL;
    }
    return json_pack("{s:s, s:I, s:i, s:o}", "session", roster->session, "epoch",
                     (json_int_t)roster->epoch, "rank", rank, "ranks", ranks);
}

static dhole_err decode_rank(const json_t *json, struct dhole__roster *out, int rank)
{
    dhole_trusted *who = &out->who[rank];
    const char *name, *address, *key;
    dhole_err err = dhole__json_string(json, "name", &name);

    if (!err)
        err = dhole__json_string(json, "address", &address);
    if (!err)
        err = dhole__json_string(json, "key", &key);
    if (!err)
        err = dhole__check_name(name);
    if (!err)
        err = dhole__check_address(address);
    if (!err)
        err = dhole_fingerprint_parse(key, &who->pin);
    if (err)
        return err;
    if (*address == '\0')
        return dhole__fail(DHOLE_ERR_PROTOCOL, "rank %d has no address", rank);
    err = dhole__places_decode(json_object_get(json, "others"), out->others[rank]);
    if (err)
        return err;
    strcpy(who->name, name);
    strcpy(who->address, address);
    for (int other = 0; other < rank; other++)
        if (strcmp(out->who[other].name, name) == 0 ||
            memcmp(&out->who[other].pin, &who->pin, sizeof who->pin) == 0)
            return dhole__fail(DHOLE_ERR_PROTOCOL, "ranks %d and %d have the same name or key",
                               other, rank);
    return DHOLE_OK;
}

static dhole_err decode(const json_t *json, struct dhole__roster *out)
{
    const json_t *ranks = json_object_get(json, "ranks");
    size_t size = json_array_size(ranks);
    const char *session;
    long long epoch, rank;
    dhole_err err = dhole__json_string(json, "session", &session);

    if (err)
        return err;
    if (strlen(session) != dhole__session_id_size - 1 ||
        strspn(session, "0123456789abcdef") != dhole__session_id_size - 1)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "\"session\" must be 32 hexadecimal digits");
    if (size < 1 || size > dhole__rank_max)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "it lists %zu ranks: expected 1 to %d", size,
                           dhole__rank_max);
    err = dhole__json_int(json, "epoch", 1, INT64_MAX, &epoch);
    if (!err)
        err = dhole__json_int(json, "rank", 0, (long long)size - 1, &rank);
    if (err)
        return err;
    strcpy(out->session, session);
    out->epoch = (uint64_t)epoch;
    out->rank = (int)rank;
    out->size = (int)size;
    for (int i = 0; i < out->size && !err; i++)
        err = decode_rank(json_array_get(ranks, (size_t)i), out, i);
    return err;
}

dhole_err dhole__roster_decode(const void *text, size_t length, struct dhole__roster *out)
{
    struct dhole__roster *roster = dhole__sys.calloc(1, sizeof *roster);
    json_t *json = NULL;
    dhole_err err;

    if (roster == NULL)
        return dhole__fail_nomem(sizeof *roster, "a roster");
    err = dhole__json_parse(text, length, "JSON", &json);
    if (!err)
        err = decode(json, roster);
    if (!err)
        *out = *roster;
    json_decref(json);
    free(roster);
    return err == DHOLE_OK || err == DHOLE_ERR_NOMEM
               ? err
               : dhole__fail_in(DHOLE_ERR_PROTOCOL, "a malformed roster");
}
