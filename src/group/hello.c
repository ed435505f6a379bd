#include "group/hello.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/compare.h"
#include "group/devices.h"

static const uint8_t magic[8] = {'d', 'h', 'o', 'l', 'e', 0, 0, dhole__protocol_version};

void dhole__preamble_encode(const struct dhole__preamble *preamble,
                            uint8_t out[static dhole__preamble_size])
{
    memset(out, 0, dhole__preamble_size);
    memcpy(out, magic, sizeof magic);
    dhole__put16(out + 8, (unsigned)preamble->from);
    dhole__put16(out + 10, (unsigned)preamble->to);
    dhole__put16(out + 12, (unsigned)preamble->channel);
    dhole__put16(out + 14, preamble->sealed);
}

bool dhole__preamble_decode(const uint8_t in[static dhole__preamble_size],
                            struct dhole__preamble *out)
{
    unsigned channel = dhole__get16(in + 12), sealed = dhole__get16(in + 14);

    if (memcmp(in, magic, sizeof magic) != 0 || channel >= dhole__channel_count || sealed > 1)
        return false;
    *out = (struct dhole__preamble){(int)dhole__get16(in + 8), (int)dhole__get16(in + 10),
                                    (int)channel, sealed == 1};
    return true;
}

static unsigned version_of(const struct dhole__hello_text *hello)
{
    return dhole__get16(hello->head);
}

static unsigned rank_of(const struct dhole__hello_text *hello)
{
    return dhole__get16(hello->head + 2);
}

static unsigned size_of(const struct dhole__hello_text *hello)
{
    return dhole__get16(hello->head + 4);
}

static size_t session_length(const struct dhole__hello_text *hello)
{
    return dhole__get16(hello->head + 6);
}

static size_t agreement_length(const struct dhole__hello_text *hello)
{
    return dhole__get16(hello->head + 8);
}

static size_t host_length(const struct dhole__hello_text *hello)
{
    return dhole__get16(hello->head + 10);
}

/* Beside the wanted lanes: memory is not sealed, devices lead to the peer, RDMA is sealed. */
enum { plain_memory = 1 << 8, has_devices = 1 << 9, sealed_rdma = 1 << 10 };

static unsigned lanes_of(const struct dhole__hello_text *hello)
{
    return dhole__get16(hello->head + 12) & ~(unsigned)(plain_memory | has_devices | sealed_rdma);
}

static bool says(const struct dhole__hello_text *hello, unsigned flag)
{
    return (dhole__get16(hello->head + 12) & flag) != 0;
}

static unsigned rails_of(const struct dhole__hello_text *hello)
{
    return dhole__get16(hello->head + 14);
}

static size_t text_length(const struct dhole__hello_text *hello)
{
    return session_length(hello) + agreement_length(hello) + host_length(hello);
}

static unsigned flags_of(const dhole_options *options, int peer)
{
    return (options->plain_memory ? plain_memory : 0) |
           (dhole__devices_lead_to(options, peer) ? has_devices : 0) |
           (options->seal_rdma ? sealed_rdma : 0);
}

static void encode(const dhole_options *options, enum dhole__lanes lanes, int rails, int peer,
                   struct dhole__hello_text *hello)
{
    size_t session = strlen(options->session), agreement = strlen(options->agreement);
    size_t host = strlen(options->host);

    memset(hello->head, 0, sizeof hello->head);
    dhole__put16(hello->head, dhole__protocol_version);
    dhole__put16(hello->head + 2, (unsigned)options->rank);
    dhole__put16(hello->head + 4, (unsigned)options->size);
    dhole__put16(hello->head + 6, (unsigned)session);
    dhole__put16(hello->head + 8, (unsigned)agreement);
    dhole__put16(hello->head + 10, (unsigned)host);
    dhole__put16(hello->head + 12, lanes | flags_of(options, peer));
    dhole__put16(hello->head + 14, (unsigned)rails);
    memcpy(hello->text, options->session, session);
    memcpy(hello->text + session, options->agreement, agreement);
    memcpy(hello->text + session + agreement, options->host, host);
}

static struct dhole__quote session_of(const struct dhole__hello_text *hello)
{
    return (struct dhole__quote){hello->text, session_length(hello)};
}

static struct dhole__quote agreement_of(const struct dhole__hello_text *hello)
{
    return (struct dhole__quote){hello->text + session_length(hello), agreement_length(hello)};
}

static struct dhole__quote host_of(const struct dhole__hello_text *hello)
{
    return (struct dhole__quote){hello->text + session_length(hello) + agreement_length(hello),
                                 host_length(hello)};
}

static struct dhole__quote lanes_name(const struct dhole__hello_text *hello)
{
    static const struct dhole__quote names[] = {{"ring", 4}, {"shm", 3}, {"any", 3}, {"jaccl", 5}};

    return names[lanes_of(hello)];
}

