#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "base/sys.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U /* Linux 6.3 */
#endif

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

void dhole__cpu_set(uint8_t set[static dhole__cpu_set_bytes])
{
    cpu_set_t allowed;

    memset(set, 0, dhole__cpu_set_bytes);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return;
    for (unsigned i = 0; i < 8 * dhole__cpu_set_bytes && i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &allowed))
            set[i / 8] |= (uint8_t)(1 << i % 8);
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

void dhole__die_with_parent(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* Whether a process's environment has an entry that begins so. It is read in pieces that overlap
 * by the length of the entry. */
static bool is_marked(const char *pid, const char *entry)
{
    char path[64], text[1 << 14] = "";
    size_t length = strlen(entry), have = 1; /* as if an entry had ended before the first */
    bool found = false;
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/proc/%.20s/environ", pid);
    fd = dhole__sys.open(path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0 || length >= sizeof text / 2)
        goto out;
    while (!found && (n = read(fd, text + have, sizeof text - have)) > 0) {
        size_t end = have + (size_t)n;
        for (size_t i = 0; i + length < end && !found; i++)
            found = text[i] == '\0' && memcmp(text + i + 1, entry, length) == 0;
        have = end < length ? end : length;
        memmove(text, text + end - have, have);
    }
out:
    if (fd >= 0)
        close(fd);
    return found;
}

int dhole__kill_marked(const char *entry)
{
    DIR *processes = opendir("/proc");
    struct dirent *process;
    int found = 0;

    while (processes != NULL && (process = readdir(processes)) != NULL) {
        pid_t pid = (pid_t)strtol(process->d_name, NULL, 10);
        if (pid > 0 && pid != getpid() && is_marked(process->d_name, entry)) {
            kill(pid, SIGKILL);
            found++;
        }
    }
    if (processes != NULL)
        closedir(processes);
    return found;
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

int dhole__socket_peer(int fd, uid_t *user, pid_t *process)
{
    struct ucred peer;
    socklen_t length = sizeof peer;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        return -1;
    *user = peer.uid;
    *process = peer.pid;
    return 0;
}

const clockid_t dhole__coarse_clock = CLOCK_MONOTONIC_COARSE;

int dhole__memory_pressure(void)
{
    char text[512] = "";
    const char *total, *available;
    unsigned long long all = 0, left = 0;
    int fd = dhole__sys.open("/proc/meminfo", O_RDONLY | O_CLOEXEC, 0);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;

    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    total = strstr(text, "MemTotal:");
    available = strstr(text, "MemAvailable:");
    if (total == NULL || available == NULL || sscanf(total, "MemTotal: %llu", &all) != 1 ||
        sscanf(available, "MemAvailable: %llu", &left) != 1 || all == 0 || left > all)
        return -1;
    return (int)((all - left) * 100 / all);
}

void dhole__huge_pages(void *p, size_t n)
{
    madvise(p, n, MADV_HUGEPAGE); /* a wish: the kernel may have none */
}

const int dhole__map_populate = MAP_POPULATE;

/* Without a name in any file system, so that nothing is left behind whoever is killed. */
static int anonymous_memory(void)
{
    int fd = memfd_create("dhole", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("dhole", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

/* Gets the memory itself too, as later there would be no error but a signal. */
int dhole__shared_make(size_t size, char name[dhole__shared_name_max])
{
    int fd = anonymous_memory(), error;

    if (fd < 0)
        return -1;
    error = posix_fallocate(fd, 0, (off_t)size);
    if (error == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        error = errno;
    if (error) {
        close(fd);
        errno = error;
        return -1;
    }
    snprintf(name, dhole__shared_name_max, "%d/%d", (int)getpid(), fd);
    return fd;
}

static bool is_shared_memory(int fd, size_t size)
{
    struct stat st;

    return dhole__sys.fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == (off_t)size;
}

static bool is_sealed(int fd)
{
    int seals = fcntl(fd, F_GET_SEALS);

    return seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
}

/* The name comes from the peer and can mean anything that this user has open, so it is looked at
 * before it is opened: opening a pipe or a device can have effects. */
int dhole__shared_open(const char *name, size_t size)
{
    char path[64], rest;
    int pid, number, look, fd = -1;

    errno = EINVAL;
    if (sscanf(name, "%d/%d%c", &pid, &number, &rest) != 2)
        return -1;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, number);
    look = dhole__sys.open(path, O_PATH | O_CLOEXEC, 0);
    if (look < 0)
        return -1;
    errno = EINVAL;
    if (is_shared_memory(look, size)) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", look);
        fd = dhole__sys.open(path, O_RDWR | O_CLOEXEC, 0);
    }
    close(look);
    if (fd >= 0 && !is_sealed(fd)) {
        close(fd);
        errno = EINVAL;
        return -1;
    }
    return fd;
}

void dhole__shared_unname(const char *name)
{
    (void)name;
}

/* A process of another container has another /proc, and one of another user may not be opened. */
void dhole__host_text(char text[dhole__host_text_max])
{
    char boot[64] = "";
    struct stat ns = {0};
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {
        ssize_t n = read(fd, boot, sizeof boot - 1);
        boot[n > 0 ? n : 0] = '\0';
        boot[strcspn(boot, "\n")] = '\0';
        close(fd);
    }
    stat("/proc/self/ns/pid", &ns);
    snprintf(text, dhole__host_text_max, "%s/%llu/%u", boot, (unsigned long long)ns.st_ino,
             (unsigned)getuid());
}

int dhole__watch_make(const int *fds, int n)
{
    int watch = epoll_create1(EPOLL_CLOEXEC);

    for (int i = 0; i < n && watch >= 0; i++) {
        struct epoll_event event = {.events = EPOLLIN};
        if (epoll_ctl(watch, EPOLL_CTL_ADD, fds[i], &event) == 0)
            continue;
        close(watch);
        watch = -1;
    }
    return watch;
}
