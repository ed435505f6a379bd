#include "link/hello.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/compare.h"

static const uint8_t magic[8] = {'d', 'h', 'o', 'l', 'e', 0, 'l', dhole__link_version};

const uint8_t dhole__link_proof[dhole__link_proof_size] = "lane 1";

void dhole__link_preamble_encode(const struct dhole__link_preamble *preamble,
                                 uint8_t out[static dhole__link_preamble_size])
{
    memset(out, 0, dhole__link_preamble_size);
    memcpy(out, magic, sizeof magic);
    dhole__put16(out + 8, preamble->kind);
    memcpy(out + 16, preamble->token, dhole__link_token_size);
}

bool dhole__link_preamble_decode(const uint8_t in[static dhole__link_preamble_size],
                                 struct dhole__link_preamble *out)
{
    static const uint8_t zero[dhole__link_token_size];

    out->kind = dhole__get16(in + 8);
    memcpy(out->token, in + 16, dhole__link_token_size);
    return memcmp(in, magic, sizeof magic) == 0 && memcmp(in + 10, zero, 6) == 0 &&
           out->kind < DHOLE__LINK_BULK + DHOLE_LANES_MAX &&
           (out->kind == DHOLE__LINK_CONTROL) == (memcmp(out->token, zero, sizeof zero) == 0);
}

/* The head: version, rank, size, lanes, length of the session, of the agreement, 16 bits each; 4
 * zero bytes; the largest message, 64 bits; the token. */

static unsigned version_of(const struct dhole__link_hello_text *hello)
{
    return dhole__get16(hello->head);
}

static unsigned rank_of(const struct dhole__link_hello_text *hello)
{
    return dhole__get16(hello->head + 2);
}

static unsigned size_of(const struct dhole__link_hello_text *hello)
{
    return dhole__get16(hello->head + 4);
}

static unsigned lanes_of(const struct dhole__link_hello_text *hello)
{
    return dhole__get16(hello->head + 6);
}

static struct dhole__quote session_of(const struct dhole__link_hello_text *hello)
{
    return (struct dhole__quote){hello->text, dhole__get16(hello->head + 8)};
}

static struct dhole__quote agreement_of(const struct dhole__link_hello_text *hello)
{
    return (struct dhole__quote){hello->text + session_of(hello).length,
                                 dhole__get16(hello->head + 10)};
}

static size_t text_length(const struct dhole__link_hello_text *hello)
{
    return session_of(hello).length + agreement_of(hello).length;
}

static void encode(const dhole_link_options *options, int lanes, const uint8_t *token,
                   struct dhole__link_hello_text *out)
{
    size_t session = strlen(options->session), agreement = strlen(options->agreement);

    memset(out->head, 0, sizeof out->head);
    dhole__put16(out->head, dhole__link_version);
    dhole__put16(out->head + 2, (unsigned)options->rank);
    dhole__put16(out->head + 4, (unsigned)options->size);
    dhole__put16(out->head + 6, (unsigned)lanes);
    dhole__put16(out->head + 8, (unsigned)session);
    dhole__put16(out->head + 10, (unsigned)agreement);
    dhole__put64(out->head + 16, options->message_max);
    if (token != NULL)
        memcpy(out->head + 24, token, dhole__link_token_size);
    memcpy(out->text, options->session, session);
    memcpy(out->text + session, options->agreement, agreement);
}

/* How messages call a side. */
struct name {
    char text[24];
};

static struct name name_of(const struct dhole__link_hello_text *hello, const char *without_rank)
{
    struct name name;

    if (size_of(hello) > 0)
        snprintf(name.text, sizeof name.text, "rank %u", rank_of(hello));
    else
        snprintf(name.text, sizeof name.text, "%s", without_rank);
    return name;
}

