/* What tests/cluster/netns.py runs: announces this machine until its input ends, or prints a line
 * "NAME FINGERPRINT ADDRESS" for each machine that is found. */
#include <dhole/cluster.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int report(void)
{
    fprintf(stderr, "%s\n", dhole_error_message());
    return 1;
}

static int announce(const char *name, int port, const char *fingerprint)
{
    dhole_announcement *announcement;
    dhole_pin pin;
    char byte;

    if (dhole_fingerprint_parse(fingerprint, &pin) ||
        dhole_announce(name, port, &pin, &announcement))
        return report();
    puts("announced");
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        continue;
    dhole_announcement_free(announcement);
    return 0;
}

static void show(void *arg, const dhole_found *machine)
{
    char fingerprint[DHOLE_FINGERPRINT_SIZE];

    (void)arg;
    dhole_fingerprint(&machine->pin, fingerprint);
    printf("%s %s %s\n", machine->name, fingerprint, machine->address);
}

/* What the library does must leave signals as they were. */
static int find(int timeout_ms)
{
    struct sigaction pipe;

    if (dhole_discover(timeout_ms, show, NULL))
        return report();
    sigaction(SIGPIPE, NULL, &pipe);
    return pipe.sa_handler == SIG_DFL ? 0 : 2;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "announce") == 0)
        return announce(argv[2], atoi(argv[3]), argv[4]);
    if (argc == 3 && strcmp(argv[1], "find") == 0)
        return find(atoi(argv[2]));
    fprintf(stderr, "usage: %s announce NAME PORT FINGERPRINT | find MILLISECONDS\n", argv[0]);
    return 2;
}
