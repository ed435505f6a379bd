/* A session begins, and makes a group, while one call to the system fails: it ends in an error or
 * heals, and leaves nothing behind. */
#include <errno.h>
#include <stdatomic.h>

#include "base/sys.h"
#include "failing_calls.h"
#include "party.h"

static void install(void)
{
    real = dhole__sys;
    atomic_store(&at_work, true);
    dhole__sys.malloc = failing_malloc;
    dhole__sys.calloc = failing_calloc;
    dhole__sys.pipe = failing_pipe;
    dhole__sys.socket = failing_socket;
    dhole__sys.accept = failing_accept;
    dhole__sys.connect = failing_connect;
    dhole__sys.thread_create = failing_thread;
}

static void try_group(struct party *p, int machine, dhole_cluster *cluster)
{
    dhole_options options = DHOLE_OPTIONS_INIT;
    dhole_group *group;

    (void)p;
    (void)machine;
    options.connect_timeout_ms = 200;
    if (dhole_cluster_group(cluster, &options, &group) == DHOLE_OK)
        dhole_group_free(group);
}

static void begin(struct party *p)
{
    struct starter starter[party_max] = {{0}};

    for (int i = 0; i < p->size; i++)
        party_start(&starter[i], p, i);
    for (int i = 0; i < p->size; i++)
        party_await(&starter[i]);
    party_run(p, try_group);
    party_end(p);
}

TEST_LIMIT(a_call_that_fails_leaves_nothing_behind, 120)
{
    struct party p;
    int descriptors, threads, total, n = 1;

    party_make(&p, 3);
    p.base.join_timeout_ms = 200;
    p.base.reconnect_ms = 1;
    begin(&p);
    descriptors = test_descriptors();
    threads = test_threads();
    install();
    do {
        atomic_store(&calls, 0);
        atomic_store(&failing_call, n);
        begin(&p);
        total = atomic_load(&calls);
        n += 1 + n / 12;
    } while (n <= total);
    ASSERT(n > 50);
    atomic_store(&failing_call, 0);
    test_await_threads(threads);
    ASSERT(test_descriptors() <= descriptors);
    party_free(&p);
}
