/* Calls to the system that fail, one at a time, and sockets that move a few bytes at a time. */
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

#include "as_messages.h"
#include "base/sys.h"
#include "data.h"
#include "failing_calls.h"
#include "harness.h"

enum { short_ms = 60 };

/* Each rank gets its result or an error with a message; never a crash, a hang or a wrong number. */
static void join_and_sum(struct rank *r)
{
    float one = 1, sum = 0;
    dhole_err err;

    r->options.connect_timeout_ms = short_ms;
    r->options.timeout_ms = short_ms;
    ranks_meet(r);
    atomic_store(&at_work, true);
    err = dhole_init(&r->options, &r->group);
    if (err == DHOLE_OK)
        err = dhole_all_sum(r->group, &one, &sum, 1, DHOLE_F32);
    if (err == DHOLE_OK)
        ASSERT(sum == 2);
    else
        ASSERT(strlen(dhole_error_message()) > 0);
    dhole_group_free(r->group);
    ranks_meet(r);
    atomic_store(&at_work, false);
}

static dhole_err exchange_later(struct rank *r, dhole_group *group)
{
    int32_t own = r->rank, theirs = -1;
    dhole_request *request[2];
    int peer = !r->rank, posted = 0;
    dhole_err err = dhole_irecv(group, &theirs, 1, DHOLE_I32, peer, &request[0]);

    posted += !err;
    if (err == DHOLE_OK)
        err = dhole_isend(group, &own, 1, DHOLE_I32, peer, &request[1]);
    posted += !err;
    for (int i = 0; i < posted; i++) {
        dhole_err ended = dhole_wait(request[i]);
        err = err ? err : ended;
    }
    if (err == DHOLE_OK)
        ASSERT_EQ(theirs, peer);
    return err;
}

static void regroup_and_exchange(struct rank *r, dhole_group *group)
{
    dhole_group *part = NULL, *rest = NULL;
    dhole_err err = exchange_later(r, group);

    if (err == DHOLE_OK)
        err = dhole_split(group, 0, -1, &part);
    if (err == DHOLE_OK)
        err = exchange_later(r, part);
    if (err)
        ASSERT(strlen(dhole_error_message()) > 0);
    dhole_abort(group, "to shrink it");
    if (dhole_shrink(group, &rest) != DHOLE_OK)
        ASSERT(strlen(dhole_error_message()) > 0);
    dhole_group_free(rest);
    dhole_group_free(part);
}

/* The same for requests, split and shrink. With so little time joining may fail by itself. */
static void join_and_regroup(struct rank *r)
{
    dhole_err err;

    r->options.connect_timeout_ms = short_ms;
    r->options.timeout_ms = short_ms;
    err = dhole_init(&r->options, &r->group);
    ranks_meet(r);
    atomic_store(&at_work, true);
    if (err == DHOLE_OK)
        regroup_and_exchange(r, r->group);
    dhole_group_free(r->group);
    ranks_meet(r);
    atomic_store(&at_work, false);
}

/* Fails the 1st, 2nd, ... of the calls until a run has fewer of them, or `most`. Whichever it is,
 * no descriptor is lost. */
static void fail_each(const struct backend *backend, rank_body *body, int most)
{
    int before = test_descriptors();

    for (int n = 1; n <= most; n++) {
        atomic_store(&calls, 0);
        atomic_store(&failing_call, n);
        run_ranks(backend, 2, body, NULL);
        ASSERT_MSG(test_descriptors() == before, "%d descriptors after call %d failed, %d before",
                   test_descriptors(), n, before);
        if (atomic_load(&calls) < n)
            break;
    }
}

ON_EVERY_BACKEND(every_allocation_fails_once)
{
    real = dhole__sys;
    dhole__sys.malloc = failing_malloc;
    dhole__sys.calloc = failing_calloc;
    dhole__sys.aligned_alloc = failing_aligned_alloc;
    fail_each(backend, join_and_sum, 60);
    dhole__sys = real;
}

