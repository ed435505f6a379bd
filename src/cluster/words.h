/* JSON objects over a link's CONTROL channel; the message's tag says what kind each is. */
#ifndef DHOLE_CLUSTER_WORDS_H
#define DHOLE_CLUSTER_WORDS_H

#include "base/json.h"
#include "dhole/link.h"

enum { dhole__words_max = 48 << 10 };

/* Takes over `words`, which may be NULL for want of memory. timeout_ms as in dhole_link_send. */
DHOLE__MUST_CHECK dhole_err dhole__words_send(dhole_link *link, uint32_t kind, json_t *words,
                                              int64_t timeout_ms);

/* DHOLE_ERR_PROTOCOL when what comes is no object. The caller owns *words. */
DHOLE__MUST_CHECK dhole_err dhole__words_recv(dhole_link *link, uint32_t *kind, json_t **words,
                                              int64_t timeout_ms);

#endif
