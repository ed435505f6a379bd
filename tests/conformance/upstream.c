/* Upstream's defects that are not about RDMA, each by the number of its report: docs/upstream.md
 * lists all. What is said there to be covered is tested more widely elsewhere; these are the cases
 * as they were reported. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "as_messages.h"
#include "base/sys.h"
#include "harness.h"

/* mlx #3205: "split not supported", on ring and jaccl. */
static void split_in_halves(struct rank *r)
{
    dhole_group *half;
    int64_t sum = r->rank;

    ASSERT_OK(dhole_split(r->group, r->rank / 2, r->rank, &half));
    ASSERT_EQ(dhole_size(half), 2);
    ASSERT_OK(dhole_all_sum(half, &sum, &sum, 1, DHOLE_I64));
    ASSERT_EQ(sum, r->rank < 2 ? 1 : 5);
    dhole_group_free(half);
    ASSERT_OK(dhole_barrier(r->group));
}

ON_EVERY_BACKEND(mlx_3205_split)
{
    run_group(backend, 4, split_in_halves, NULL);
}

/* mlx #4475: sums of a gradient's shapes, in a training loop, hung in 3 of 100 calls. */
static void sum_gradients(struct rank *r)
{
    static const size_t shapes[] = {576 * 192, 1536, 1, 576 * 576 / 4, 49152, 30, 576};
    enum { steps = 30, most = 576 * 192 };
    float *gradient = malloc(most * sizeof *gradient);

    for (int step = 0; step < steps; step++)
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
            size_t n = shapes[(i + (size_t)step) % (sizeof shapes / sizeof shapes[0])];
            for (size_t k = 0; k < n; k++)
                gradient[k] = (float)(r->rank + step);
            ASSERT_OK(dhole_all_sum(r->group, gradient, gradient, n, DHOLE_F32));
            ASSERT(gradient[0] == (float)(2 * step + 1) && gradient[n - 1] == gradient[0]);
        }
    free(gradient);
}

ON_EVERY_BACKEND(mlx_4475_sums_of_a_training_loop)
{
    run_group(backend, 2, sum_gradients, NULL);
}

/* mlx #4285, #4236: the ring had no sum_scatter, and the error that said so never came. */
static void scatter_sums(struct rank *r)
{
    int32_t in[3 * 5], out[5];

    for (int i = 0; i < 15; i++)
        in[i] = 100 * r->rank + i;
    ASSERT_OK(dhole_sum_scatter(r->group, in, out, 5, DHOLE_I32));
    for (int i = 0; i < 5; i++)
        ASSERT_EQ(out[i], 300 + 3 * (5 * r->rank + i));
}

ON_EVERY_BACKEND(mlx_4285_sum_scatter)
{
    run_group(backend, 3, scatter_sums, NULL);
}

/* mlx #3164, #1930: all_to_all, scatter and barrier were missing. */
static void exchange_all(struct rank *r)
{
    int16_t in[3], out[3];

    for (int to = 0; to < 3; to++)
        in[to] = (int16_t)(10 * r->rank + to);
    ASSERT_OK(dhole_all_to_all(r->group, in, out, 1, DHOLE_I16));
    for (int from = 0; from < 3; from++)
        ASSERT_EQ(out[from], 10 * from + r->rank);
    ASSERT_OK(dhole_barrier(r->group));
}

ON_EVERY_BACKEND(mlx_3164_all_to_all_and_barrier)
{
    run_group(backend, 3, exchange_all, NULL);
}

/* mlx #3862: a connection is reset in the middle of a job; upstream the thread that saw it ended,
 * and all ranks waited for ever. Checked by taking that error for "nothing is there": the
 * ranks then go on, and no call fails. */
static struct dhole__sys real;
static atomic_bool reset_next;

static ssize_t resetting_recvmsg(int fd, struct msghdr *msg, int flags)
{
    if (!atomic_exchange(&reset_next, false))
        return real.recvmsg(fd, msg, flags);
    errno = ECONNRESET;
    return -1;
}

static void sum_until_lost(struct rank *r)
{
    int64_t start = now_ms();
    dhole_err err = DHOLE_OK;

    for (int step = 0; err == DHOLE_OK && now_ms() - start < patient(10000); step++) {
        float one = 1;
        err = dhole_all_sum(r->group, &one, &one, 1, DHOLE_F32);
        if (step == 10 && r->rank == 0)
            atomic_store(&reset_next, true);
    }
    ASSERT_MSG(err == DHOLE_ERR_PEER_LOST, "%s: %s", dhole_error_name(err), dhole_error_message());
    ASSERT(now_ms() - start < patient(10000));
}

TEST(mlx_3862_a_reset_connection)
{
    real = dhole__sys;
    sockets_as_messages(real.sendmsg, resetting_recvmsg);
    run_group(&backend_tcp, 3, sum_until_lost, NULL);
    run_group(&backend_tcp_sealed, 3, sum_until_lost, NULL);
    dhole__sys = real;
}

/* mlx #3742: what fails in one group is an error of that call, and the process goes on. */
static void fail_and_go_on(struct rank *r)
{
    dhole_group *next = NULL;
    float x = 1;

    dhole_group_free(r->group);
    r->group = NULL;
    ranks_meet(r);
    ASSERT_OK(dhole_init(&r->options, &next));
    ranks_meet(r);
    if (r->rank == 0)
        dhole_abort(next, "a bad batch");
    while (dhole_all_sum(next, &x, &x, 1, DHOLE_F32) == DHOLE_OK)
        ;
    ASSERT_CONTAINS(dhole_error_message(), "a bad batch");
    dhole_group_free(next);
    ranks_meet(r);
    rank_joins(r);
    x = 1;
    ASSERT_OK(dhole_all_sum(r->group, &x, &x, 1, DHOLE_F32));
    ASSERT(x == 2);
}

ON_EVERY_BACKEND(mlx_3742_an_error_is_no_end)
{
    run_group(backend, 2, fail_and_go_on, NULL);
}
