#include "harness.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "apart.h"

#ifdef FAKE_VERBS
#include "fake.h"
#endif

enum { deadline_ms = 20000, run_limit_s = 50, slow_factor = 4 };

const struct backend backend_mem = {.name = "mem"};
const struct backend backend_tcp = {.name = "tcp"};
const struct backend backend_rails = {.name = "tcp", .rails = true};
const struct backend backend_shm = {.name = "shm"};
const struct backend backend_mixed = {.name = "any", .mixed = true};
const struct backend backend_mem_sealed = {.name = "mem", .sealed = true};
const struct backend backend_tcp_sealed = {.name = "tcp", .sealed = true};
const struct backend backend_rails_sealed = {.name = "tcp", .sealed = true, .rails = true};
const struct backend backend_shm_sealed = {.name = "shm", .sealed = true};
const struct backend backend_mixed_sealed = {
    .name = "any", .sealed = true, .mixed = true, .plain_memory = true};
const struct backend backend_jaccl = {.name = "jaccl", .queue_pairs = "rc"};
const struct backend backend_jaccl_uc = {.name = "jaccl", .queue_pairs = "uc", .rails = true};
const struct backend backend_jaccl_ring = {.name = "jaccl", .queue_pairs = "rc", .ring = true};
const struct backend backend_jaccl_sealed = {.name = "jaccl", .queue_pairs = "uc", .sealed = true};

struct meeting {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int size, here; /* ranks, and those that are threads of this process */
    int arrived, round;
    const uint8_t *shown[ranks_max];
    uint8_t *fetched; /* what those elsewhere show */
    bool done[ranks_max];
    int done_count;
};

int64_t patient(int64_t ms)
{
    return getenv("DHOLE_TEST_SLOW") ? ms * slow_factor : ms;
}

int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int listen_at(const char *host, char address[static 32])
{
    struct sockaddr_in sin = {.sin_family = AF_INET};
    socklen_t length = sizeof sin;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ASSERT(inet_pton(AF_INET, host, &sin.sin_addr) == 1);
    ASSERT(fd >= 0 && bind(fd, (struct sockaddr *)&sin, sizeof sin) == 0 && listen(fd, 64) == 0);
    ASSERT(getsockname(fd, (struct sockaddr *)&sin, &length) == 0);
    snprintf(address, 32, "%.15s:%d", host, ntohs(sin.sin_port));
    return fd;
}

int listen_anywhere(char address[static 32])
{
    return listen_at("127.0.0.1", address);
}

static bool can_bind(const char *address, int port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    bool is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1, bound;
    int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return false;
    inet_pton(AF_INET6, address, &v6.sin6_addr);
    bound = is_v4 ? bind(fd, (struct sockaddr *)&v4, sizeof v4) == 0
                  : bind(fd, (struct sockaddr *)&v6, sizeof v6) == 0;
    close(fd);
    return bound;
}

int free_port(const char *address)
{
    enum { first = 20000, range = 10000, tries = 1000 };
    static int taken;

    for (int i = 0; i < tries; i++) {
        int port = first + (int)(getpid() * 17 + taken++) % range;
        if (can_bind(address, port))
            return port;
    }
    return 0;
}

/* A second port, and the first one again. */
static void add_rails(char address[static 96])
{
    char first[32];

    snprintf(first, sizeof first, "%s", address);
    snprintf(address, 96, "%s,127.0.0.1:%d,%s", first, free_port("127.0.0.1"), first);
}

/* This rank's part of DHOLE_TEST_RDMA; the first device alone where there are no rails. */
static void take_device(const char *list, int rank, bool rails, char device[static 64])
{
    int n = 1;

    for (const char *c = list; *c != '\0'; c++)
        n += *c == ';';
    for (int i = rank % n; i > 0; i--)
        list += strcspn(list, ";") + 1;
    snprintf(device, 64, "%.*s", (int)strcspn(list, rails ? ";" : ";,"), list);
}

static void make_device(const struct world *world, int rank, char device[static 64])
{
#ifdef FAKE_VERBS
    char name[2][32];

    fake_load();
    /* Whoever sends from memory that is not free yet, or waits for what must come at once, is
     * found out when messages are on their way for a while. */
    fake_in_background(world->backend->rails);
    snprintf(name[0], sizeof name[0], "left%d", rank);
    snprintf(name[1], sizeof name[1], "right%d", rank);
    for (int i = 0; i <= world->backend->rails; i++)
        fake_device(name[i], i == 0 ? "net=1" : "net=2");
    snprintf(device, 64, world->backend->rails ? "%s,%s" : "%s", name[0], name[1]);
#else
    (void)world;
    (void)rank;
    (void)device;
    test_skip("infiniband/verbs.h was missing when this was built");
#endif
}

