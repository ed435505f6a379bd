#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/keys.h"

const struct dhole__subcommand *const dhole__subcommands[] = {
    &dhole__cmd_generate, &dhole__cmd_launch,
    &dhole__cmd_bench,    &dhole__cmd_id,
    &dhole__cmd_trust,    &dhole__cmd_pair,
    &dhole__cmd_join,     &dhole__cmd_peers,
    &dhole__cmd_doctor,   &dhole__cmd_tokenize,
    &dhole__cmd_version,  &dhole__cmd_help,
    &dhole__cmd_rank,     NULL,
};

static const struct dhole__subcommand *find(const char *name)
{
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return &dhole__cmd_help;
    if (strcmp(name, "--version") == 0)
        return &dhole__cmd_version;
    for (int i = 0; dhole__subcommands[i] != NULL; i++)
        if (strcmp(name, dhole__subcommands[i]->name) == 0)
            return dhole__subcommands[i];
    return NULL;
}

/* A file or a socket that got number 0, 1 or 2 would be taken for a standard stream. What fills
 * a closed one is open the wrong way round, so that using the stream is still an error. */
static void fill_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) == -1)
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

/* Only what is safe in a signal handler. */
static void on_bus_error(int number)
{
    static const char text[] =
        "dhole: a file in use, such as the model, was cut short or can not be "
        "read any more\n";

    (void)number;
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) { /* nobody is there to read it */
    }
    _exit(DHOLE__EXIT_FILE);
}

int main(int argc, char **argv)
{
    const struct dhole__subcommand *command;
    int code;

    fill_standard_streams();
    dhole__keys_prepare();
    signal(SIGPIPE, SIG_IGN); /* a reader that went away is an error of write() */
    signal(SIGBUS, on_bus_error);
    if (argc < 2) {
        fprintf(stderr, "dhole: no command given; see dhole help\n");
        return DHOLE__EXIT_USAGE;
    }
    command = find(argv[1]);
    if (command == NULL) {
        fprintf(stderr, "dhole: there is no command \"%s\"; see dhole help\n", argv[1]);
        return DHOLE__EXIT_USAGE;
    }
    code = command->run(argc - 1, argv + 1);
    if (!dhole__flush_stdout() && code == DHOLE__EXIT_DONE)
        code = DHOLE__EXIT_FAILED;
    return code;
}
