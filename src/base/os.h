/* What differs between systems; one file a system: os_linux.c, os_macos.c. */
#ifndef DHOLE_BASE_OS_H
#define DHOLE_BASE_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* Overwrites memory in a way that the compiler keeps. */
void dhole__wipe(void *p, size_t n);

/* Processors that this process may run on; at least 1. */
int dhole__cpu_count(void);

/* The same as a set, bit i % 8 of byte i / 8 for processor i; where the system gives processors no
 * numbers, the first ones. */
enum { dhole__cpu_set_bytes = 128 };
void dhole__cpu_set(uint8_t set[static dhole__cpu_set_bytes]);

/* Whether this processor has the int8 dot products of Armv8.2; false on others than Arm. */
bool dhole__cpu_has_dot_product(void);

/* Names the calling thread for debuggers; at most 15 characters are kept. */
void dhole__thread_name(const char *name);

/* Has the system kill this process when its parent ends, where the system can. */
void dhole__die_with_parent(void);

/* Kills every other process that was started with an environment in which an entry begins
 * with this "NAME=VALUE", whatever it has done since; returns how many it found. None where the
 * system does not tell. */
int dhole__kill_marked(const char *entry);

/* Path of the running program into buf, NUL-terminated; 0 on success. */
int dhole__self_path(char *buf, size_t size);

/* A peer that is gone must be an error, never SIGPIPE: a flag for sendmsg where there is
 * one, an option of the socket where there is not. */
extern const int dhole__msg_nosignal;
void dhole__socket_no_sigpipe(int fd);

/* For a TCP socket whose peer is on this host: there is no network to be gentle to, and a
 * congestion control that paces (BBR) would only slow it down. */
void dhole__socket_on_host(int fd);

/* Who made the other end of a connected Unix socket; 0 on success. */
int dhole__socket_peer(int fd, uid_t *user, pid_t *process);

/* Agrees with CLOCK_MONOTONIC to some milliseconds, and is cheaper to read if there is such a one.
 */
extern const clockid_t dhole__coarse_clock;

/* Percent of this machine's memory that is in use and cannot be had at once; -1: it does not tell.
 */
int dhole__memory_pressure(void);

/* Asks for large pages under a mapping, where the system has them on request. */
void dhole__huge_pages(void *p, size_t n);

/* Memory to share with another process of this user. Make returns a descriptor, and a name for the
 * other process to open it by; -1 and errno on failure. The size of what open returns is `size`,
 * and nobody can make it smaller. Only for as long as the maker keeps its descriptor and has not
 * called unname can others open it. */
enum { dhole__shared_name_max = 40 };
int dhole__shared_make(size_t size, char name[dhole__shared_name_max]);
int dhole__shared_open(const char *name, size_t size);
void dhole__shared_unname(const char *name);

/* Has mmap fetch the pages at once, where it can. */
extern const int dhole__map_populate;

/* The same text, without spaces, in processes that can share memory so. */
enum { dhole__host_text_max = 128 };
void dhole__host_text(char text[dhole__host_text_max]);

/* A descriptor, to be closed, that is readable for as long as any of these n is; -1 and errno on
 * failure. */
int dhole__watch_make(const int *fds, int n);

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
