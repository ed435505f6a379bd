/* A job is cut into chunks that the threads claim one by one. One 64-bit word holds the job's
 * number, how many chunks it has and how many are claimed, so a claim can only succeed
 * on the job that it was made for: a worker that wakes up late finds nothing to claim, and
 * nobody waits for it. The caller waits until every chunk is done. */
#include "nn/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/os.h"
#include "base/sys.h"

enum {
    spins = 4000,          /* some tens of microseconds */
    chunks_per_thread = 4, /* evens out threads that are slowed down */
    max_threads = 1024
};

struct dhole__pool {
    int threads;
    pthread_t *worker; /* [threads - 1] */

    /* Written before `state` announces the job. */
    void (*fn)(void *arg, size_t first, size_t last);
    void *arg;
    size_t items;

    _Atomic uint64_t state; /* job number << 32 | chunks << 16 | chunks claimed */
    _Atomic unsigned done;  /* chunks of this job */

    pthread_mutex_t lock; /* for sleeping only */
    pthread_cond_t posted, finished;
    _Atomic int sleepers;
    _Atomic bool caller_sleeps, stopping;
};

static uint64_t make_state(uint64_t job, uint64_t chunks)
{
    return job << 32 | chunks << 16;
}

static unsigned state_chunks(uint64_t state)
{
    return state >> 16 & 0xffff;
}

static unsigned state_claimed(uint64_t state)
{
    return state & 0xffff;
}

static uint64_t state_job(uint64_t state)
{
    return state >> 32;
}

static void finish_chunk(struct dhole__pool *pool, unsigned chunks)
{
    if (atomic_fetch_add(&pool->done, 1) + 1 < chunks || !atomic_load(&pool->caller_sleeps))
        return;
    pthread_mutex_lock(&pool->lock);
    pthread_cond_signal(&pool->finished);
    pthread_mutex_unlock(&pool->lock);
}

/* Claims and runs chunks until none is left; returns the state that it saw then. */
static uint64_t work(struct dhole__pool *pool)
{
    uint64_t state = atomic_load(&pool->state);

    while (state_claimed(state) < state_chunks(state)) {
        if (!atomic_compare_exchange_weak(&pool->state, &state, state + 1))
            continue;
        size_t i = state_claimed(state), chunks = state_chunks(state);
        size_t each = pool->items / chunks, extra = pool->items % chunks;
        size_t first = i * each + (i < extra ? i : extra);
        pool->fn(pool->arg, first, first + each + (i < extra));
        finish_chunk(pool, state_chunks(state));
        state = atomic_load(&pool->state);
    }
    return state;
}

/* Returns when a job after `seen` is posted, or the pool stops. */
static void wait_for_job(struct dhole__pool *pool, uint64_t seen)
{
    for (int i = 0; i < spins; i++) {
        if (state_job(atomic_load(&pool->state)) != seen)
            return;
        dhole__cpu_relax();
    }
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleepers, 1);
    while (state_job(atomic_load(&pool->state)) == seen)
        pthread_cond_wait(&pool->posted, &pool->lock);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
}

static void *worker_main(void *arg)
{
    struct dhole__pool *pool = arg;

    dhole__thread_name("dhole-nn");
    for (;;) {
        uint64_t seen = state_job(work(pool));
        if (atomic_load(&pool->stopping)) /* after `seen`, which may be the last job */
            return NULL;
        wait_for_job(pool, seen);
    }
}

static void post(struct dhole__pool *pool, uint64_t chunks)
{
    uint64_t job = state_job(atomic_load(&pool->state)) + 1;

    atomic_store(&pool->state, make_state(job, chunks));
    if (atomic_load(&pool->sleepers) == 0)
        return;
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->posted);
    pthread_mutex_unlock(&pool->lock);
}

static void wait_for_done(struct dhole__pool *pool, unsigned chunks)
{
    for (int i = 0; i < spins; i++) {
        if (atomic_load(&pool->done) == chunks)
            return;
        dhole__cpu_relax();
    }
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->caller_sleeps, true);
    while (atomic_load(&pool->done) < chunks)
        pthread_cond_wait(&pool->finished, &pool->lock);
    atomic_store(&pool->caller_sleeps, false);
    pthread_mutex_unlock(&pool->lock);
}

void dhole__pool_run(struct dhole__pool *pool, void (*fn)(void *arg, size_t first, size_t last),
                     void *arg, size_t items, size_t grain)
{
    size_t most = (size_t)pool->threads * chunks_per_thread;
    size_t chunks = items / (grain > 0 ? grain : 1);

    if (chunks > most)
        chunks = most;
    if (items == 0)
        return;
    if (pool->threads == 1 || chunks <= 1) {
        fn(arg, 0, items);
        return;
    }
    pool->fn = fn;
    pool->arg = arg;
    pool->items = items;
    atomic_store(&pool->done, 0);
    post(pool, chunks);
    work(pool);
    wait_for_done(pool, (unsigned)chunks);
}

/* Signals are the caller's business, so no worker takes any. */
static int start_worker(struct dhole__pool *pool, pthread_t *out)
{
    sigset_t all, old;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    error = dhole__sys.thread_create(out, NULL, worker_main, pool);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return error;
}

dhole_err dhole__pool_create(int threads, struct dhole__pool **out)
{
    struct dhole__pool *pool;
    dhole_err err;

    if (threads < 1 || threads > max_threads)
        return dhole__fail(DHOLE_ERR_INVALID, "%d threads: expected 1 to %d", threads, max_threads);
    pool = dhole__sys.calloc(1, sizeof *pool);
    if (pool == NULL)
        return dhole__fail_nomem(sizeof *pool, "a thread pool");
    pool->worker = dhole__sys.calloc((size_t)threads, sizeof *pool->worker);
    if (pool->worker == NULL) {
        free(pool);
        return dhole__fail_nomem((size_t)threads * sizeof *pool->worker, "a thread pool");
    }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->posted, NULL);
    pthread_cond_init(&pool->finished, NULL);
    for (pool->threads = 1; pool->threads < threads; pool->threads++) {
        errno = start_worker(pool, &pool->worker[pool->threads - 1]);
        if (errno != 0) {
            err = dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot start thread %d of %d",
                                    pool->threads + 1, threads);
            dhole__pool_free(pool);
            return err;
        }
    }
    *out = pool;
    return DHOLE_OK;
}

void dhole__pool_free(struct dhole__pool *pool)
{
    if (pool == NULL)
        return;
    atomic_store(&pool->stopping, true);
    post(pool, 0);
    for (int i = 0; i < pool->threads - 1; i++)
        pthread_join(pool->worker[i], NULL);
    pthread_cond_destroy(&pool->finished);
    pthread_cond_destroy(&pool->posted);
    pthread_mutex_destroy(&pool->lock);
    free(pool->worker);
    free(pool);
}
