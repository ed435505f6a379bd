#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/sys.h"
#include "dhole/error.h"
#include "nn/pool.h"
#include "test.h"

enum { most_items = 1000 };

struct visits {
    _Atomic int count[most_items];
    _Atomic size_t smallest;
};

static void visit(void *arg, size_t first, size_t last)
{
    struct visits *v = arg;
    size_t smallest = atomic_load(&v->smallest);

    while (last - first < smallest &&
           !atomic_compare_exchange_weak(&v->smallest, &smallest, last - first))
        ;
    for (size_t i = first; i < last; i++)
        atomic_fetch_add(&v->count[i], 1);
}

static void check_run(struct dhole__pool *pool, size_t items, size_t grain)
{
    struct visits v = {.smallest = most_items};

    dhole__pool_run(pool, visit, &v, items, grain);
    for (size_t i = 0; i < most_items; i++)
        ASSERT_EQ(atomic_load(&v.count[i]), i < items);
    if (items >= grain)
        ASSERT(atomic_load(&v.smallest) >= grain || items == 0);
}

TEST(every_item_is_visited_once)
{
    for (int threads = 1; threads <= 5; threads++) {
        struct dhole__pool *pool = NULL;
        ASSERT_OK(dhole__pool_create(threads, &pool));
        for (size_t items = 0; items < most_items; items = items * 3 / 2 + 1)
            for (size_t grain = 0; grain < 40; grain = grain * 2 + 1)
                check_run(pool, items, grain);
        dhole__pool_free(pool);
    }
}

TEST(many_short_jobs_in_a_row)
{
    struct dhole__pool *pool = NULL;

    ASSERT_OK(dhole__pool_create(4, &pool));
    for (int i = 0; i < 2000; i++)
        check_run(pool, 13, 1);
    dhole__pool_free(pool);
}

/* Pauses are long enough for the workers to go to sleep in between. */
TEST(sleeping_workers_wake_up)
{
    struct dhole__pool *pool = NULL;

    ASSERT_OK(dhole__pool_create(3, &pool));
    for (int i = 0; i < 20; i++) {
        usleep(5000);
        check_run(pool, 100, 1);
    }
    dhole__pool_free(pool);
}

static void meet(void *arg, size_t first, size_t last)
{
    (void)first, (void)last;
    pthread_barrier_wait(arg);
}

/* Two chunks that wait for each other need two threads. */
TEST(work_is_side_by_side)
{
    struct dhole__pool *pool = NULL;
    pthread_barrier_t both;

    pthread_barrier_init(&both, NULL, 2);
    ASSERT_OK(dhole__pool_create(2, &pool));
    dhole__pool_run(pool, meet, &both, 2, 1);
    dhole__pool_free(pool);
    pthread_barrier_destroy(&both);
}

TEST(bad_thread_counts_are_refused)
{
    struct dhole__pool *pool = NULL;

    ASSERT_ERR(dhole__pool_create(0, &pool), DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole__pool_create(1000000, &pool), DHOLE_ERR_INVALID);
    ASSERT(pool == NULL);
    dhole__pool_free(NULL);
}

static int calls_left;

static int failing_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *arg), void *arg)
{
    return calls_left-- > 0 ? pthread_create(thread, attributes, run, arg) : 11;
}

TEST(a_thread_that_cannot_start_is_an_error)
{
    struct dhole__pool *pool = NULL;

    dhole__sys.thread_create = failing_create;
    calls_left = 2;
    ASSERT_ERR(dhole__pool_create(5, &pool), DHOLE_ERR_SYSTEM);
    ASSERT_CONTAINS(dhole_error_message(), "thread 4 of 5");
    ASSERT(pool == NULL);
}
