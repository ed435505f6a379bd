#include "world.h"

#include "transport/mem/mem.h"

void world_open(struct world *w, int size)
{
    memset(w, 0, sizeof *w);
    w->size = size;
    for (int i = 0; i < size; i++) {
        w->rank[i].comm.rank = i;
        w->rank[i].comm.size = size;
        ASSERT_OK(dhole__comm_init(&w->rank[i].comm));
    }
}

void world_join(struct world *w, int a, int b)
{
    struct dhole__conn *pair[2];

    ASSERT_OK(dhole__mem_pair(pair));
    w->rank[a].comm.lane[b] = pair[0];
    w->rank[b].comm.lane[a] = pair[1];
}

void world_close(struct world *w)
{
    for (int i = 0; i < w->size; i++) {
        for (int j = 0; j < w->size; j++)
            dhole__conn_close(w->rank[i].comm.lane[j]);
        dhole__comm_free(&w->rank[i].comm);
        free(w->rank[i].in);
        free(w->rank[i].out);
    }
}

void world_set(struct world *w, enum dhole__op op, dhole_dtype dtype, size_t count, size_t in_bytes,
               size_t out_bytes)
{
    for (int i = 0; i < w->size; i++) {
        struct rank *r = &w->rank[i];
        r->op = op;
        r->dtype = dtype;
        r->count = count;
        r->in = realloc(r->in, in_bytes + 1);
        r->out = realloc(r->out, out_bytes + 1);
    }
}

void world_run(struct world *w, void *(*body)(void *arg))
{
    for (int i = 0; i < w->size; i++)
        ASSERT(pthread_create(&w->rank[i].thread, NULL, body, &w->rank[i]) == 0);
    for (int i = 0; i < w->size; i++)
        pthread_join(w->rank[i].thread, NULL);
}

static void *reduce(void *arg)
{
    struct rank *r = arg;
    const void *in = r->in_place ? r->out : r->in;

    ASSERT_OK(dhole__all_reduce(&r->comm, r->op, in, r->out, r->count, r->dtype, soon()));
    return NULL;
}

void world_reduce(struct world *w, enum dhole__op op, dhole_dtype dtype, size_t count,
                  unsigned seed, fill_function *fill)
{
    size_t bytes = count * dhole_dtype_size(dtype);

    world_set(w, op, dtype, count, bytes, bytes);
    for (int i = 0; i < w->size; i++) {
        struct rank *r = &w->rank[i];
        fill(dtype, i, seed, r->in, count);
        memcpy(r->out, r->in, bytes);
        r->in_place = (seed + (unsigned)i) % 2;
    }
    world_run(w, reduce);
    for (int i = 1; i < w->size; i++)
        ASSERT(memcmp(w->rank[i].out, w->rank[0].out, bytes) == 0);
}

void *rank_gather(void *arg)
{
    struct rank *r = arg;
    uint8_t *slot = r->out + (size_t)r->comm.rank * r->count;

    memcpy(slot, r->in, r->count);
    ASSERT_OK(dhole__all_gather(&r->comm, r->in_place ? slot : r->in, r->out, r->count, DHOLE_U8,
                                soon()));
    return NULL;
}

void *rank_broadcast(void *arg)
{
    struct rank *r = arg;

    ASSERT_OK(dhole__broadcast(&r->comm, r->out, r->count, DHOLE_U8, r->root, soon()));
    return NULL;
}

dhole__deadline soon(void)
{
    return dhole__deadline_in(40000);
}

void fill_fractions(dhole_dtype dtype, int rank, unsigned seed, void *data, size_t count)
{
    unsigned long long state = (unsigned long long)seed * 64 + (unsigned)rank;

    ASSERT(dtype == DHOLE_F32);
    for (size_t i = 0; i < count; i++)
        ((float *)data)[i] = (float)test_random(&state) / (float)(1 + test_random(&state) % 1000);
}
