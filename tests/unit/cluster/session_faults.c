/* A session begins, and makes a group, while one call to the system fails: it ends in an error or
 * heals, and leaves nothing behind. */
#include <errno.h>
#include <stdatomic.h>

#include "base/sys.h"
#include "party.h"

static atomic_int calls, failing_call;
static struct dhole__sys real;

static bool fails(int error)
{
    if (atomic_fetch_add(&calls, 1) + 1 != atomic_load(&failing_call))
        return false;
    errno = error;
    return true;
}

static void *failing_malloc(size_t size)
{
    return fails(ENOMEM) ? NULL : real.malloc(size);
}

static void *failing_calloc(size_t n, size_t size)
{
    return fails(ENOMEM) ? NULL : real.calloc(n, size);
}

static int failing_pipe(int fds[2])
{
    return fails(EMFILE) ? -1 : real.pipe(fds);
}

static int failing_socket(int domain, int type, int protocol)
{
    return fails(EMFILE) ? -1 : real.socket(domain, type, protocol);
}

static int failing_accept(int fd, struct sockaddr *address, socklen_t *length)
{
    return fails(EMFILE) ? -1 : real.accept(fd, address, length);
}

static int failing_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    return fails(ENETUNREACH) ? -1 : real.connect(fd, address, length);
}

static int failing_thread(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*main)(void *arg), void *arg)
{
    return fails(EAGAIN) ? EAGAIN : real.thread_create(thread, attributes, main, arg);
}

static void install(void)
{
    real = dhole__sys;
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
