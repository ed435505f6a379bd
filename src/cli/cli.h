/* What the subcommands share: their table, exit codes, options and messages. */
#ifndef DHOLE_CLI_CLI_H
#define DHOLE_CLI_CLI_H

#include <getopt.h>
#include <stdbool.h>

#include "base/error.h"

enum dhole__exit {
    DHOLE__EXIT_DONE = 0,
    DHOLE__EXIT_FAILED = 1,
    DHOLE__EXIT_USAGE = 2,
    DHOLE__EXIT_PEER_LOST = 3,
    DHOLE__EXIT_AUTH = 4,
    DHOLE__EXIT_FILE = 5,
    DHOLE__EXIT_SIGNAL = 128 /* plus the signal's number */
};

struct dhole__subcommand {
    const char *name;
    const char *summary; /* NULL: not listed */
    const char *help;
    int (*run)(int argc, char **argv); /* argv[0] is the name; returns the exit code */
};

/* All of them, up to a NULL. */
extern const struct dhole__subcommand *const dhole__subcommands[];

extern const struct dhole__subcommand dhole__cmd_generate, dhole__cmd_launch, dhole__cmd_bench,
    dhole__cmd_doctor, dhole__cmd_tokenize, dhole__cmd_version, dhole__cmd_help, dhole__cmd_rank;
extern const struct dhole__subcommand dhole__cmd_join, dhole__cmd_peers;
extern const struct dhole__subcommand dhole__cmd_id, dhole__cmd_pair, dhole__cmd_trust;

int dhole__exit_code(dhole_err err);

/* Prints this thread's last error; returns its exit code. */
int dhole__report(dhole_err err);

/* The same for a model that could not be opened: a bad file, whatever the reason. */
int dhole__report_model(dhole_err err);

/* Prints what is wrong with the command line; returns DHOLE__EXIT_USAGE. */
int dhole__usage(const char *command, const char *format, ...) DHOLE__PRINTF(2, 3);

/* Prints a command's help; returns DHOLE__EXIT_DONE. */
int dhole__help_on(const struct dhole__subcommand *command);

/* The next option of argv as getopt_long's val, -1 at the end, or '?' after the fault
 * has been printed. */
int dhole__next_option(int argc, char **argv, const struct option *options);

/* The same for a command whose options come before words of another kind, with short options in
 * getopt's form; optind is the first of the words at the end. */
int dhole__next_option_before(int argc, char **argv, const char *letters,
                              const struct option *options);

/* Reads the present option's argument; false after the fault has been printed, which says in
 * words what range was expected. */
bool dhole__option_int(char **argv, const char *name, long long min, long long max, long long *out);
bool dhole__option_address(char **argv, const char *name, const char **out); /* host:port */
bool dhole__option_float(char **argv, const char *name, float min, float max, const char *expected,
                         float *out);

/* Whether these are names of RDMA devices, separated by commas; false after the fault has been
 * printed. */
bool dhole__check_devices(const char *command, const char *list);

/* Writes out what stdout holds; false when it could not all be written, after saying so unless
 * the reader just went away. */
bool dhole__flush_stdout(void);

#endif
