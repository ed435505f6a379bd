#include <stdio.h>
#include <string.h>

#include <openssl/rand.h>

#include "base/hex.h"
#include "base/sys.h"
#include "cluster/host_name.h"
#include "cluster/session.h"
#include "cluster/trust.h"
#include "seal/ossl.h"

enum { default_ping_ms = 1400, default_reconnect_ms = 10000 };

static dhole_err check_options(const dhole_cluster_options *o, bool listens)
{
    const char *name = o->name;

    if (o->identity == NULL || o->trust == NULL)
        return dhole__fail(DHOLE_ERR_INVALID, "a session needs an identity and a trust list");
    if (name != NULL && dhole__check_name(name) != DHOLE_OK)
        return DHOLE_ERR_INVALID;
    if (o->address == NULL && (listens || o->find == NULL))
        return dhole__fail(DHOLE_ERR_INVALID, "a session needs the coordinator's address");
    if (o->address != NULL && strlen(o->address) >= DHOLE_ADDRESS_SIZE)
        return dhole__fail(DHOLE_ERR_INVALID, "an address may have %d bytes, it has %zu",
                           DHOLE_ADDRESS_SIZE - 1, strlen(o->address));
    if (o->own_address != NULL && dhole__check_address(o->own_address) != DHOLE_OK)
        return DHOLE_ERR_INVALID;
    if (listens && (o->count < 0 || o->count >= dhole__rank_max))
        return dhole__fail(DHOLE_ERR_INVALID, "a session of %d other ranks: expected 0 to %d",
                           o->count, dhole__rank_max - 1);
    if (o->session != NULL && strlen(o->session) > dhole__session_name_max)
        return dhole__fail(DHOLE_ERR_INVALID,
                           "a session's name may have %d bytes, \"%.64s\" has "
                           "%zu",
                           dhole__session_name_max, o->session, strlen(o->session));
    if (o->devices != NULL && dhole__devices_check_list(o->devices) != DHOLE_OK)
        return dhole__fail_in(DHOLE_ERR_INVALID, "RDMA devices \"%.64s\"", o->devices);
    if (o->ping_ms < 0 || o->reconnect_ms < 0 || o->join_timeout_ms < 0)
        return dhole__fail(DHOLE_ERR_INVALID, "times must be positive");
    return DHOLE_OK;
}

static dhole_err copy_trust(dhole_cluster *s, const dhole_trust *trust)
{
    s->trusted_count = dhole_trust_count(trust);
    s->trusted = dhole__sys.calloc(s->trusted_count + 1, sizeof *s->trusted);
    if (s->trusted == NULL)
        return dhole__fail_nomem(s->trusted_count * sizeof *s->trusted, "a trust list");
    for (size_t i = 0; i < s->trusted_count; i++)
        s->trusted[i] = *dhole_trust_at(trust, i);
    return DHOLE_OK;
}

static const dhole_trusted *find_name(const dhole_cluster *s, const char *name)
{
    for (size_t i = 0; i < s->trusted_count; i++)
        if (strcmp(s->trusted[i].name, name) == 0)
            return &s->trusted[i];
    return NULL;
}

static dhole_err choose_members(dhole_cluster *s, const dhole_cluster_options *o)
{
    s->has_members = s->ordered = o->members != NULL;
    for (int i = 0; o->members != NULL && i < o->count; i++) {
        const dhole_trusted *who = find_name(s, o->members[i]);
        if (who == NULL)
            return dhole__fail(DHOLE_ERR_AUTH, "%s is not trusted: see `dhole trust list`",
                               o->members[i]);
        if (memcmp(&who->pin, &s->pin, sizeof s->pin) == 0)
            return dhole__fail(DHOLE_ERR_INVALID, "%s is this machine itself, rank 0", who->name);
        for (int rank = 1; rank <= i; rank++)
            if (strcmp(s->member[rank].who.name, who->name) == 0)
                return dhole__fail(DHOLE_ERR_INVALID, "%s is named twice", who->name);
        s->member[i + 1].who = *who;
    }
    return DHOLE_OK;
}

static dhole_err make_session_id(char out[dhole__session_id_size])
{
    uint8_t bytes[16];

    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return dhole__fail_ossl(DHOLE_ERR_SYSTEM, "cannot make a session's number");
    dhole__hex_write(bytes, sizeof bytes, out);
    return DHOLE_OK;
}

static dhole_err prepare_coordinator(dhole_cluster *s, const dhole_cluster_options *o)
{
    dhole_err err = choose_members(s, o);

    s->size = o->count + 1;
    s->is_coordinator = true;
    strcpy(s->member[0].who.name, s->name);
    s->member[0].who.pin = s->pin;
    return err ? err : make_session_id(s->roster.session);
}

static dhole_err prepare_joined(dhole_cluster *s, const dhole_cluster_options *o)
{
    s->size = s->rank = 1; /* until the roster says */
    strcpy(s->member[0].who.name, "coordinator");
    if (o->coordinator == NULL)
        return DHOLE_OK;
    s->coordinator = find_name(s, o->coordinator);
    return s->coordinator != NULL
               ? DHOLE_OK
               : dhole__fail(DHOLE_ERR_AUTH, "%s is not trusted: see `dhole trust list`",
                             o->coordinator);
}

dhole_err dhole__session_prepare(dhole_cluster *s, const dhole_cluster_options *o, bool listens)
{
    dhole_err err = check_options(o, listens);

    if (!err)
        err = copy_trust(s, o->trust);
    if (err)
        return err;
    s->identity = o->identity;
    dhole_identity_pin(o->identity, &s->pin);
    if (o->name != NULL)
        strcpy(s->name, o->name);
    else
        dhole__host_name(s->name);
    if (o->address != NULL)
        strcpy(s->address, o->address);
    if (o->own_address != NULL)
        strcpy(s->own_address, o->own_address);
    if (o->devices != NULL)
        strcpy(s->devices, o->devices);
    snprintf(s->session, sizeof s->session, "session %s", o->session != NULL ? o->session : "");
    s->find = o->find;
    s->find_arg = o->find_arg;
    if (dhole__meeting_path(s->address) != NULL) {
        s->find = dhole__meeting_read;
        s->find_arg = (void *)dhole__meeting_path(s->address);
    }
    s->ping_ns = (o->ping_ms > 0 ? o->ping_ms : default_ping_ms) * 1000000;
    s->reconnect_ms = o->reconnect_ms > 0 ? o->reconnect_ms : default_reconnect_ms;
    s->cancel_fd = o->cancel_fd;
    s->group_pipe = -1;
    strcpy(s->over, "not all ranks have joined yet");
    return listens ? prepare_coordinator(s, o) : prepare_joined(s, o);
}
