#include "group/rendezvous_wire.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/sys.h"

static const uint8_t magic[8] = {'d', 'h', 'o', 'l', 'e', 0, 'r', dhole__protocol_version};

void dhole__registration_encode(const struct dhole__registration *registration,
                                uint8_t out[static dhole__registration_size])
{
    memset(out, 0, dhole__registration_size);
    memcpy(out, magic, sizeof magic);
    dhole__put16(out + 8, (unsigned)registration->rank);
    dhole__put16(out + 10, (unsigned)registration->size);
    dhole__put16(out + 12, (unsigned)registration->session_length);
    dhole__put16(out + 14, (unsigned)registration->address_length);
    dhole__put32(out + 16, (uint32_t)registration->left_ms);
}

bool dhole__registration_decode(const uint8_t in[static dhole__registration_size],
                                struct dhole__registration *out)
{
    *out = (struct dhole__registration){
        .rank = (int)dhole__get16(in + 8),
        .size = (int)dhole__get16(in + 10),
        .session_length = dhole__get16(in + 12),
        .address_length = dhole__get16(in + 14),
        .left_ms = dhole__get32(in + 16),
    };
    return memcmp(in, magic, sizeof magic) == 0 && out->session_length <= dhole__session_max &&
           out->address_length < dhole__rendezvous_address_max;
}

void dhole__answer_encode(const struct dhole__answer *answer,
                          uint8_t out[static dhole__answer_head_size])
{
    memset(out, 0, dhole__answer_head_size);
    memcpy(out, magic, sizeof magic);
    dhole__put16(out + 8, answer->err);
    dhole__put32(out + 12, (uint32_t)answer->length);
}

bool dhole__answer_decode(const uint8_t in[static dhole__answer_head_size],
                          struct dhole__answer *out)
{
    unsigned err = dhole__get16(in + 8);

    *out = (struct dhole__answer){(dhole_err)err, dhole__get32(in + 12)};
    return memcmp(in, magic, sizeof magic) == 0 && out->length <= dhole__answer_max &&
           (err == DHOLE_OK || err == DHOLE_ERR_CONFIG || err == DHOLE_ERR_TIMEOUT ||
            err == DHOLE_ERR_PEER_LOST);
}

dhole_err dhole__rendezvous_listen(const struct dhole__address *address, int *fd,
                                   char out[static dhole__rendezvous_address_max])
{
    struct dhole__address bound = *address;
    int listener;

    dhole__tcp_set_port(&bound, 0);
    if (dhole__tcp_listen(&bound, &listener) < 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot listen for the other ranks");
    dhole__tcp_own_text(listener, out);
    if (strcmp(out, "?") == 0) {
        close(listener);
        return dhole__fail(DHOLE_ERR_SYSTEM, "cannot tell the address of a socket");
    }
    *fd = listener;
    return DHOLE_OK;
}

bool dhole__rendezvous_is_address(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!isgraph((unsigned char)text[i]) || text[i] == ',')
            return false;
    return length > 0;
}

dhole_err dhole__rendezvous_check_cancelled(const dhole_options *options)
{
    struct pollfd pfd = {.fd = options->cancel_fd, .events = POLLIN};

    if (pfd.fd >= 0 && dhole__sys.poll(&pfd, 1, 0) > 0)
        return dhole__fail(DHOLE_ERR_CANCELLED, "joining the group was cancelled");
    return DHOLE_OK;
}
