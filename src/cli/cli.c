#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "group/devices.h"
#include "transport/tcp/tcp.h"

int dhole__exit_code(dhole_err err)
{
    switch (err) {
    case DHOLE_OK: return DHOLE__EXIT_DONE;
    case DHOLE_ERR_TIMEOUT:
    case DHOLE_ERR_PEER_LOST: return DHOLE__EXIT_PEER_LOST;
    case DHOLE_ERR_AUTH: return DHOLE__EXIT_AUTH;
    case DHOLE_ERR_FORMAT: return DHOLE__EXIT_FILE;
    default: return DHOLE__EXIT_FAILED;
    }
}

int dhole__report(dhole_err err)
{
    fprintf(stderr, "dhole: %s\n", dhole_error_message());
    return dhole__exit_code(err);
}

int dhole__report_model(dhole_err err)
{
    dhole__report(err);
    return err == DHOLE_ERR_NOMEM ? DHOLE__EXIT_FAILED : DHOLE__EXIT_FILE;
}

int dhole__usage(const char *command, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "dhole %s: ", command);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "; see dhole help %s\n", command);
    return DHOLE__EXIT_USAGE;
}

int dhole__next_option_before(int argc, char **argv, const char *letters,
                              const struct option *options)
{
    char form[32];
    int c;

    opterr = 0;
    snprintf(form, sizeof form, "+:h%s", letters);
    c = getopt_long(argc, argv, form, options, NULL);
    if (c == ':')
        dhole__usage(argv[0], "%s needs a value", argv[optind - 1]);
    else if (c == '?')
        dhole__usage(argv[0], "there is no option %s", argv[optind - 1]);
    else
        return c;
    return '?';
}

int dhole__next_option(int argc, char **argv, const struct option *options)
{
    int c = dhole__next_option_before(argc, argv, "", options);

    if (c != -1 || optind >= argc)
        return c;
    dhole__usage(argv[0], "unexpected \"%s\"", argv[optind]);
    return '?';
}

bool dhole__option_int(char **argv, const char *name, long long min, long long max, long long *out)
{
    char *end;
    long long n;

    errno = 0;
    n = strtoll(optarg, &end, 10);
    if (end == optarg || *end != '\0' || errno != 0 || n < min || n > max) {
        dhole__usage(argv[0], "--%s \"%s\": expected a whole number from %lld to %lld", name,
                     optarg, min, max);
        return false;
    }
    *out = n;
    return true;
}

bool dhole__option_address(char **argv, const char *name, const char **out)
{
    if (!dhole__tcp_is_address(optarg)) {
        dhole__usage(argv[0], "--%s \"%s\": expected HOST:PORT", name, optarg);
        return false;
    }
    *out = optarg;
    return true;
}

bool dhole__option_float(char **argv, const char *name, float min, float max, const char *expected,
                         float *out)
{
    char *end;
    float x = strtof(optarg, &end);

    if (end == optarg || *end != '\0' || !isfinite(x) || x < min || x > max) {
        dhole__usage(argv[0], "--%s \"%s\": expected a number %s", name, optarg, expected);
        return false;
    }
    *out = x;
    return true;
}

bool dhole__check_devices(const char *command, const char *list)
{
    if (dhole__devices_check_list(list) == DHOLE_OK)
        return true;
    dhole__usage(command, "--devices: %s", dhole_error_message());
    return false;
}

bool dhole__flush_stdout(void)
{
    static bool said;

    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    if (!said && errno != EPIPE)
        fprintf(stderr, "dhole: cannot write to stdout: %s\n", strerror(errno));
    said = true;
    return false;
}