static void add_devices(struct world *world)
{
    const char *real = getenv("DHOLE_TEST_RDMA");

    setenv("DHOLE_RDMA_QP", world->backend->queue_pairs, 1);
    for (int rank = 0; rank < world->size; rank++) {
        if (real != NULL)
            take_device(real, rank, world->backend->rails, world->device[rank]);
        else
            make_device(world, rank, world->device[rank]);
        for (int peer = 0; peer < world->size; peer++)
            world->devices[rank][peer] = peer == rank ? NULL : world->device[rank];
    }
}

/* What ranks elsewhere are to know of those that are here. */
struct introduction {
    char session[32];
    char address[ranks_max][96];
    dhole_pin pin[ranks_max];
};

static void introduce(struct world *world)
{
    static struct introduction ours, theirs;

    memcpy(ours.session, world->session, sizeof ours.session);
    memcpy(ours.address, world->address, sizeof ours.address);
    memcpy(ours.pin, world->pin, sizeof ours.pin);
    apart_swap(&ours, &theirs, sizeof ours);
    if (!apart_is_here(0))
        memcpy(world->session, theirs.session, sizeof world->session);
    for (int rank = 0; rank < world->size; rank++) {
        if (apart_is_here(rank))
            continue;
        memcpy(world->address[rank], theirs.address[rank], sizeof theirs.address[rank]);
        world->hosts[rank] = world->address[rank];
        world->pin[rank] = theirs.pin[rank];
    }
}

void world_open(struct world *world, const struct backend *backend, int size)
{
    static int worlds;

    memset(world, 0, sizeof *world);
    world->backend = backend;
    world->size = size;
    snprintf(world->session, sizeof world->session, "test %d-%d", (int)getpid(), worlds++);
    for (int i = 0; i < size; i++) {
        world->listen_fd[i] = -1;
        if (!apart_is_here(i))
            continue;
        if (strcmp(backend->name, "mem") != 0) {
            world->listen_fd[i] =
                listen_at(apart() ? apart_address() : "127.0.0.1", world->address[i]);
            world->hosts[i] = world->address[i];
            if (backend->rails && backend->queue_pairs == NULL)
                add_rails(world->address[i]);
        }
        if (backend->sealed) {
            ASSERT_OK(dhole_identity_generate(&world->identity[i]));
            dhole_identity_pin(world->identity[i], &world->pin[i]);
        }
    }
    if (backend->queue_pairs != NULL)
        add_devices(world);
    if (apart() && size > 1)
        introduce(world);
}

void world_close(struct world *world)
{
    for (int i = 0; i < world->size; i++) {
        if (world->listen_fd[i] >= 0)
            close(world->listen_fd[i]);
        dhole_identity_free(world->identity[i]);
    }
}

dhole_options world_options(const struct world *world, int rank)
{
    dhole_options options = DHOLE_OPTIONS_INIT;

    options.backend = world->backend->name;
    options.rank = rank;
    options.size = world->size;
    options.session = world->session;
    options.listen_fd = world->listen_fd[rank];
    options.timeout_ms = patient(deadline_ms);
    options.connect_timeout_ms = patient(deadline_ms);
    if (world->hosts[0] != NULL)
        options.hosts = world->hosts;
    if (world->backend->mixed)
        options.host = rank % 2 ? "one host" : "another host";
    if (world->backend->sealed) {
        options.identity = world->identity[rank];
        options.pins = world->pin;
        options.seal_rdma = 1;
        options.plain_memory = world->backend->plain_memory;
    }
    if (world->backend->queue_pairs != NULL)
        options.devices = world->devices[rank];
    options.ring = world->backend->ring;
    options.allow_plain = apart();
    return options;
}

static void meet_elsewhere(void)
{
    char ours = 0, theirs;

    apart_swap(&ours, &theirs, 1);
}

void ranks_meet(struct rank *r)
{
    struct meeting *m = r->meeting;
    int round;

    pthread_mutex_lock(&m->lock);
    round = m->round;
    if (++m->arrived == m->here) {
        if (m->here < m->size)
            meet_elsewhere();
        m->arrived = 0;
        m->round++;
        pthread_cond_broadcast(&m->changed);
    }
    while (round == m->round)
        pthread_cond_wait(&m->changed, &m->lock);
    pthread_mutex_unlock(&m->lock);
}

