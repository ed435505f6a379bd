/* What the environment says of a group's seal. */
#ifndef DHOLE_GROUP_KEYS_H
#define DHOLE_GROUP_KEYS_H

#include "coll/comm.h"
#include "dhole/identity.h"

/* What is sealed: what leaves the host, everything, nothing. */
enum dhole__sealing { DHOLE__SEAL_AUTO, DHOLE__SEAL_ON, DHOLE__SEAL_OFF };

/* "auto", "on" or "off", else DHOLE_ERR_CONFIG; NULL and "" are auto. */
DHOLE__MUST_CHECK dhole_err dhole__sealing_parse(const char *text, enum dhole__sealing *out);

/* A rank's key and everybody's pins. */
struct dhole__keys {
    dhole_identity *identity; /* NULL: there are none */
    dhole_pin pins[dhole__rank_max];
};

/* Those that DHOLE_PINS and DHOLE_IDENTITY name: none without DHOLE_PINS. The rank's own pin is
 * checked. DHOLE_ERR_CONFIG or _AUTH names the variable, the file and the line. */
DHOLE__MUST_CHECK dhole_err dhole__keys_read(int rank, int size, struct dhole__keys *out);
void dhole__keys_free(struct dhole__keys *keys);

#endif
