#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/os.h"

void dhole__wipe(void *p, size_t n)
{
    explicit_bzero(p, n);
}

int dhole__cpu_count(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
    return 1;
}

bool dhole__cpu_has_dot_product(void)
{
#if defined(__aarch64__)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
    return false;
#endif
}

void dhole__thread_name(const char *name)
{
    prctl(PR_SET_NAME, name, 0, 0, 0);
}

int dhole__self_path(char *buf, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", buf, size - 1);

    if (n < 0)
        return -1;
    buf[n] = '\0';
    return 0;
}

const int dhole__msg_nosignal = MSG_NOSIGNAL;

void dhole__socket_no_sigpipe(int fd)
{
    (void)fd;
}

void dhole__socket_on_host(int fd)
{
    static const char reno[] = "reno"; /* every Linux has it, and anybody may choose it */

    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, reno, sizeof reno - 1);
}

void dhole__huge_pages(void *p, size_t n)
{
    madvise(p, n, MADV_HUGEPAGE); /* a wish: the kernel may have none */
}
