#include "link/terms.h"

#include <string.h>

enum { connect_ms = 30000, call_ms = 60000, message_max = 256 << 20, size_max = UINT16_MAX };

static dhole_err copy_text(const char *what, const char *text, char *out, size_t most)
{
    size_t length = text == NULL ? 0 : strlen(text);

    if (length > most)
        return dhole__fail(DHOLE_ERR_INVALID, "the %s has %zu bytes: expected at most %zu", what,
                           length, most);
    memcpy(out, text == NULL ? "" : text, length + 1);
    return DHOLE_OK;
}

static dhole_err check(const dhole_link_options *options)
{
    if (options->identity == NULL)
        return dhole__fail(DHOLE_ERR_INVALID, "a link needs an identity");
    if (options->pin == NULL && options->trusts == NULL)
        return dhole__fail(DHOLE_ERR_INVALID, "a link needs the other side's pin, or `trusts`");
    if (options->lanes < 0 || options->lanes > DHOLE_LANES_MAX)
        return dhole__fail(DHOLE_ERR_INVALID, "%d lanes: expected 0 to %d", options->lanes,
                           DHOLE_LANES_MAX);
    if (options->size < 0 || options->size > size_max)
        return dhole__fail(DHOLE_ERR_INVALID, "%d ranks: expected 0 to %d", options->size,
                           size_max);
    if (options->rank < 0 || options->rank >= (options->size > 0 ? options->size : 1))
        return dhole__fail(DHOLE_ERR_INVALID, "rank %d of %d", options->rank, options->size);
    return DHOLE_OK;
}

dhole_err dhole__link_terms_init(struct dhole__link_terms *terms, const dhole_link_options *options)
{
    dhole_err err = check(options);

    if (!err)
        err = copy_text("session", options->session, terms->session, dhole__link_session_max);
    if (!err)
        err =
            copy_text("agreement", options->agreement, terms->agreement, dhole__link_agreement_max);
    if (err)
        return err;
    terms->options = *options;
    terms->options.session = terms->session;
    terms->options.agreement = terms->agreement;
    if (options->pin != NULL) {
        terms->pin = *options->pin;
        terms->options.pin = &terms->pin;
    }
    if (options->message_max == 0)
        terms->options.message_max = message_max;
    if (options->connect_timeout_ms <= 0)
        terms->options.connect_timeout_ms = connect_ms;
    if (options->timeout_ms <= 0)
        terms->options.timeout_ms = call_ms;
    return DHOLE_OK;
}

struct dhole__tls_trust dhole__link_terms_trust(const struct dhole__link_terms *terms)
{
    return (struct dhole__tls_trust){terms->options.pin, terms->options.trusts,
                                     terms->options.trusts_arg};
}
