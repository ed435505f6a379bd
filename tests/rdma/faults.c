/* A group whose devices fail, one call at a time. */
#include <errno.h>
#include <stdatomic.h>

#include "base/sys.h"
#include "dhole/error.h"
#include "fake.h"
#include "harness.h"

enum { short_ms = 150, ranks = 2 };

/* Each rank gets its result or an error in words; never a crash, a hang or a wrong number. */
static void join_and_sum(struct rank *r)
{
    enum { count = 20000 };
    float *data = malloc(count * sizeof *data);
    dhole_err err;

    for (int i = 0; i < count; i++)
        data[i] = (float)(i % 100);
    r->options.connect_timeout_ms = patient(short_ms);
    r->options.timeout_ms = patient(short_ms);
    err = dhole_init(&r->options, &r->group);
    if (!err)
        err = dhole_all_sum(r->group, data, data, count, DHOLE_F32);
    for (int i = 0; i < count && !err; i++)
        ASSERT(data[i] == (float)(ranks * (i % 100)));
    ASSERT(!err || strlen(dhole_error_message()) > 0);
    dhole_group_free(r->group);
    free(data);
}

static void check_verb(const struct backend *backend, const char *verb)
{
    bool reached = true;
    int before;

    run_ranks(backend, ranks, join_and_sum, NULL);
    before = test_descriptors();
    for (int nth = 1; reached && nth < 200; nth += nth < 4 ? 1 : nth / 2) {
        fake_fail(verb, nth, ENOMEM);
        run_ranks(backend, ranks, join_and_sum, NULL);
        reached = !fake_fail_pending();
        fake_fail(verb, 0, 0);
        ASSERT_MSG(fake_live() == 0, "call %d of %s failed: %d objects are left", nth, verb,
                   fake_live());
        ASSERT_MSG(fake_misuse() == NULL, "call %d of %s failed: %s", nth, verb, fake_misuse());
        ASSERT_EQ(test_descriptors(), before);
    }
}

static void check_every_verb(const struct backend *backend)
{
    for (const char *const *verb = fake_failing_verbs; *verb != NULL; verb++)
        check_verb(backend, *verb);
}

TEST_LIMIT(every_verb_fails_once_rc, 200)
{
    check_every_verb(&backend_jaccl);
}

TEST_LIMIT(every_verb_fails_once_uc, 200)
{
    check_every_verb(&backend_jaccl_uc);
}

static atomic_int calls, failing_call;
static struct dhole__sys real;

static bool is_refused(void)
{
    return atomic_fetch_add(&calls, 1) + 1 == atomic_load(&failing_call);
}

static void *refusing_calloc(size_t n, size_t size)
{
    return is_refused() ? NULL : real.calloc(n, size);
}

static void *refusing_malloc(size_t size)
{
    return is_refused() ? NULL : real.malloc(size);
}

static void *refusing_aligned_alloc(size_t alignment, size_t size)
{
    return is_refused() ? NULL : real.aligned_alloc(alignment, size);
}

TEST_LIMIT(every_allocation_fails_once, 200)
{
    real = dhole__sys;
    dhole__sys.calloc = refusing_calloc;
    dhole__sys.malloc = refusing_malloc;
    dhole__sys.aligned_alloc = refusing_aligned_alloc;
    for (int nth = 1; nth == 1 || atomic_load(&calls) >= nth - 1; nth++) {
        ASSERT(nth < 200);
        atomic_store(&failing_call, nth);
        atomic_store(&calls, 0);
        run_ranks(&backend_jaccl, ranks, join_and_sum, NULL);
        ASSERT_EQ(fake_live(), 0);
    }
    dhole__sys = real;
}

/* Two ranks that run one program, in which rank 0's first message is lost; and no other of its
 * messages follows, which would tell. */
typedef dhole_err program(struct rank *r, int32_t *data);

static dhole_err ask_and_answer(struct rank *r, int32_t *data)
{
    dhole_err err = r->rank == 0 ? dhole_send(r->group, data, 1, DHOLE_I32, 1)
                                 : dhole_recv(r->group, data, 1, DHOLE_I32, 0);

    if (err)
        return err;
    return r->rank == 0 ? dhole_recv(r->group, data, 1, DHOLE_I32, 1)
                        : dhole_send(r->group, data, 1, DHOLE_I32, 0);
}

static dhole_err send_and_go_on(struct rank *r, int32_t *data)
{
    dhole_err err = r->rank == 0 ? dhole_send(r->group, data, 1, DHOLE_I32, 1)
                                 : dhole_recv(r->group, data, 1, DHOLE_I32, 0);

    return err ? err : dhole_broadcast(r->group, data, 1, DHOLE_I32, 1);
}

static dhole_err broadcast_there_and_back(struct rank *r, int32_t *data)
{
    dhole_err err = dhole_broadcast(r->group, data, 1, DHOLE_I32, 0);

    return err ? err : dhole_broadcast(r->group, data, 1, DHOLE_I32, 1);
}

static program *const programs[] = {ask_and_answer, send_and_go_on, broadcast_there_and_back};

static void lose_the_first(struct rank *r)
{
    program *const *run = r->arg;
    int32_t data = 1;
    dhole_err err;

    ASSERT_OK(dhole_set_timeout(r->group, patient(600)));
    ranks_meet(r);
    if (r->rank == 0) {
        fake_device("left0", "drop=1");
        fake_device("right0", "drop=1");
    }
    ranks_meet(r);
    err = (*run)(r, &data);
    ASSERT_MSG(err == DHOLE_ERR_TIMEOUT, "program %d: rank %d got %s (%s)", (int)(run - programs),
               r->rank, dhole_error_name(err), dhole_error_message());
}

/* Nobody disagrees. */
TEST(a_lost_message_is_no_mismatch)
{
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++)
        run_group(&backend_jaccl_uc, ranks, lose_the_first, (void *)&programs[i]);
}
