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

typedef dhole_err collective(dhole_group *, const void *, void *, size_t, dhole_dtype);

struct folding {
    collective *call;
    uint8_t (*fold)(uint8_t a, uint8_t b);
};

static uint8_t add(uint8_t a, uint8_t b)
{
    return (uint8_t)(a + b);
}

static uint8_t greater(uint8_t a, uint8_t b)
{
    return a > b ? a : b;
}

static uint8_t lesser(uint8_t a, uint8_t b)
{
    return a < b ? a : b;
}

static void expect_folded(const struct vector *out, uint8_t (*fold)(uint8_t a, uint8_t b))
{
    for (size_t i = 0; i < out->period; i++)
        ASSERT_MSG(out->data[i] == fold(value(0, i), value(1, i)), "byte %zu", i);
}

/* Each rank gives `given` vectors of `count` elements. */
static void fold_much(struct rank *r, const struct folding *folding, size_t given, size_t count)
{
    struct vector in = vector_of(r->rank, given * count), out = vector_for(r->rank, count);

    ASSERT_OK(folding->call(r->group, in.data, out.data, count, DHOLE_U8));
    expect_folded(&out, folding->fold);
    vector_close(&in);
    vector_close(&out);
}

static void reduce_much(struct rank *r)
{
    fold_much(r, r->arg, 1, BEYOND);
}

/* At least `least` bytes, so that parts that follow each other have the same pattern. */
static size_t whole_periods(size_t least)
{
    size_t period = 257 * (size_t)sysconf(_SC_PAGESIZE);

    return (least / period + 1) * period;
}

/* The parts are small enough, what they make together is not. */
static void scatter_much(struct rank *r)
{
    static const struct folding sum = {dhole_sum_scatter, add};

    fold_much(r, &sum, 2, whole_periods(BEYOND / 2));
}

static void expect_pattern(const struct vector *v, int rank)
{
    for (size_t i = 0; i < v->period; i++)
        ASSERT_MSG(v->data[i] == value(rank, i), "byte %zu of the pattern", i);
}

/* Both ranks give the same `given` parts, as those that they get lie one upon the other. */
static void place_much(struct rank *r, collective *call, size_t given, size_t part)
{
    struct vector in = vector_of(0, given * part), out = vector_for(r->rank, 2 * part);

    ASSERT_OK(call(r->group, in.data, out.data, part, DHOLE_U8));
    expect_pattern(&out, 0);
    vector_close(&in);
    vector_close(&out);
}

static void gather_much(struct rank *r)
{
    place_much(r, dhole_all_gather, 1, whole_periods(BEYOND));
}

static void exchange_much(struct rank *r)
{
    place_much(r, dhole_all_to_all, 2, whole_periods(BEYOND / 2));
}

static void broadcast_much(struct rank *r)
{
    struct vector v = r->rank == 1 ? vector_of(1, BEYOND) : vector_for(r->rank, BEYOND);

    ASSERT_OK(dhole_broadcast(r->group, v.data, BEYOND, DHOLE_U8, 1));
    expect_pattern(&v, 1);
    vector_close(&v);
}

/* The second time as two requests. */
static void swap_much(struct rank *r)
{
    struct vector in = vector_of(r->rank, BEYOND), out = vector_for(r->rank, BEYOND);
    dhole_request *request[2];

    ASSERT_OK(
        dhole_sendrecv(r->group, in.data, BEYOND, !r->rank, out.data, BEYOND, !r->rank, DHOLE_U8));
    expect_pattern(&out, !r->rank);
    memset(out.data, 0, out.period);
    ASSERT_OK(dhole_irecv(r->group, out.data, BEYOND, DHOLE_U8, !r->rank, &request[0]));
    ASSERT_OK(dhole_isend(r->group, in.data, BEYOND, DHOLE_U8, !r->rank, &request[1]));
    for (int i = 0; i < 2; i++)
        ASSERT_OK(dhole_wait(request[i]));
    expect_pattern(&out, !r->rank);
    vector_close(&in);
    vector_close(&out);
}

static void run_much(const struct backend *backend, rank_body *body, void *arg)
{
    need_room();
    run_group(backend, 2, body, arg);
}

/* Lanes count bytes too. */
TEST_LIMIT(a_message_of_more_than_2_32_bytes_mem, 300)
{
    run_much(&backend_mem, send_much, NULL);
}

TEST_LIMIT(a_message_of_more_than_2_32_bytes_tcp, 300)
{
    run_much(&backend_tcp, send_much, NULL);
}

TEST_LIMIT(a_message_of_more_than_2_32_bytes_rails, 300)
{
    run_much(&backend_rails, send_much, NULL);
}

TEST_LIMIT(a_message_of_more_than_2_32_bytes_sealed, 300)
{
    run_much(&backend_shm_sealed, send_much, NULL);
}

TEST_LIMIT(a_reduction_of_more_than_2_32_elements, 300)
{
    static const struct folding foldings[] = {
        {dhole_all_sum, add}, {dhole_all_max, greater}, {dhole_all_min, lesser}};

    for (size_t i = 0; i < sizeof foldings / sizeof foldings[0]; i++)
        run_much(i == 0 ? &backend_mem : &backend_shm, reduce_much, (void *)&foldings[i]);
}

TEST_LIMIT(parts_of_more_than_2_32_bytes_together, 300)
{
    run_much(&backend_mem, scatter_much, NULL);
    run_much(&backend_shm, exchange_much, NULL);
}

TEST_LIMIT(a_gather_of_parts_of_more_than_2_32_bytes, 300)
{
    run_much(&backend_shm, gather_much, NULL);
}

TEST_LIMIT(a_broadcast_of_more_than_2_32_bytes, 300)
{
    run_much(&backend_shm, broadcast_much, NULL);
}

TEST_LIMIT(a_swap_of_more_than_2_32_bytes, 300)
{
    run_much(&backend_shm, swap_much, NULL);
}
