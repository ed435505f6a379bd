#include "group/hello.h"

#include <string.h>

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

static unsigned version_of(const struct dhole__hello_text *hello)
{
    return get16(hello->head);
}

static unsigned rank_of(const struct dhole__hello_text *hello)
{
    return get16(hello->head + 2);
}

static unsigned size_of(const struct dhole__hello_text *hello)
{
    return get16(hello->head + 4);
}

static size_t session_length(const struct dhole__hello_text *hello)
{
    return get16(hello->head + 6);
}

static size_t agreement_length(const struct dhole__hello_text *hello)
{
    return get16(hello->head + 8);
}

static size_t text_length(const struct dhole__hello_text *hello)
{
    return session_length(hello) + agreement_length(hello);
}

static void encode(const dhole_options *options, struct dhole__hello_text *hello)
{
    size_t session = strlen(options->session), agreement = strlen(options->agreement);

    memset(hello->head, 0, sizeof hello->head);
    put16(hello->head, dhole__protocol_version);
    put16(hello->head + 2, (unsigned)options->rank);
    put16(hello->head + 4, (unsigned)options->size);
    put16(hello->head + 6, (unsigned)session);
    put16(hello->head + 8, (unsigned)agreement);
    memcpy(hello->text, options->session, session);
    memcpy(hello->text + session, options->agreement, agreement);
}

/* A text, or the part of it that is worth showing. */
struct quote {
    const char *text;
    size_t length;
};

/* Long texts are shown from shortly before where they begin to differ. */
static struct quote window(struct quote q, size_t difference)
{
    enum { before = 40, shown = 200 };
    size_t from = q.length > shown && difference > before ? difference - before : 0;

    if (from > q.length)
        from = q.length;
    q.text += from;
    q.length -= from;
    if (q.length > shown)
        q.length = shown;
    return q;
}

static dhole_err compare_text(const char *what, unsigned rank, struct quote ours, unsigned peer,
                              struct quote theirs)
{
    size_t i = 0;

    while (i < ours.length && i < theirs.length && ours.text[i] == theirs.text[i])
        i++;
    if (i == ours.length && i == theirs.length)
        return DHOLE_OK;
    ours = window(ours, i);
    theirs = window(theirs, i);
    return dhole__fail(DHOLE_ERR_CONFIG, "the %s differs: rank %u has \"%.*s\", rank %u \"%.*s\"",
                       what, rank, (int)ours.length, ours.text, peer, (int)theirs.length,
                       theirs.text);
}

static dhole_err compare(const struct dhole__hello_text *ours,
                         const struct dhole__hello_text *theirs)
{
    unsigned rank = rank_of(ours), peer = rank_of(theirs);
    dhole_err err;

    if (size_of(ours) != size_of(theirs))
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "the number of ranks differs: rank %u has %u, rank %u has %u", rank,
                           size_of(ours), peer, size_of(theirs));
    err = compare_text("session", rank, (struct quote){ours->text, session_length(ours)}, peer,
                       (struct quote){theirs->text, session_length(theirs)});
    if (err)
        return err;
    return compare_text(
        "agreement", rank,
        (struct quote){ours->text + session_length(ours), agreement_length(ours)}, peer,
        (struct quote){theirs->text + session_length(theirs), agreement_length(theirs)});
}

static dhole_err check_head(const struct dhole__hello_text *theirs, int peer)
{
    if (version_of(theirs) != dhole__protocol_version)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "it speaks protocol version %u, we speak %d",
                           version_of(theirs), dhole__protocol_version);
    if (rank_of(theirs) != (unsigned)peer || session_length(theirs) > dhole__session_max ||
        agreement_length(theirs) > dhole__agreement_max)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "it sent a malformed hello");
    return DHOLE_OK;
}

void dhole__hello_start(struct dhole__hello *hello, struct dhole__conn *control,
                        const dhole_options *options, int peer)
{
    hello->peer = peer;
    hello->has_head = false;
    encode(options, &hello->ours);
    hello->io[0] = dhole__io_send(control, hello->ours.head, sizeof hello->ours.head,
                                  hello->ours.text, text_length(&hello->ours));
    hello->io[1] = dhole__io_recv(control, hello->theirs.head, sizeof hello->theirs.head, NULL, 0);
}

dhole_err dhole__hello_step(struct dhole__hello *hello, bool *done)
{
    bool moved;
    dhole_err err;

    *done = false;
    err = dhole__io_step(hello->io, 2, &moved);
    if (err || dhole__io_left(&hello->io[1]) > 0)
        return err;
    if (!hello->has_head) {
        err = check_head(&hello->theirs, hello->peer);
        if (err)
            return err;
        hello->has_head = true;
        hello->io[1] = dhole__io_recv(hello->io[1].conn, hello->theirs.text,
                                      text_length(&hello->theirs), NULL, 0);
        err = dhole__io_step(&hello->io[1], 1, &moved);
        if (err)
            return err;
    }
    if (dhole__io_left(&hello->io[0]) > 0 || dhole__io_left(&hello->io[1]) > 0)
        return DHOLE_OK;
    *done = true;
    return compare(&hello->ours, &hello->theirs);
}
