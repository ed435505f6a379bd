#include "base/sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* open() is variadic, so it has no address of the type the table wants. */
static int open3(const char *path, int flags, mode_t mode)
{
    return open(path, flags, mode);
}

struct dhole__sys dhole__sys = {
    .malloc = malloc,
    .calloc = calloc,
    .realloc = realloc,
    .aligned_alloc = aligned_alloc,
    .open = open3,
    .fstat = fstat,
    .mmap = mmap,
    .socket = socket,
    .bind = bind,
    .listen = listen,
    .accept = accept,
    .connect = connect,
    .send = send,
    .recv = recv,
    .sendmsg = sendmsg,
    .recvmsg = recvmsg,
    .getaddrinfo = getaddrinfo,
    .poll = poll,
    .pipe = pipe,
    .write = write,
    .fsync = fsync,
    .rename = rename,
    .thread_create = pthread_create,
};
