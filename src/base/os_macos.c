#define __STDC_WANT_LIB_EXT1__ 1
#include <errno.h>
#include <fcntl.h>
#include <mach-o/dyld.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/event.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysctl.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/os.h"
#include "base/sys.h"

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
void dhole__cpu_set(uint8_t set[static dhole__cpu_set_bytes])
{
    int count = dhole__cpu_count();

    memset(set, 0, dhole__cpu_set_bytes);
    for (int i = 0; i < 8 * dhole__cpu_set_bytes && i < count; i++)
        set[i / 8] |= (uint8_t)(1 << i % 8);
}

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

void dhole__die_with_parent(void)
{
}

int dhole__kill_marked(const char *entry)
{
    (void)entry;
    return 0;
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

int dhole__socket_peer(int fd, uid_t *user, pid_t *process)
{
    socklen_t length = sizeof *process;
    gid_t group;

    if (getpeereid(fd, user, &group) < 0)
        return -1;
    return getsockopt(fd, SOL_LOCAL, LOCAL_PEERPID, process, &length);
}

const clockid_t dhole__coarse_clock = CLOCK_MONOTONIC;

int dhole__memory_pressure(void)
{
    int free_percent;
    size_t size = sizeof free_percent;

    if (sysctlbyname("kern.memorystatus_level", &free_percent, &size, NULL, 0) != 0 ||
        free_percent < 0 || free_percent > 100)
        return -1;
    return 100 - free_percent;
}

void dhole__huge_pages(void *p, size_t n)
{
    (void)p;
    (void)n;
}

const int dhole__map_populate = 0;

static const char shared_prefix[] = "/dhole.";

static int close_failed(int fd)
{
    int error = errno;

    close(fd);
    errno = error;
    return -1;
}

/* The size of such memory can be set once only, so nobody can make it smaller. */
int dhole__shared_make(size_t size, char name[dhole__shared_name_max])
{
    unsigned long long id;
    int fd;

    if (getentropy(&id, sizeof id) != 0)
        return -1;
    snprintf(name, dhole__shared_name_max, "%s%016llx", shared_prefix, id);
    fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return -1;
    if (ftruncate(fd, (off_t)size) != 0) {
        dhole__shared_unname(name);
        return close_failed(fd);
    }
    return fd;
}

int dhole__shared_open(const char *name, size_t size)
{
    struct stat st;
    int fd;

    errno = EINVAL;
    if (strncmp(name, shared_prefix, sizeof shared_prefix - 1) != 0)
        return -1;
    fd = shm_open(name, O_RDWR);
    if (fd < 0)
        return -1;
    errno = EINVAL;
    if (dhole__sys.fstat(fd, &st) != 0 || st.st_size < (off_t)size)
        return close_failed(fd);
    return fd;
}

void dhole__shared_unname(const char *name)
{
    int error = errno;

    shm_unlink(name);
    errno = error;
}

void dhole__host_text(char text[dhole__host_text_max])
{
    char boot[64] = "";
    size_t size = sizeof boot;

    sysctlbyname("kern.bootsessionuuid", boot, &size, NULL, 0);
    snprintf(text, dhole__host_text_max, "%s/%u", boot, (unsigned)getuid());
}

int dhole__watch_make(const int *fds, int n)
{
    int watch = kqueue();

    if (watch >= 0)
        fcntl(watch, F_SETFD, FD_CLOEXEC);
    for (int i = 0; i < n && watch >= 0; i++) {
        struct kevent event;
        EV_SET(&event, fds[i], EVFILT_READ, EV_ADD, 0, 0, NULL);
        if (kevent(watch, &event, 1, NULL, 0, NULL) < 0)
            return close_failed(watch);
    }
    return watch;
}
