#include <stdio.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/keys.h"
#include "cli/signals.h"

enum { valid_s = 600, valid_max_s = 7 * 24 * 3600 };

struct options {
    const char *listen, *name, *identity, *trust;
    long long valid;
    bool json, help;
};

static int fail(dhole_err err)
{
    if (!dhole__signals_caught())
        return dhole__report(err);
    fprintf(stderr, "dhole: interrupted\n");
    return DHOLE__EXIT_SIGNAL + dhole__signals_caught();
}

static bool print_token(const struct options *o, const char *token)
{
    if (o->json)
        return dhole__keys_dump(
            json_pack("{s:s, s:I}", "token", token, "expires", (json_int_t)time(NULL) + o->valid));
    puts(token);
    if (o->listen == NULL)
        fprintf(stderr,
                "dhole: this token is for this machine alone; for another one give --listen "
                "HOST:PORT\n");
    fprintf(stderr,
            "dhole: give the token to dhole join on the other machine, within %lld s; "
            "waiting\n",
            o->valid);
    return dhole__flush_stdout();
}

static bool print_joiner(const struct options *o, const dhole_trusted *joiner)
{
    if (o->json)
        return dhole__keys_dump(dhole__keys_json(joiner));
    dhole__keys_print(joiner);
    return true;
}

static int wait_for_joiner(const struct options *o, dhole_pairing *pairing)
{
    dhole_trusted joiner;
    dhole_err err;

    if (!print_token(o, dhole_pairing_token(pairing)))
        return DHOLE__EXIT_FAILED;
    err = dhole_pairing_wait(pairing, dhole__signals_fd(), &joiner);
    if (!err)
        err = dhole__keys_trust_paired(&joiner);
    if (err)
        return fail(err);
    return print_joiner(o, &joiner) ? DHOLE__EXIT_DONE : DHOLE__EXIT_FAILED;
}

static int run(const struct options *o)
{
    dhole_pairing *pairing = NULL;
    dhole_identity *identity;
    dhole_err err;
    int code;

    dhole__keys_choose(o->identity, o->trust);
    err = dhole__signals_install();
    if (!err)
        err = dhole__keys_check_trust();
    if (!err)
        err = dhole_identity_load(NULL, &identity);
    if (err)
        return dhole__report(err);
    err = dhole_pair(identity, o->name, o->listen != NULL ? o->listen : "127.0.0.1:0", o->valid,
                     &pairing);
    code = err ? dhole__report(err) : wait_for_joiner(o, pairing);
    dhole_pairing_free(pairing);
    dhole_identity_free(identity);
    return code;
}

static int parse(int argc, char **argv, struct options *o)
{
    static const struct option table[] = {
        {"listen", required_argument, NULL, 'l'}, {"name", required_argument, NULL, 'n'},
        {"valid", required_argument, NULL, 'v'},  {"identity", required_argument, NULL, 'i'},
        {"trust", required_argument, NULL, 't'},  {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},         {0},
    };
    int c;

    while ((c = dhole__next_option(argc, argv, table)) != -1)
        switch (c) {
        case 'l':
            if (!dhole__option_address(argv, "listen", &o->listen))
                return DHOLE__EXIT_USAGE;
            break;
        case 'n': o->name = optarg; break;
        case 'v':
            if (!dhole__option_int(argv, "valid", 1, valid_max_s, &o->valid))
                return DHOLE__EXIT_USAGE;
            break;
        case 'i': o->identity = optarg; break;
        case 't': o->trust = optarg; break;
        case 'j': o->json = true; break;
        case 'h': o->help = true; return DHOLE__EXIT_DONE;
        default: return DHOLE__EXIT_USAGE;
        }
    return DHOLE__EXIT_DONE;
}

static int pair(int argc, char **argv)
{
    struct options o = {.valid = valid_s};
    int code = parse(argc, argv, &o);

    if (code != DHOLE__EXIT_DONE)
        return code;
    return o.help ? dhole__help_on(&dhole__cmd_pair) : run(&o);
}

const struct dhole__subcommand dhole__cmd_pair = {
    .name = "pair",
    .summary = "makes a token with which another machine joins, so that both trust each other",
    .help =
        "Usage: dhole pair [--listen HOST:PORT] [--name NAME] [--valid SECONDS]\n"
        "                  [--identity WHERE] [--trust FILE] [--json]\n"
        "\n"
        "Prints a token and waits. dhole join TOKEN on the other machine then lets both trust "
        "each\n"
        "other, and whom it was is printed. The token has a secret: let nobody see it on its way.\n"
        "It is good for one machine, once, and void after a few attempts with a wrong secret.\n"
        "\n"
        "  --listen HOST:PORT  where the other machine can call this one while dhole pair runs;\n"
        "                      0.0.0.0:PORT is all addresses, port 0 a free one. If not given,\n"
        "                      127.0.0.1:0, which is for another worker on this machine alone\n"
        "  --name NAME         what the other machine is to call this one; if not given, as its "
        "host\n"
        "  --valid SECONDS     how long the token is good, from 1 to 604800 (600 if not given)\n"
        "  --identity WHERE    this machine's key, see dhole help id\n"
        "  --trust FILE        whom it trusts, see dhole help trust\n"
        "  --json              two JSON objects, a line each: the token at once, then who joined\n"
        "\n"
        "Examples:\n"
        "  dhole pair --listen 0.0.0.0:0\n"
        "  dhole pair --listen 10.0.0.1:7700 --name lab1 --valid 60 --json\n",
    .run = pair,
};
