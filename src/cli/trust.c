#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/keys.h"
#include "cluster/where.h"
#include "transport/tcp/tcp.h"

enum { words_max = 4 };

struct options {
    const char *word[words_max]; /* the first says what to do; NULL where there are fewer */
    int words;
    bool json, help;
};

/* An address at which one listens, and which nobody can call. */
static bool is_for_listeners(const char *address)
{
    const char *port = dhole__where_port(address);

    return dhole__where_is_wild(address) || (*port != '\0' && strtol(port, NULL, 10) == 0);
}

static int add(const char *name, const char *fingerprint, const char *address)
{
    dhole_trusted machine = {0};
    dhole_err err;

    if (strlen(name) >= sizeof machine.name)
        return dhole__usage("trust", "the name \"%.80s\" has more than %d characters", name,
                            DHOLE_NAME_SIZE - 1);
    if (address != NULL && strlen(address) >= sizeof machine.address)
        return dhole__usage("trust", "the address \"%.80s...\" has more than %d characters",
                            address, DHOLE_ADDRESS_SIZE - 1);
    if (address != NULL && dhole__tcp_is_address(address) && is_for_listeners(address))
        return dhole__usage("trust",
                            "nobody can call %s: expected an address of that machine's own, and "
                            "the port at which its dhole join listens",
                            address);
    strcpy(machine.name, name);
    strcpy(machine.address, address != NULL ? address : "");
    err = dhole_fingerprint_parse(fingerprint, &machine.pin);
    if (!err)
        err = dhole_trust_add(NULL, &machine);
    return err ? dhole__report(err) : DHOLE__EXIT_DONE;
}

static int remove_name(const char *name)
{
    dhole_err err = dhole_trust_remove(NULL, name);

    return err ? dhole__report(err) : DHOLE__EXIT_DONE;
}

static bool print_json(const dhole_trust *trust)
{
    json_t *machines = json_array();

    for (size_t i = 0; i < dhole_trust_count(trust); i++)
        json_array_append_new(machines, dhole__keys_json(dhole_trust_at(trust, i)));
    return dhole__keys_dump(json_pack("{s:o}", "trusted", machines));
}

static int list(bool json)
{
    dhole_trust *trust;
    int code = DHOLE__EXIT_DONE;
    dhole_err err = dhole_trust_load(NULL, &trust);

    if (err)
        return dhole__report(err);
    if (json && !print_json(trust))
        code = DHOLE__EXIT_FAILED;
    for (size_t i = 0; i < dhole_trust_count(trust) && !json; i++)
        dhole__keys_print(dhole_trust_at(trust, i));
    dhole_trust_free(trust);
    return code;
}

/* Words and options in any order. */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option table[] = {
        {"trust", required_argument, NULL, 't'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };

    while (optind < argc)
        switch (dhole__next_option_before(argc, argv, "", table)) {
        case 't': dhole__keys_choose(NULL, optarg); break;
        case 'j': o->json = true; break;
        case 'h': o->help = true; return DHOLE__EXIT_DONE;
        case -1:
            if (optind == argc)
                break;
            if (o->words == words_max)
                return dhole__usage(argv[0], "unexpected \"%s\"", argv[optind]);
            o->word[o->words++] = argv[optind++];
            break;
        default: return DHOLE__EXIT_USAGE;
        }
    return DHOLE__EXIT_DONE;
}

static int act(const struct options *o)
{
    const char *action = o->words > 0 ? o->word[0] : "";

    if (strcmp(action, "add") == 0 && o->words >= 3)
        return add(o->word[1], o->word[2], o->word[3]);
    if (strcmp(action, "list") == 0 && o->words == 1)
        return list(o->json);
    if (strcmp(action, "remove") == 0 && o->words == 2)
        return remove_name(o->word[1]);
    return dhole__usage("trust", "expected add NAME FINGERPRINT [ADDRESS], list, or remove NAME");
}

static int trust(int argc, char **argv)
{
    struct options o = {0};
    int code = parse(argc, argv, &o);

    if (code != DHOLE__EXIT_DONE)
        return code;
    return o.help ? dhole__help_on(&dhole__cmd_trust) : act(&o);
}

const struct dhole__subcommand dhole__cmd_trust = {
    .name = "trust",
    .summary = "says whom this machine trusts, and changes it",
    .help =
        "Usage: dhole trust [--trust FILE] add NAME FINGERPRINT [ADDRESS]\n"
        "       dhole trust [--trust FILE] list [--json]\n"
        "       dhole trust [--trust FILE] remove NAME\n"
        "\n"
        "Machines whose keys are listed may run models together with this one; all others are\n"
        "refused. FINGERPRINT is what dhole id prints on the other machine; ADDRESS, host:port,\n"
        "is where its dhole join listens. dhole pair and dhole join do this on both machines.\n"
        "\n"
        "A machine whose key changes is refused, here too: if it really got a new key, remove it\n"
        "first. Adding a machine again with its key changes its address.\n"
        "\n"
        "The list is a file, a line a machine as list prints it, # begins a comment; it may be\n"
        "edited by hand. If --trust is not given, $DHOLE_TRUST says where, else it is trusted\n"
        "beside the identity (see dhole help id).\n"
        "\n"
        "Examples:\n"
        "  dhole trust add lab2 sha256:5f0c...e1 10.0.0.2:7777\n"
        "  dhole trust list --json\n"
        "  dhole trust remove lab2\n",
    .run = trust,
};
