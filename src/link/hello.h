/* How a link begins: the first bytes of each connection, and what the two sides say to each other
 * before anything else. docs/protocol-link.md has the bytes. */
#ifndef DHOLE_LINK_HELLO_H
#define DHOLE_LINK_HELLO_H

#include "dhole/link.h"
#include "link/terms.h"
#include "transport/io.h"

enum {
    dhole__link_version = 1,
    dhole__link_preamble_size = 32,
    dhole__link_token_size = 16,
    dhole__link_head_size = 40,
    dhole__link_proof_size = 8,
    dhole__link_up = 1 /* the server's byte, when all lanes are there */
};

/* What a connection is for; the lanes of BULK are this and the following. */
enum dhole__link_kind { DHOLE__LINK_CONTROL, DHOLE__LINK_MESSAGES, DHOLE__LINK_BULK };

/* A lane's token says which link it belongs to. */
struct dhole__link_preamble {
    unsigned kind;
    uint8_t token[dhole__link_token_size];
};

void dhole__link_preamble_encode(const struct dhole__link_preamble *preamble,
                                 uint8_t out[static dhole__link_preamble_size]);

/* False: these bytes are not from one of us. */
bool dhole__link_preamble_decode(const uint8_t in[static dhole__link_preamble_size],
                                 struct dhole__link_preamble *out);

/* The first bytes on each lane, from the client: whoever can seal them is the link's other side. */
extern const uint8_t dhole__link_proof[dhole__link_proof_size];

struct dhole__link_hello_text {
    uint8_t head[dhole__link_head_size];
    char text[dhole__link_session_max + dhole__link_agreement_max];
};

/* What dhole__link_hello_step makes of the other side's: of the head alone, whose lengths then can
 * be relied on, and of all of it. */
DHOLE__MUST_CHECK dhole_err
dhole__link_hello_check_head(const uint8_t head[static dhole__link_head_size]);
DHOLE__MUST_CHECK dhole_err dhole__link_hello_compare(const struct dhole__link_hello_text *ours,
                                                      const struct dhole__link_hello_text *theirs);

/* An exchange of hellos on a control connection. It must stay where it is. */
struct dhole__link_hello {
    struct dhole__link_hello_text ours, theirs;
    struct dhole__io io[2]; /* what is under way */
    bool has_head;
};

/* `lanes` is the client's wish, `token` the server's; the other side says 0 and NULL. */
void dhole__link_hello_start(struct dhole__link_hello *hello, struct dhole__conn *control,
                             const struct dhole__link_terms *terms, int lanes,
                             const uint8_t *token);

/* Goes on without waiting, until *done. Then both sides have said the same of what must agree, or
 * DHOLE_ERR_MISMATCH quotes both. */
DHOLE__MUST_CHECK dhole_err dhole__link_hello_step(struct dhole__link_hello *hello, bool *done);

/* What to poll `control` for to go on; as conn.h's arm. */
bool dhole__link_hello_arm(const struct dhole__link_hello *hello, struct pollfd *pfd);

/* What the other side said. */
int dhole__link_hello_rank(const struct dhole__link_hello *hello);
int dhole__link_hello_lanes(const struct dhole__link_hello *hello);
size_t dhole__link_hello_message_max(const struct dhole__link_hello *hello);
const uint8_t *dhole__link_hello_token(const struct dhole__link_hello *hello);

#endif