static struct dhole__quote on_or_off(bool on)
{
    return on ? (struct dhole__quote){"on", 2} : (struct dhole__quote){"off", 3};
}

static dhole_err compare_text(const char *what, unsigned rank, struct dhole__quote ours,
                              unsigned peer, struct dhole__quote theirs)
{
    char our_name[16], their_name[16];

    snprintf(our_name, sizeof our_name, "rank %u", rank);
    snprintf(their_name, sizeof their_name, "rank %u", peer);
    return dhole__compare(DHOLE_ERR_CONFIG, what, our_name, ours, their_name, theirs);
}

/* Of ranks that are to have RDMA where devices lead. */
static dhole_err compare_devices(const struct dhole__hello_text *ours,
                                 const struct dhole__hello_text *theirs)
{
    unsigned with = rank_of(ours), without = rank_of(theirs);
    dhole_err err = compare_text("seal of RDMA", with, on_or_off(says(ours, sealed_rdma)), without,
                                 on_or_off(says(theirs, sealed_rdma)));

    if (err || says(ours, has_devices) == says(theirs, has_devices))
        return err;
    if (says(theirs, has_devices)) {
        with = rank_of(theirs);
        without = rank_of(ours);
    }
    return dhole__fail(DHOLE_ERR_CONFIG,
                       "devices lead from rank %u to rank %u, but none from rank %u to rank %u: "
                       "row %u, column %u of the device matrix, or not all ranks have the same "
                       "ring",
                       with, without, without, with, without, with);
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
    if (rails_of(ours) != rails_of(theirs))
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "the number of addresses of a rank differs: rank %u has %u, rank %u has "
                           "%u",
                           rank, rails_of(ours), peer, rails_of(theirs));
    err = compare_text("session", rank, session_of(ours), peer, session_of(theirs));
    if (err)
        return err;
    err = compare_text("agreement", rank, agreement_of(ours), peer, agreement_of(theirs));
    if (err)
        return err;
    err = compare_text("seal of shared memory", rank, on_or_off(!says(ours, plain_memory)), peer,
                       on_or_off(!says(theirs, plain_memory)));
    if (err)
        return err;
    err = compare_text("backend", rank, lanes_name(ours), peer, lanes_name(theirs));
    if (!err && lanes_of(ours) == DHOLE__LANES_RDMA)
        return compare_devices(ours, theirs);
    if (err || lanes_of(ours) != DHOLE__LANES_SHM)
        return err;
    err = compare_text("host", rank, host_of(ours), peer, host_of(theirs));
    return err ? dhole__fail_in(err, "backend shm is for the ranks of one host") : DHOLE_OK;
}

static dhole_err malformed(void)
{
    return dhole__fail(DHOLE_ERR_PROTOCOL, "it sent a malformed hello");
}

static dhole_err check_head(const struct dhole__hello_text *theirs, int peer)
{
    if (version_of(theirs) != dhole__protocol_version)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "it speaks protocol version %u, we speak %d",
                           version_of(theirs), dhole__protocol_version);
    if (rank_of(theirs) != (unsigned)peer || session_length(theirs) > dhole__session_max ||
        agreement_length(theirs) > dhole__agreement_max ||
        host_length(theirs) > dhole__host_text_max || lanes_of(theirs) > DHOLE__LANES_RDMA)
        return malformed();
    return DHOLE_OK;
}

/* The other texts must be equal to ours; this one is handed on as a string. */
static dhole_err check_host(const struct dhole__hello_text *theirs)
{
    struct dhole__quote host = host_of(theirs);

    return memchr(host.text, '\0', host.length) != NULL ? malformed() : DHOLE_OK;
}

void dhole__hello_start(struct dhole__hello *hello, struct dhole__conn *control,
                        const dhole_options *options, enum dhole__lanes lanes, int rails, int peer)
{
    hello->peer = peer;
    hello->has_head = false;
    encode(options, lanes, rails, peer, &hello->ours);
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
    err = check_host(&hello->theirs);
    return err ? err : compare(&hello->ours, &hello->theirs);
}

bool dhole__hello_shares_memory(const struct dhole__hello *hello)
{
    struct dhole__quote ours = host_of(&hello->ours), theirs = host_of(&hello->theirs);

    return (lanes_of(&hello->ours) == DHOLE__LANES_SHM ||
            lanes_of(&hello->ours) == DHOLE__LANES_ANY) &&
           ours.length == theirs.length && memcmp(ours.text, theirs.text, ours.length) == 0;
}

bool dhole__hello_uses_rdma(const struct dhole__hello *hello)
{
    return lanes_of(&hello->ours) == DHOLE__LANES_RDMA && says(&hello->ours, has_devices);
}

void dhole__hello_host(const struct dhole__hello *hello, char out[static dhole__host_text_max + 1])
{
    struct dhole__quote host = host_of(&hello->theirs);

    memcpy(out, host.text, host.length);
    out[host.length] = '\0';
}
