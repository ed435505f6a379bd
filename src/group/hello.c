#include "group/hello.h"

#include <string.h>

#include "transport/io.h"

enum { session_max = 64, agreement_max = 1024, head_size = 16 };

static const uint8_t magic[8] = {'d', 'h', 'o', 'l', 'e', 0, 0, dhole__protocol_version};

static void put16(uint8_t *dst, unsigned value)
{
    dst[0] = (uint8_t)value;
    dst[1] = (uint8_t)(value >> 8);
}

static unsigned get16(const uint8_t *src)
{
    return src[0] | (unsigned)src[1] << 8;
}

void dhole__preamble_encode(const struct dhole__preamble *preamble,
                            uint8_t out[static dhole__preamble_size])
{
    memset(out, 0, dhole__preamble_size);
    memcpy(out, magic, sizeof magic);
    put16(out + 8, (unsigned)preamble->from);
    put16(out + 10, (unsigned)preamble->to);
    put16(out + 12, preamble->channel);
}

bool dhole__preamble_decode(const uint8_t in[static dhole__preamble_size],
                            struct dhole__preamble *out)
{
    unsigned channel = get16(in + 12);

    if (memcmp(in, magic, sizeof magic) != 0 || channel > DHOLE__CHANNEL_LANE)
        return false;
    *out = (struct dhole__preamble){(int)get16(in + 8), (int)get16(in + 10),
                                    (enum dhole__channel)channel};
    return true;
}

/* Head: version, rank, size, length of the session, length of the agreement, 16 bits
 * each, and zeroes; the two texts follow. */
struct hello {
    uint8_t head[head_size];
    char text[session_max + agreement_max];
};

static size_t text_size(const struct hello *hello)
{
    return get16(hello->head + 6) + get16(hello->head + 8);
}

static void encode(const dhole_options *options, struct hello *hello)
{
    size_t session = strlen(options->session), agreement = strlen(options->agreement);

    *hello = (struct hello){{0}, {0}};
    put16(hello->head, dhole__protocol_version);
    put16(hello->head + 2, (unsigned)options->rank);
    put16(hello->head + 4, (unsigned)options->size);
    put16(hello->head + 6, (unsigned)session);
    put16(hello->head + 8, (unsigned)agreement);
    memcpy(hello->text, options->session, session);
    memcpy(hello->text + session, options->agreement, agreement);
}

static dhole_err differ(const char *what, int rank, const char *ours, size_t ours_size, int peer,
                        const char *theirs, size_t theirs_size)
{
    return dhole__fail(DHOLE_ERR_CONFIG, "the %s differs: rank %d has \"%.*s\", rank %d \"%.*s\"",
                       what, rank, (int)ours_size, ours, peer, (int)theirs_size, theirs);
}

static dhole_err compare(const struct hello *ours, const struct hello *theirs, int rank, int peer)
{
    size_t session = get16(ours->head + 6), agreement = get16(ours->head + 8);
    size_t their_session = get16(theirs->head + 6), their_agreement = get16(theirs->head + 8);

    if (get16(theirs->head + 4) != get16(ours->head + 4))
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "the number of ranks differs: rank %d has %u, rank %d has %u", rank,
                           get16(ours->head + 4), peer, get16(theirs->head + 4));
    if (session != their_session || memcmp(ours->text, theirs->text, session) != 0)
        return differ("session", rank, ours->text, session, peer, theirs->text, their_session);
    if (agreement != their_agreement ||
        memcmp(ours->text + session, theirs->text + session, agreement) != 0)
        return differ("agreement", rank, ours->text + session, agreement, peer,
                      theirs->text + session, their_agreement);
    return DHOLE_OK;
}

dhole_err dhole__hello(struct dhole__conn *control, const dhole_options *options, int peer,
                       dhole__deadline deadline)
{
    struct hello ours, theirs;
    struct dhole__io io[2];
    dhole_err err;

    encode(options, &ours);
    io[0] = dhole__io_send(control, ours.head, head_size, ours.text, text_size(&ours));
    io[1] = dhole__io_recv(control, theirs.head, head_size, NULL, 0);
    err = dhole__io_run(io, 2, deadline);
    if (err)
        return err;
    if (get16(theirs.head) != dhole__protocol_version)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "rank %d speaks protocol version %u, we speak %d",
                           peer, get16(theirs.head), dhole__protocol_version);
    if (get16(theirs.head + 2) != (unsigned)peer || get16(theirs.head + 6) > session_max ||
        get16(theirs.head + 8) > agreement_max)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "rank %d sent a malformed hello", peer);
    err = dhole__io_run_one(dhole__io_recv(control, theirs.text, text_size(&theirs), NULL, 0),
                            deadline);
    return err ? err : compare(&ours, &theirs, options->rank, peer);
}
