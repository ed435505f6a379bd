#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"

static const char *const names[] = {"error", "warn", "info", "debug"};
static enum dhole__log_level threshold = DHOLE__LOG_WARN;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* MLX's wish for more lines. */
static bool mlx_is_verbose(void)
{
    const char *value = getenv("MLX_RING_VERBOSE");

    return value != NULL && *value != '\0' && strcmp(value, "0") != 0 &&
           strcasecmp(value, "false") != 0;
}

static void read_threshold(void)
{
    const char *value = getenv("DHOLE_LOG");

    if (mlx_is_verbose())
        threshold = DHOLE__LOG_INFO;
    for (int i = 0; value != NULL && i <= DHOLE__LOG_DEBUG; i++)
        if (strcmp(value, names[i]) == 0)
            threshold = (enum dhole__log_level)i;
}

void dhole__log(enum dhole__log_level level, const char *format, ...)
{
    char line[1024];
    va_list args;
    int n;

    pthread_once(&once, read_threshold);
    if (level > threshold)
        return;
    n = snprintf(line, sizeof line, "dhole[%ld] %.3f %s: ", (long)getpid(),
                 (double)dhole__now() / 1e9, names[level]);
    va_start(args, format);
    vsnprintf(line + n, sizeof line - (size_t)n, format, args);
    va_end(args);
    dhole__disarm(line);
    fprintf(stderr, "%s\n", line);
}
