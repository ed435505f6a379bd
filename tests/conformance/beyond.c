/* More than 2^32 elements in one call, in little memory: a vector is one small file mapped again
 * and again, so that its pattern repeats with a period that no power of two is a multiple of.
 * Whatever falls on a wrong place leaves a wrong pattern. */
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

#if defined(__SANITIZE_THREAD__)
enum { watched = 1 };
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
enum { watched = 1 };
#else
enum { watched = 0 };
#endif
#else
enum { watched = 0 };
#endif

#define BEYOND ((size_t)UINT32_MAX + 6)

/* A vector of `count` bytes whose pattern has `period` bytes. */
struct vector {
    uint8_t *data;
    size_t period, size;
};

static struct vector vector_open(const char *name, size_t count)
{
    struct vector v = {NULL, 257 * (size_t)sysconf(_SC_PAGESIZE), 0};
    char path[512];
    int fd;

    snprintf(path, sizeof path, "%s/%s", test_dir(), name);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ASSERT(fd >= 0 && ftruncate(fd, (off_t)v.period) == 0);
    v.size = (count + v.period - 1) / v.period * v.period;
    v.data = mmap(NULL, v.size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (v.data == MAP_FAILED)
        test_skip("no room for 4 GiB of addresses");
    for (size_t at = 0; at < v.size; at += v.period)
        ASSERT(mmap(v.data + at, v.period, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) !=
               MAP_FAILED);
    close(fd);
    return v;
}

static void vector_close(struct vector *v)
{
    munmap(v->data, v->size);
}

static uint8_t value(int rank, size_t i)
{
    return (uint8_t)(i * 7 + i / 251 + (size_t)rank * 13);
}

static struct vector vector_of(int rank, size_t count)
{
    char name[16];
    struct vector v;

    snprintf(name, sizeof name, "in %d", rank);
    v = vector_open(name, count);
    for (size_t i = 0; i < v.period; i++)
        v.data[i] = value(rank, i);
    return v;
}

static struct vector vector_for(int rank, size_t count)
{
    char name[16];

    snprintf(name, sizeof name, "out %d", rank);
    return vector_open(name, count);
}

static void need_room(void)
{
    if (sizeof(size_t) < 8)
        test_skip("2^32 elements need 64-bit addresses");
    if (watched)
        test_skip("ThreadSanitizer would need 16 GiB for what it knows of 4");
}

static void send_much(struct rank *r)
{
    struct vector v = r->rank == 0 ? vector_of(0, BEYOND) : vector_for(1, BEYOND);

    if (r->rank == 0) {
        ASSERT_OK(dhole_send(r->group, v.data, BEYOND, DHOLE_U8, 1));
    } else {
        ASSERT_OK(dhole_recv(r->group, v.data, BEYOND, DHOLE_U8, 0));
        for (size_t i = 0; i < v.period; i++)
            ASSERT_MSG(v.data[i] == value(0, i), "byte %zu of the pattern", i);
    }
    vector_close(&v);
}

static void sum_much(struct rank *r)
{
    struct vector in = vector_of(r->rank, BEYOND), out = vector_for(r->rank, BEYOND);

    ASSERT_OK(dhole_all_sum(r->group, in.data, out.data, BEYOND, DHOLE_U8));
    for (size_t i = 0; i < out.period; i++)
        ASSERT_MSG(out.data[i] == (uint8_t)(value(0, i) + value(1, i)), "byte %zu", i);
    vector_close(&in);
    vector_close(&out);
}

/* The parts are small enough, what they make together is not. */
static void exchange_much(struct rank *r)
{
    size_t period = 257 * (size_t)sysconf(_SC_PAGESIZE);
    size_t part = (BEYOND / 2 / period + 1) * period; /* so that the parts have the same pattern */
    struct vector in = vector_of(r->rank, 2 * part), out = vector_for(r->rank, part);

    ASSERT_OK(dhole_sum_scatter(r->group, in.data, out.data, part, DHOLE_U8));
    for (size_t i = 0; i < out.period; i++)
        ASSERT_MSG(out.data[i] == (uint8_t)(value(0, i) + value(1, i)), "byte %zu", i);
    vector_close(&in);
    vector_close(&out);
}

TEST_LIMIT(a_message_of_more_than_2_32_bytes, 300)
{
    need_room();
    run_group(&backend_mem, 2, send_much, NULL);
}

TEST_LIMIT(a_sum_of_more_than_2_32_elements, 300)
{
    need_room();
    run_group(&backend_mem, 2, sum_much, NULL);
}

TEST_LIMIT(parts_of_more_than_2_32_bytes_together, 300)
{
    need_room();
    run_group(&backend_mem, 2, exchange_much, NULL);
}