static void fetch(struct meeting *m, size_t size)
{
    size_t all = (size_t)m->size * size;
    uint8_t *ours = calloc(1, all + 1);

    m->fetched = malloc(all + 1);
    for (int rank = 0; rank < m->size; rank++)
        if (apart_is_here(rank))
            memcpy(ours + (size_t)rank * size, m->shown[rank], size);
        else
            m->shown[rank] = m->fetched + (size_t)rank * size;
    apart_swap(ours, m->fetched, all);
    free(ours);
}

void ranks_show(struct rank *r, const void *own, size_t size, void *all)
{
    struct meeting *m = r->meeting;
    bool fetches = m->here < m->size && r->rank < 2; /* one of those that are here */

    m->shown[r->rank] = own;
    ranks_meet(r);
    if (fetches)
        fetch(m, size);
    ranks_meet(r);
    for (int rank = 0; rank < m->size; rank++)
        memcpy((uint8_t *)all + (size_t)rank * size, m->shown[rank], size);
    ranks_meet(r);
    if (fetches)
        free(m->fetched);
}

void rank_joins(struct rank *r)
{
    ASSERT_OK(dhole_init(&r->options, &r->group));
    ranks_meet(r);
}

struct thread {
    pthread_t id;
    rank_body *body;
    struct rank r;
};

static void *run_thread(void *arg)
{
    struct thread *t = arg;
    struct meeting *m = t->r.meeting;

    t->body(&t->r);
    pthread_mutex_lock(&m->lock);
    m->done[t->r.rank] = true;
    m->done_count++;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

static void wait_for_all(struct meeting *m)
{
    struct timespec until;
    int error = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)patient(run_limit_s);
    pthread_mutex_lock(&m->lock);
    while (m->done_count < m->here && error == 0)
        error = pthread_cond_timedwait(&m->changed, &m->lock, &until);
    for (int i = 0; i < m->size; i++)
        ASSERT_MSG(m->done[i] || !apart_is_here(i), "rank %d of %d did not end within %d s", i,
                   m->size, run_limit_s);
    pthread_mutex_unlock(&m->lock);
}

void run_ranks(const struct backend *backend, int size, rank_body *body, void *arg)
{
    struct meeting meeting = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, .size = size};
    struct world world;
    struct thread threads[ranks_max];

    world_open(&world, backend, size);
    for (int i = 0; i < size; i++)
        meeting.here += apart_is_here(i);
    for (int i = 0; i < size; i++) {
        if (!apart_is_here(i))
            continue;
        threads[i].body = body;
        threads[i].r = (struct rank){.world = &world,
                                     .rank = i,
                                     .size = size,
                                     .options = world_options(&world, i),
                                     .arg = arg,
                                     .meeting = &meeting};
        ASSERT(pthread_create(&threads[i].id, NULL, run_thread, &threads[i]) == 0);
    }
    wait_for_all(&meeting);
    for (int i = 0; i < size; i++)
        if (apart_is_here(i))
            pthread_join(threads[i].id, NULL);
    world_close(&world);
}

struct joined {
    rank_body *body;
    void *arg;
};

static void join_and_run(struct rank *r)
{
    const struct joined *joined = r->arg;

    rank_joins(r);
    ASSERT_EQ(dhole_rank(r->group), r->rank);
    ASSERT_EQ(dhole_size(r->group), r->size);
    r->arg = joined->arg;
    joined->body(r);
    dhole_group_free(r->group);
}

void run_group(const struct backend *backend, int size, rank_body *body, void *arg)
{
    struct joined joined = {body, arg};

    run_ranks(backend, size, join_and_run, &joined);
}

const int *rank_counts(const struct backend *backend)
{
    static const int many[] = {1, 2, 3, 4, 7, 8, 0}, real[] = {2, 3, 4, 0}, few[] = {2, 3, 0},
                     pair[] = {2, 0};

    if (apart())
        return pair;
    if (backend->sealed)
        return few;
    return getenv("DHOLE_TEST_RDMA") != NULL ? real : many;
}

void run_group_of_each_size(const struct backend *backend, rank_body *body, void *arg)
{
    for (const int *size = rank_counts(backend); *size != 0; size++)
        run_group(backend, *size, body, arg);
}
