/* Ranks on other hosts: ssh, and a shell script that needs nothing there but a POSIX shell. */
#ifndef DHOLE_CLI_LAUNCH_SSH_H
#define DHOLE_CLI_LAUNCH_SSH_H

#include "cli/launch.h"

enum { dhole__ssh_words = 20, dhole__ssh_command_size = 1024 };

/* The command that starts rank r's host on a script of that many bytes, which is to be written to
 * its stdin, or that passes its stdin on to rank 0. */
struct dhole__ssh_command {
    char *argv[dhole__ssh_words];
    char command[dhole__ssh_command_size];
};
void dhole__ssh_start(const struct dhole__launch_job *job, int r, size_t script_length,
                      struct dhole__ssh_command *out);
void dhole__ssh_feed(const struct dhole__launch_job *job, struct dhole__ssh_command *out);

/* Appends the script that runs rank r there, and what is to follow it in its stdin. Then it reads
 * orders, a line each, and reports with marks (launch_marks.h):
 *   beat N       at least every dhole__ssh_silence_s / 2 seconds, N different from the last one
 *   signal NAME  for all processes of the rank
 * Where its stdin ends or falls silent it kills them, and itself. */
enum { dhole__ssh_silence_s = 10 };
DHOLE__MUST_CHECK dhole_err dhole__ssh_script(const struct dhole__launch_job *job, int r,
                                              struct dhole__buf *out);
DHOLE__MUST_CHECK dhole_err dhole__ssh_files(const struct dhole__launch_job *job, int r,
                                             struct dhole__buf *out);

#endif
