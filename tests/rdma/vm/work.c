/* What ranks do with each other in the virtual machines of script/rdma-vm, as tests/rdma/real.py
 * says: joins the group that the environment names, prints "joined", works, prints what it has
 * done. Exits with 1 when a byte was wrong, and with 3, after the message, when a call failed.
 *
 *   test_rdma_work sequences COUNT   messages of any type and size between any two ranks
 *   test_rdma_work stream SIZE COUNT from rank 0 to rank 1; rank 0 prints MB/s */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dhole/group.h"

enum {
    size_bits = 16,
    size_max = 1 << size_bits,
    types = 14,
    /* Emulated machines may stand still for seconds. */
    timeout_ms = 8000,
    silence_ms = 8000,
    wrong = 1,
    usage = 2,
    failed = 3
};

struct work {
    dhole_group *group;
    int rank, ranks;
    uint8_t *data, *expected;
};

/* splitmix64 */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void fill(uint8_t *data, size_t size, uint64_t seed)
{
    for (size_t i = 0; i < size; i += sizeof seed) {
        uint64_t word = draw(&seed);
        memcpy(data + i, &word, size - i < sizeof word ? size - i : sizeof word);
    }
}

/* Of any magnitude, 0 too. */
static size_t any_size(uint64_t *random)
{
    uint64_t most = 1u << draw(random) % (size_bits + 1);

    return (size_t)(draw(random) % (most + 1));
}

/* All ranks draw the same numbers, and two of them take part. */
static int sequence(struct work *w, uint64_t *random)
{
    int from = (int)(draw(random) % (unsigned)w->ranks);
    int to = (from + 1 + (int)(draw(random) % (unsigned)(w->ranks - 1))) % w->ranks;
    dhole_dtype type = (dhole_dtype)(draw(random) % types);
    size_t count = any_size(random) / dhole_dtype_size(type);
    size_t size = count * dhole_dtype_size(type);
    uint64_t seed = draw(random);

    if (w->rank == from) {
        fill(w->data, size, seed);
        return dhole_send(w->group, w->data, count, type, to) ? failed : 0;
    }
    if (w->rank != to)
        return 0;
    if (dhole_recv(w->group, w->data, count, type, from) != DHOLE_OK)
        return failed;
    fill(w->expected, size, seed);
    if (memcmp(w->data, w->expected, size) == 0)
        return 0;
    fprintf(stderr, "%zu bytes of type %d from rank %d are wrong\n", size, (int)type, from);
    return wrong;
}

static int sequences(struct work *w, long count)
{
    uint64_t random = 1;
    int code = 0;

    for (long i = 0; i < count && code == 0; i++)
        code = sequence(w, &random);
    if (code == 0 && dhole_barrier(w->group) != DHOLE_OK)
        code = failed;
    if (code == 0)
        printf("%ld sequences\n", count);
    return code;
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* As long as it takes until the last byte has been received. */
static int stream(struct work *w, size_t size, long count)
{
    double start = seconds();
    dhole_err err = DHOLE_OK;

    for (long i = 0; i < count && !err; i++)
        err = w->rank == 0 ? dhole_send(w->group, w->data, size, DHOLE_U8, 1)
                           : dhole_recv(w->group, w->data, size, DHOLE_U8, 0);
    if (!err)
        err = dhole_barrier(w->group);
    if (!err && w->rank == 0)
        printf("%.3f MB/s\n", (double)size * (double)count / (seconds() - start) * 1e-6);
    return err ? failed : 0;
}

static int join(struct work *w, size_t size)
{
    dhole_options options = DHOLE_OPTIONS_INIT;

    options.timeout_ms = timeout_ms;
    options.silence_ms = silence_ms;
    if (dhole_init(&options, &w->group) != DHOLE_OK)
        return failed;
    w->rank = dhole_rank(w->group);
    w->ranks = dhole_size(w->group);
    if (dhole_alloc(w->group, size, (void **)&w->data) != DHOLE_OK ||
        dhole_barrier(w->group) != DHOLE_OK)
        return failed;
    memset(w->data, 0, size);
    w->expected = malloc(size);
    printf("joined\n");
    fflush(stdout);
    return w->expected == NULL ? failed : 0;
}

int main(int argc, char **argv)
{
    bool is_stream = argc == 4 && strcmp(argv[1], "stream") == 0;
    bool is_sequences = argc == 3 && strcmp(argv[1], "sequences") == 0;
    size_t size = is_stream ? strtoul(argv[2], NULL, 10) : size_max;
    struct work w = {0};
    int code;

    if (!is_stream && !is_sequences)
        return usage;
    code = join(&w, size);
    if (code == 0)
        code = is_stream ? stream(&w, size, strtol(argv[3], NULL, 10))
                         : sequences(&w, strtol(argv[2], NULL, 10));
    if (code == failed)
        fprintf(stderr, "%s\n", dhole_error_message());
    free(w.expected);
    if (w.group != NULL)
        dhole_dealloc(w.group, w.data);
    dhole_group_free(w.group);
    return code;
}