static dhole_err compare_number(const char *what, const char *our_name, unsigned ours,
                                const char *their_name, unsigned theirs)
{
    if (ours == theirs)
        return DHOLE_OK;
    return dhole__fail(DHOLE_ERR_MISMATCH, "the %s differs: %s has %u, %s %u", what, our_name, ours,
                       their_name, theirs);
}

dhole_err dhole__link_hello_check_head(const uint8_t head[static dhole__link_head_size])
{
    if (dhole__get16(head + 8) > dhole__link_session_max ||
        dhole__get16(head + 10) > dhole__link_agreement_max)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "it sent a malformed hello");
    return DHOLE_OK;
}

dhole_err dhole__link_hello_compare(const struct dhole__link_hello_text *ours,
                                    const struct dhole__link_hello_text *theirs)
{
    struct name us = name_of(ours, "this side"), them = name_of(theirs, "the other side");
    dhole_err err = compare_number("protocol version", us.text, version_of(ours), them.text,
                                   version_of(theirs));

    if (err)
        return err;
    if (lanes_of(theirs) > DHOLE_LANES_MAX || dhole__get32(theirs->head + 12) != 0 ||
        (size_of(theirs) == 0 ? rank_of(theirs) != 0 : rank_of(theirs) >= size_of(theirs)))
        return dhole__fail(DHOLE_ERR_PROTOCOL, "it sent a malformed hello");
    err = dhole__compare(DHOLE_ERR_MISMATCH, "session", us.text, session_of(ours), them.text,
                         session_of(theirs));
    if (!err)
        err = dhole__compare(DHOLE_ERR_MISMATCH, "agreement", us.text, agreement_of(ours),
                             them.text, agreement_of(theirs));
    if (!err)
        err = compare_number("number of ranks", us.text, size_of(ours), them.text, size_of(theirs));
    if (!err && size_of(ours) > 0 && rank_of(ours) == rank_of(theirs))
        err =
            dhole__fail(DHOLE_ERR_MISMATCH, "both sides say that they are rank %u", rank_of(ours));
    return err;
}

void dhole__link_hello_start(struct dhole__link_hello *hello, struct dhole__conn *control,
                             const struct dhole__link_terms *terms, int lanes, const uint8_t *token)
{
    hello->has_head = false;
    encode(&terms->options, lanes, token, &hello->ours);
    hello->io[0] = dhole__io_send(control, hello->ours.head, sizeof hello->ours.head,
                                  hello->ours.text, text_length(&hello->ours));
    hello->io[1] = dhole__io_recv(control, hello->theirs.head, sizeof hello->theirs.head, NULL, 0);
}

dhole_err dhole__link_hello_step(struct dhole__link_hello *hello, bool *done)
{
    bool moved;
    dhole_err err = dhole__io_step(hello->io, 2, &moved);

    *done = false;
    if (err || dhole__io_left(&hello->io[1]) > 0)
        return err;
    if (!hello->has_head) {
        err = dhole__link_hello_check_head(hello->theirs.head);
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
    return dhole__link_hello_compare(&hello->ours, &hello->theirs);
}

bool dhole__link_hello_arm(const struct dhole__link_hello *hello, struct pollfd *pfd)
{
    struct dhole__conn *conn = hello->io[0].conn;

    return conn->ops->arm(conn, dhole__io_left(&hello->io[0]) > 0,
                          dhole__io_left(&hello->io[1]) > 0, pfd);
}

int dhole__link_hello_rank(const struct dhole__link_hello *hello)
{
    return (int)rank_of(&hello->theirs);
}

int dhole__link_hello_lanes(const struct dhole__link_hello *hello)
{
    return (int)lanes_of(&hello->theirs);
}

size_t dhole__link_hello_message_max(const struct dhole__link_hello *hello)
{
    uint64_t max = dhole__get64(hello->theirs.head + 16);

    return max < SIZE_MAX ? (size_t)max : SIZE_MAX;
}

const uint8_t *dhole__link_hello_token(const struct dhole__link_hello *hello)
{
    return hello->theirs.head + 24;
}
