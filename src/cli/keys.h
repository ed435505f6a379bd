/* What the commands about keys and trust share. */
#ifndef DHOLE_CLI_KEYS_H
#define DHOLE_CLI_KEYS_H

#include <jansson.h>
#include <stdbool.h>

#include "dhole/cluster.h"

/* Once, before anything else uses OpenSSL: no key store may ask at the terminal, or crash the
 * program as it ends. */
void dhole__keys_prepare(void);

/* --identity and --trust, or NULL: for this process what DHOLE_IDENTITY and DHOLE_TRUST say. */
void dhole__keys_choose(const char *identity, const char *trust);

/* On stdout, as a line of the trust file. */
void dhole__keys_print(const dhole_trusted *machine);

/* Name, fingerprint, and address or null; NULL for want of memory. */
json_t *dhole__keys_json(const dhole_trusted *machine);

/* Prints the object on a line of stdout, and takes it over; false when that failed. */
bool dhole__keys_dump(json_t *object);

/* A trust file that is wrong is found before a token is spent. */
dhole_err dhole__keys_check_trust(void);

/* Trusts whom this machine has been paired with, who trusts it already; the error says how to do
 * it later. */
dhole_err dhole__keys_trust_paired(const dhole_trusted *other);

#endif
