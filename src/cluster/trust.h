/* The trust file's text: reading it, and changing a line of it while all else stays as it is. */
#ifndef DHOLE_CLUSTER_TRUST_H
#define DHOLE_CLUSTER_TRUST_H

#include <stdbool.h>

#include "base/buf.h"
#include "dhole/cluster.h"

enum {
    dhole__trust_file_max = 1 << 20,
    dhole__trust_line_max = 1000, /* without its end */
    dhole__trust_machines_max = 1024
};

/* DHOLE_ERR_INVALID says what a name or an address must be; "" is no name, but an address that is
 * not known. */
DHOLE__MUST_CHECK dhole_err dhole__check_name(const char *name);
DHOLE__MUST_CHECK dhole_err dhole__check_address(const char *address);

/* `what` names the text in errors, which are DHOLE_ERR_FORMAT, or DHOLE_ERR_NOMEM. */
DHOLE__MUST_CHECK dhole_err dhole__trust_parse(const char *text, size_t length, const char *what,
                                               dhole_trust **out);

/* As dhole_trust_add and dhole_trust_remove, on text; it is what it was on failure. */
DHOLE__MUST_CHECK dhole_err dhole__trust_text_add(struct dhole__buf *text, const char *what,
                                                  const dhole_trusted *machine);
DHOLE__MUST_CHECK dhole_err dhole__trust_text_remove(struct dhole__buf *text, const char *what,
                                                     const char *name);

#endif
