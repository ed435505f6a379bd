#include <fcntl.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/os.h"
#include "base/pipe.h"
#include "base/sys.h"
#include "cluster/host_name.h"
#include "cluster/own_addresses.h"
#include "cluster/pairing_maker.h"
#include "cluster/trust.h"
#include "seal/ossl.h"
#include "transport/io.h"

enum {
    guest_ms = 5000, /* to say its message */
    valid_max_s = 7 * 24 * 3600
};

static int any_key(void *arg, const dhole_pin *pin)
{
    (void)arg, (void)pin;
    return 1;
}

static dhole_err listen_at(struct dhole_pairing *pairing, const char *address)
{
    dhole_link_options options = DHOLE_LINK_OPTIONS_INIT;

    if (dhole__check_address(address) != DHOLE_OK)
        return dhole__fail_in(DHOLE_ERR_CONFIG, "where to listen");
    options.identity = pairing->identity;
    options.trusts = any_key;
    options.session = DHOLE__PAIRING_SESSION;
    options.message_max = dhole__pairing_max;
    options.timeout_ms = guest_ms;
    options.cancel_fd = pairing->stop[0];
    return dhole_link_listen(&options, address, &pairing->listener);
}

static dhole_err make_token(struct dhole_pairing *pairing, int64_t valid_s)
{
    const char *address = dhole_link_listener_address(pairing->listener);
    struct dhole__token *token = &pairing->token;
    dhole_err err = DHOLE_OK;

    dhole_identity_pin(pairing->identity, &token->pin);
    token->expiry = (int64_t)time(NULL) + valid_s;
    pairing->deadline = dhole__deadline_in(valid_s * 1000);
    if (RAND_priv_bytes(token->secret, sizeof token->secret) != 1)
        return dhole__fail_ossl(DHOLE_ERR_SYSTEM, "no random numbers");
    if (dhole__is_wildcard(address)) {
        err = dhole__own_addresses(address, token->address, dhole__token_addresses_max,
                                   &token->count);
    } else {
        snprintf(token->address[0], DHOLE_ADDRESS_SIZE, "%s", address);
        token->count = 1;
    }
    return err ? err : dhole__token_encode(token, pairing->text);
}

static dhole_err check(const char *name, int64_t valid_s, char own[static DHOLE_NAME_SIZE])
{
    dhole_err err;

    if (valid_s < 1 || valid_s > valid_max_s)
        return dhole__fail(DHOLE_ERR_INVALID, "a token for %lld s: expected 1 to %d",
                           (long long)valid_s, valid_max_s);
    if (name == NULL) {
        dhole__host_name(own);
        return DHOLE_OK;
    }
    err = dhole__check_name(name);
    if (!err)
        strcpy(own, name);
    return err;
}

dhole_err dhole_pair(const dhole_identity *identity, const char *name, const char *address,
                     int64_t valid_s, dhole_pairing **out)
{
    dhole_pairing *pairing = dhole__sys.calloc(1, sizeof *pairing);
    dhole_err err;

    if (pairing == NULL)
        return dhole__fail_nomem(sizeof *pairing, "a pairing");
    pairing->identity = identity;
    pairing->stop[0] = pairing->stop[1] = pairing->done[0] = pairing->done[1] = -1;
    pthread_mutex_init(&pairing->lock, NULL);
    err = check(name, valid_s, pairing->name);
    if (!err)
        err = dhole__pipe_open(pairing->stop, O_NONBLOCK);
    if (!err)
        err = dhole__pipe_open(pairing->done, O_NONBLOCK);
    if (!err)
        err = listen_at(pairing, address);
    if (!err)
        err = make_token(pairing, valid_s);
    if (err)
        dhole_pairing_free(pairing);
    else
        *out = pairing;
    return err;
}

const char *dhole_pairing_token(const dhole_pairing *pairing)
{
    return pairing->text;
}

/* Until it is decided, cancelled or too late. */
static dhole_err await(struct dhole_pairing *pairing, int cancel_fd)
{
    struct pollfd fds[] = {{.fd = pairing->done[0], .events = POLLIN},
                           {.fd = cancel_fd, .events = POLLIN}};
    dhole_err err = DHOLE_OK;

    while (!err && !fds[0].revents && !fds[1].revents)
        err = dhole__io_poll(fds, 2, pairing->deadline);
    if (fds[0].revents)
        return DHOLE_OK;
    return err ? err : DHOLE_ERR_CANCELLED;
}

static dhole_err result(const struct dhole_pairing *pairing, dhole_err err)
{
    switch (err) {
    case DHOLE_ERR_CANCELLED: return dhole__fail(err, "cancelled before a machine joined");
    case DHOLE_ERR_TIMEOUT:
        return dhole__fail(err, "no machine joined before the token expired: make a new one");
    case DHOLE_ERR_AUTH:
        return dhole__fail(err,
                           "somebody called with a wrong secret %d times, so the token is void: "
                           "make a new one",
                           dhole__pairing_tries);
    case DHOLE_ERR_PEER_LOST:
        return dhole__fail(err,
                           "%s had the token, but was lost before it heard the answer: make a new "
                           "token",
                           pairing->joiner.name);
    default: return err;
    }
}

dhole_err dhole_pairing_wait(dhole_pairing *pairing, int cancel_fd, dhole_trusted *out)
{
    dhole_err err;

    if (pairing->listener == NULL)
        return dhole__fail(DHOLE_ERR_INVALID, "this token has been waited for: make a new one");
    if (dhole__sys.thread_create(&pairing->doorman, NULL, dhole__pairing_keep_door, pairing) != 0)
        return dhole__fail(DHOLE_ERR_SYSTEM, "cannot start a thread");
    err = await(pairing, cancel_fd);
    (void)!write(pairing->stop[1], "", 1);
    pthread_join(pairing->doorman, NULL);
    dhole_link_listener_free(pairing->listener);
    pairing->listener = NULL;
    if (pairing->decided) /* be it at the last moment */
        err = pairing->err;
    err = result(pairing, err);
    if (!err)
        *out = pairing->joiner;
    return err;
}

void dhole_pairing_free(dhole_pairing *pairing)
{
    if (pairing == NULL)
        return;
    dhole_link_listener_free(pairing->listener);
    dhole__pipe_close(pairing->stop);
    dhole__pipe_close(pairing->done);
    pthread_mutex_destroy(&pairing->lock);
    dhole__wipe(pairing, sizeof *pairing);
    free(pairing);
}
