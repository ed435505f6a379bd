#include "cli/notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

static void send_to(const char *path, const char *state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    int fd;

    if (length >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, path, length);
    if (path[0] == '@') /* Linux: no file, but a name that begins with a zero byte */
        address.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (fd < 0 || sendto(fd, state, strlen(state), 0, (struct sockaddr *)&address,
                         (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0)
        dhole__log(DHOLE__LOG_WARN, "cannot tell %s \"%s\"", path, state);
    if (fd >= 0)
        close(fd);
}

void dhole__notify(const char *format, ...)
{
    const char *path = getenv("NOTIFY_SOCKET");
    char state[1024];
    va_list args;

    if (path == NULL || *path == '\0')
        return;
    va_start(args, format);
    vsnprintf(state, sizeof state, format, args);
    va_end(args);
    send_to(path, state);
}
