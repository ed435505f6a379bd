/* What differs between systems; one file a system: os_linux.c, os_macos.c. */
#ifndef DHOLE_BASE_OS_H
#define DHOLE_BASE_OS_H

#include <stdbool.h>
#include <stddef.h>

/* Overwrites memory in a way that the compiler keeps. */
void dhole__wipe(void *p, size_t n);

/* Processors that this process may run on; at least 1. */
int dhole__cpu_count(void);

/* Whether this processor has the int8 dot products of Armv8.2; false on others than Arm. */
bool dhole__cpu_has_dot_product(void);

/* Names the calling thread for debuggers; at most 15 characters are kept. */
void dhole__thread_name(const char *name);

/* Path of the running program into buf, NUL-terminated; 0 on success. */
int dhole__self_path(char *buf, size_t size);

/* A peer that is gone must be an error, never SIGPIPE: a flag for sendmsg where there is
 * one, an option of the socket where there is not. */
extern const int dhole__msg_nosignal;
void dhole__socket_no_sigpipe(int fd);

/* For a TCP socket whose peer is on this host: there is no network to be gentle to, and a
 * congestion control that paces (BBR) would only slow it down. */
void dhole__socket_on_host(int fd);

/* Asks for large pages under a mapping, where the system has them on request. */
void dhole__huge_pages(void *p, size_t n);

/* Tells the CPU that this is a spin loop. */
static inline void dhole__cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
