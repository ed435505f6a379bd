#define __STDC_WANT_LIB_EXT1__ 1
#include <mach-o/dyld.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/os.h"

void dhole__wipe(void *p, size_t n)
{
    memset_s(p, n, 0, n);
}

int dhole__cpu_count(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n > 0 ? (int)n : 1;
}

/* Every Mac with an Arm processor has them. */
bool dhole__cpu_has_dot_product(void)
{
#if defined(__aarch64__)
    return true;
#else
    return false;
#endif
}

void dhole__thread_name(const char *name)
{
    pthread_setname_np(name);
}

int dhole__self_path(char *buf, size_t size)
{
    uint32_t n = (uint32_t)size;

    return _NSGetExecutablePath(buf, &n);
}

const int dhole__msg_nosignal = 0;

void dhole__socket_no_sigpipe(int fd)
{
    int on = 1;

    setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
}

void dhole__socket_on_host(int fd)
{
    (void)fd; /* nothing paces here */
}

void dhole__huge_pages(void *p, size_t n)
{
    (void)p;
    (void)n;
}
