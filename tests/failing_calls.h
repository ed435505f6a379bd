/* Calls to the system of which one fails: a test puts those that it is about into dhole__sys, says
 * which of them is to fail, and when the counting begins. Each file that includes this has its own
 * count. */
#ifndef DHOLE_TESTS_FAILING_CALLS_H
#define DHOLE_TESTS_FAILING_CALLS_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>

#include "base/sys.h"

/* Counted over all threads while they are at work; from 1. */
static atomic_int calls, failing_call;
static atomic_bool at_work;
static struct dhole__sys real;

static inline bool fails(int error)
{
    if (!atomic_load(&at_work) || atomic_fetch_add(&calls, 1) + 1 != atomic_load(&failing_call))
        return false;
    errno = error;
    return true;
}

static inline void *failing_malloc(size_t size)
{
    return fails(ENOMEM) ? NULL : real.malloc(size);
}

static inline void *failing_calloc(size_t n, size_t size)
{
    return fails(ENOMEM) ? NULL : real.calloc(n, size);
}

static inline void *failing_aligned_alloc(size_t align, size_t size)
{
    return fails(ENOMEM) ? NULL : real.aligned_alloc(align, size);
}

static inline int failing_open(const char *path, int flags, mode_t mode)
{
    return fails(EMFILE) ? -1 : real.open(path, flags, mode);
}

static inline int failing_fstat(int fd, struct stat *st)
{
    return fails(EIO) ? -1 : real.fstat(fd, st);
}

static inline void *failing_mmap(void *addr, size_t length, int prot, int flags, int fd,
                                 off_t offset)
{
    return fails(ENOMEM) ? MAP_FAILED : real.mmap(addr, length, prot, flags, fd, offset);
}

static inline int failing_pipe(int fds[2])
{
    return fails(EMFILE) ? -1 : real.pipe(fds);
}

static inline int failing_socket(int domain, int type, int protocol)
{
    return fails(EMFILE) ? -1 : real.socket(domain, type, protocol);
}

static inline int failing_bind(int fd, const struct sockaddr *address, socklen_t length)
{
    return fails(EADDRINUSE) ? -1 : real.bind(fd, address, length);
}

static inline int failing_listen(int fd, int backlog)
{
    return fails(EADDRINUSE) ? -1 : real.listen(fd, backlog);
}

static inline int failing_accept(int fd, struct sockaddr *address, socklen_t *length)
{
    return fails(EMFILE) ? -1 : real.accept(fd, address, length);
}

static inline int failing_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    return fails(ENETUNREACH) ? -1 : real.connect(fd, address, length);
}

static inline int failing_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
    return fails(ENOMEM) ? -1 : real.poll(fds, n, timeout_ms);
}

static inline ssize_t failing_send(int fd, const void *data, size_t size, int flags)
{
    return fails(ECONNRESET) ? -1 : real.send(fd, data, size, flags);
}

static inline ssize_t failing_recv(int fd, void *data, size_t size, int flags)
{
    return fails(ECONNRESET) ? -1 : real.recv(fd, data, size, flags);
}

static inline ssize_t failing_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    return fails(ECONNRESET) ? -1 : real.sendmsg(fd, msg, flags);
}

static inline ssize_t failing_recvmsg(int fd, struct msghdr *msg, int flags)
{
    return fails(ECONNRESET) ? -1 : real.recvmsg(fd, msg, flags);
}

static inline int failing_thread(pthread_t *thread, const pthread_attr_t *attributes,
                                 void *(*main)(void *arg), void *arg)
{
    return fails(EAGAIN) ? EAGAIN : real.thread_create(thread, attributes, main, arg);
}

#endif
