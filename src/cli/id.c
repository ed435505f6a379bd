#include <stdio.h>

#include "cli/cli.h"
#include "cli/keys.h"
#include "cluster/host_name.h"
#include "dhole/identity.h"

static int print(bool json)
{
    dhole_trusted own = {0};
    char fingerprint[DHOLE_FINGERPRINT_SIZE];
    dhole_identity *identity;
    dhole_err err = dhole_identity_load(NULL, &identity);

    if (err)
        return dhole__report(err);
    dhole_identity_pin(identity, &own.pin);
    dhole_identity_free(identity);
    dhole_fingerprint(&own.pin, fingerprint);
    dhole__host_name(own.name);
    if (!json)
        puts(fingerprint);
    else if (!dhole__keys_dump(
                 json_pack("{s:s, s:s}", "name", own.name, "fingerprint", fingerprint)))
        return DHOLE__EXIT_FAILED;
    return DHOLE__EXIT_DONE;
}

static int id(int argc, char **argv)
{
    static const struct option options[] = {
        {"identity", required_argument, NULL, 'i'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    bool json = false;
    int c;

    while ((c = dhole__next_option(argc, argv, options)) != -1)
        switch (c) {
        case 'i': dhole__keys_choose(optarg, NULL); break;
        case 'j': json = true; break;
        case 'h': return dhole__help_on(&dhole__cmd_id);
        default: return DHOLE__EXIT_USAGE;
        }
    return print(json);
}

const struct dhole__subcommand dhole__cmd_id = {
    .name = "id",
    .summary = "shows the fingerprint of this machine's key, and makes the key on first use",
    .help =
        "Usage: dhole id [--identity WHERE] [--json]\n"
        "\n"
        "Other machines know this one by its key. The private key never leaves WHERE it is kept:\n"
        "a file (mode 0600), which is made when it is not there, or an OpenSSL store URI such as\n"
        "pkcs11:object=dhole for a key in a TPM or token, which has to be there, as does the\n"
        "OpenSSL provider for it. If not given, $DHOLE_IDENTITY says where, else it is\n"
        "identity.pem in $XDG_CONFIG_HOME/dhole or ~/.config/dhole.\n"
        "\n"
        "Examples:\n"
        "  dhole id\n"
        "  dhole id --identity /srv/dhole/identity.pem --json\n",
    .run = id,
};
