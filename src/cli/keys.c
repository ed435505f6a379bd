#include "cli/keys.h"

#include <openssl/crypto.h>
#include <openssl/ui.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "cli/cli.h"

/* OpenSSL would close the sessions with tokens at exit, when the module that serves them may be
 * gone, as SoftHSM's is, and crash; and pkcs11-provider asks for a PIN that it lacks at the
 * terminal or on standard input, whatever method the caller gave it. */
void dhole__keys_prepare(void)
{
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
    UI_set_default_method(UI_null());
}

void dhole__keys_choose(const char *identity, const char *trust)
{
    if (identity != NULL)
        setenv("DHOLE_IDENTITY", identity, 1);
    if (trust != NULL)
        setenv("DHOLE_TRUST", trust, 1);
}

void dhole__keys_print(const dhole_trusted *machine)
{
    char fingerprint[DHOLE_FINGERPRINT_SIZE];

    dhole_fingerprint(&machine->pin, fingerprint);
    printf("%s %s%s%s\n", machine->name, fingerprint, machine->address[0] != '\0' ? " " : "",
           machine->address);
}

json_t *dhole__keys_json(const dhole_trusted *machine)
{
    char fingerprint[DHOLE_FINGERPRINT_SIZE];
    const char *address = machine->address[0] != '\0' ? machine->address : NULL;

    dhole_fingerprint(&machine->pin, fingerprint);
    return json_pack("{s:s, s:s, s:s?}", "name", machine->name, "fingerprint", fingerprint,
                     "address", address);
}

bool dhole__keys_dump(json_t *object)
{
    bool ok = object != NULL && json_dumpf(object, stdout, 0) == 0 && putchar('\n') != EOF;

    json_decref(object);
    return ok && dhole__flush_stdout();
}

dhole_err dhole__keys_check_trust(void)
{
    dhole_trust *trust;
    dhole_err err = dhole_trust_load(NULL, &trust);

    if (!err)
        dhole_trust_free(trust);
    return err;
}

dhole_err dhole__keys_trust_paired(const dhole_trusted *other)
{
    char fingerprint[DHOLE_FINGERPRINT_SIZE];
    dhole_err err = dhole_trust_add(NULL, other);

    if (!err)
        return DHOLE_OK;
    dhole_fingerprint(&other->pin, fingerprint);
    return dhole__fail_in(err,
                          "%s trusts this machine now, but not the other way round (mend what "
                          "follows, then: dhole trust add %s %s%s%s)",
                          other->name, other->name, fingerprint,
                          other->address[0] != '\0' ? " " : "", other->address);
}
