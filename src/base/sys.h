/* The system calls that can fail, behind one table, so that a test can make
 * any of them fail, be short or block (method: SQLite's test_syscall.c).
 * Product code never writes to the table. */
#ifndef DHOLE_BASE_SYS_H
#define DHOLE_BASE_SYS_H

#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

struct dhole__sys {
    void *(*malloc)(size_t size);
    void *(*calloc)(size_t count, size_t size);
    void *(*realloc)(void *old, size_t size);
    void *(*aligned_alloc)(size_t align, size_t size);
    int (*open)(const char *path, int flags, mode_t mode);
    int (*fstat)(int fd, struct stat *st);
    void *(*mmap)(void *addr, size_t length, int prot, int flags, int fd, off_t offset);
    int (*socket)(int domain, int type, int protocol);
    int (*bind)(int fd, const struct sockaddr *addr, socklen_t length);
    int (*listen)(int fd, int backlog);
    int (*accept)(int fd, struct sockaddr *addr, socklen_t *length);
    int (*connect)(int fd, const struct sockaddr *addr, socklen_t length);
    ssize_t (*send)(int fd, const void *data, size_t size, int flags);
    ssize_t (*recv)(int fd, void *data, size_t size, int flags);
    ssize_t (*sendmsg)(int fd, const struct msghdr *msg, int flags);
    ssize_t (*recvmsg)(int fd, struct msghdr *msg, int flags);
    int (*getaddrinfo)(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **out);
    int (*poll)(struct pollfd *fds, nfds_t count, int timeout_ms);
    int (*pipe)(int fds[2]);
    ssize_t (*write)(int fd, const void *data, size_t size);
    int (*fsync)(int fd);
    int (*rename)(const char *from, const char *to);
    int (*thread_create)(pthread_t *thread, const pthread_attr_t *attributes,
                         void *(*main)(void *arg), void *arg);
};

extern struct dhole__sys dhole__sys;

#endif
