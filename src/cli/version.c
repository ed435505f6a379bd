#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "dhole/group.h"
#include "dhole/version.h"
#include "nn/linear.h"

static const char *const backends[] = {"ring", "shm", "jaccl", "mem"};
enum { backend_count = sizeof backends / sizeof backends[0] };

static void print_text(void)
{
    printf("dhole %s\nkernels: %s\ncrypto: %s\nbackends:", dhole_version(), dhole__kernels_name(),
           OpenSSL_version(OPENSSL_VERSION));
    for (int i = 0; i < backend_count; i++)
        if (dhole_is_available(backends[i]))
            printf(" %s", backends[i]);
    printf("\n");
}

static bool print_json(void)
{
    json_t *list = json_array();
    json_t *root = NULL;
    bool ok;

    for (int i = 0; i < backend_count; i++)
        if (dhole_is_available(backends[i]))
            json_array_append_new(list, json_string(backends[i]));
    root = json_pack("{s:s, s:s, s:s, s:o}", "version", dhole_version(), "kernels",
                     dhole__kernels_name(), "crypto", OpenSSL_version(OPENSSL_VERSION), "backends",
                     list);
    ok = root != NULL && json_dumpf(root, stdout, 0) == 0 && putchar('\n') != EOF;
    json_decref(root);
    return ok;
}

static int version(int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    bool json = false;
    int c;

    while ((c = dhole__next_option(argc, argv, options)) != -1) {
        if (c == '?')
            return DHOLE__EXIT_USAGE;
        if (c == 'h')
            return dhole__help_on(&dhole__cmd_version);
        json = true;
    }
    if (!json)
        print_text();
    else if (!print_json())
        return DHOLE__EXIT_FAILED;
    return DHOLE__EXIT_DONE;
}

const struct dhole__subcommand dhole__cmd_version = {
    .name = "version",
    .summary = "says which version this is, and what it found on this machine",
    .help = "Usage: dhole version [--json]\n"
            "\n"
            "Example:\n"
            "  dhole version --json\n",
    .run = version,
};