static void fail_each_allocation_later(const struct backend *backend)
{
    real = dhole__sys;
    dhole__sys.malloc = failing_malloc;
    dhole__sys.calloc = failing_calloc;
    dhole__sys.aligned_alloc = failing_aligned_alloc;
    fail_each(backend, join_and_regroup, 150);
    dhole__sys = real;
}

TEST(every_later_allocation_fails_once_mem)
{
    fail_each_allocation_later(&backend_mem);
}

TEST(every_later_allocation_fails_once_tcp)
{
    fail_each_allocation_later(&backend_tcp);
}

#define FAIL_ONE(call, backend, most)            \
    TEST(every_##call##_fails_once)              \
    {                                            \
        real = dhole__sys;                       \
        dhole__sys.call = failing_##call;        \
        fail_each(&backend, join_and_sum, most); \
        dhole__sys = real;                       \
    }

FAIL_ONE(pipe, backend_mem, 20)
FAIL_ONE(open, backend_shm, 20)
FAIL_ONE(fstat, backend_shm, 20)
FAIL_ONE(mmap, backend_shm, 20)
FAIL_ONE(socket, backend_tcp, 20)
FAIL_ONE(accept, backend_tcp, 20)
FAIL_ONE(connect, backend_tcp, 20)
FAIL_ONE(poll, backend_tcp, 20)

TEST(every_send_fails_once)
{
    real = dhole__sys;
    sockets_as_messages(failing_sendmsg, real.recvmsg);
    fail_each(&backend_tcp_sealed, join_and_sum, 20);
    dhole__sys = real;
}

TEST(every_receive_fails_once)
{
    real = dhole__sys;
    sockets_as_messages(real.sendmsg, failing_recvmsg);
    fail_each(&backend_tcp_sealed, join_and_sum, 40);
    dhole__sys = real;
}

/* The first bytes of a message, cut off at `limit`. */
static struct msghdr shortened(const struct msghdr *msg, struct iovec *part, size_t limit)
{
    struct msghdr head = *msg;

    for (size_t i = 0; i < (size_t)msg->msg_iovlen; i++) {
        if (msg->msg_iov[i].iov_len == 0)
            continue;
        *part = msg->msg_iov[i];
        if (part->iov_len > limit)
            part->iov_len = limit;
        head.msg_iov = part;
        head.msg_iovlen = 1;
        break;
    }
    return head;
}

/* 1 to 13 bytes at a time; every third call is interrupted, every fifth moves nothing. */
static bool disturbed(int n)
{
    errno = n % 3 == 0 ? EINTR : EAGAIN;
    return n % 3 == 0 || n % 5 == 0;
}

static ssize_t short_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    int n = atomic_fetch_add(&calls, 1);
    struct iovec part;
    struct msghdr head = shortened(msg, &part, (size_t)(n % 13) + 1);

    return disturbed(n) ? -1 : real.sendmsg(fd, &head, flags);
}

static ssize_t short_recvmsg(int fd, struct msghdr *msg, int flags)
{
    int n = atomic_fetch_add(&calls, 1);
    struct iovec part;
    struct msghdr head = shortened(msg, &part, (size_t)(n % 7) + 1);

    return disturbed(n) ? -1 : real.recvmsg(fd, &head, flags);
}

static void sum_over_short_calls(struct rank *r)
{
    enum { count = 1500 };
    float in[count], out[count];

    fill_numbers(DHOLE_F32, r->rank, 1, in, count);
    for (size_t n = 1; n <= count; n = n * 3 + 1) {
        ASSERT_OK(dhole_all_sum(r->group, in, out, n, DHOLE_F32));
        ASSERT_EQ(first_wrong(DHOLE__SUM, DHOLE_F32, r->size, 1, fill_numbers, out, n), n);
    }
}

static void run_over_short_calls(const struct backend *backend)
{
    real = dhole__sys;
    sockets_as_messages(short_sendmsg, short_recvmsg);
    run_group(backend, 3, sum_over_short_calls, NULL);
    dhole__sys = real;
}

TEST(sockets_that_move_a_few_bytes_at_a_time)
{
    run_over_short_calls(&backend_tcp);
}

TEST(sockets_that_move_a_few_bytes_at_a_time_sealed)
{
    run_over_short_calls(&backend_tcp_sealed);
}
