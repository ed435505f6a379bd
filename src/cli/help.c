#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const char exit_codes[] = "Exit codes: 0 done, 1 failed, 2 usage, 3 peer lost, 4 not "
                                 "authenticated, 5 bad file,\n"
                                 "130 interrupted (Ctrl-C), 143 terminated.\n";

static int list(void)
{
    puts("dhole runs a language model, alone or across ranks, with every byte between machines "
         "sealed.\n\nCommands:");
    for (int i = 0; dhole__subcommands[i] != NULL; i++)
        if (dhole__subcommands[i]->summary != NULL)
            printf("  %-10s %s\n", dhole__subcommands[i]->name, dhole__subcommands[i]->summary);
    printf("\nExample:\n"
           "  dhole generate --model smol.gguf --prompt \"What is a dhole?\" --ranks 2\n\n"
           "dhole help COMMAND says more.\n\n%s",
           exit_codes);
    return DHOLE__EXIT_DONE;
}

int dhole__help_on(const struct dhole__subcommand *command)
{
    printf("%s\n%s", command->help, exit_codes);
    return DHOLE__EXIT_DONE;
}

static int help(int argc, char **argv)
{
    if (argc > 2)
        return dhole__usage("help", "unexpected \"%s\"", argv[2]);
    if (argc < 2)
        return list();
    for (int i = 0; dhole__subcommands[i] != NULL; i++)
        if (strcmp(argv[1], dhole__subcommands[i]->name) == 0)
            return dhole__help_on(dhole__subcommands[i]);
    return dhole__usage("help", "there is no command \"%s\"", argv[1]);
}

const struct dhole__subcommand dhole__cmd_help = {
    .name = "help",
    .summary = "says what the commands do",
    .help = "Usage: dhole help [COMMAND]\n"
            "\n"
            "Example:\n"
            "  dhole help generate\n",
    .run = help,
};
