/* Non-blocking calls: side by side, in order, and never without an end. */
#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "harness.h"

enum { short_ms = 300, in_time_ms = 8000 };

static int other(const struct rank *r)
{
    return !r->rank;
}

/* Waits with dhole_wait, or by looking again and again. */
static dhole_err finish(dhole_request *request, bool look)
{
    int done = 0;
    dhole_err err = DHOLE_OK;

    if (!look)
        return dhole_wait(request);
    while (!done) {
        struct timespec tick = {0, 100000};
        err = dhole_test(request, &done);
        if (!done) {
            ASSERT_EQ(err, DHOLE_OK);
            nanosleep(&tick, NULL);
        }
    }
    return err;
}

/* Both wait for the other's before they send their own. */
static void receive_first(struct rank *r)
{
    enum { n = 1 << 20 };
    int32_t *in = malloc(n * sizeof *in), *out = malloc(n * sizeof *out);
    dhole_request *receive, *send;

    for (int i = 0; i < n; i++)
        out[i] = i ^ r->rank;
    ASSERT_OK(dhole_irecv(r->group, in, n, DHOLE_I32, other(r), &receive));
    ASSERT_OK(dhole_isend(r->group, out, n, DHOLE_I32, other(r), &send));
    ASSERT_OK(dhole_wait(receive));
    ASSERT_OK(dhole_wait(send));
    for (int i = 0; i < n; i++)
        ASSERT_EQ(in[i], i ^ other(r));
    free(in);
    free(out);
}

ON_EVERY_BACKEND(a_receive_may_be_posted_before_the_send)
{
    run_group(backend, 2, receive_first, NULL);
}

/* A blocking call while requests are outstanding is one more of them. */
static void receive_then_send(struct rank *r)
{
    int32_t in[2] = {0}, out[2] = {r->rank, 10 + r->rank};
    dhole_request *receive;

    ASSERT_OK(dhole_irecv(r->group, &in[0], 1, DHOLE_I32, other(r), &receive));
    ASSERT_OK(dhole_send(r->group, &out[0], 1, DHOLE_I32, other(r)));
    ASSERT_OK(dhole_sendrecv(r->group, &out[1], 1, other(r), &in[1], 1, other(r), DHOLE_I32));
    ASSERT_OK(dhole_wait(receive));
    ASSERT_EQ(in[0], other(r));
    ASSERT_EQ(in[1], 10 + other(r));
}

ON_EVERY_BACKEND(blocking_calls_go_along_with_outstanding_ones)
{
    for (int i = 0; i < 10; i++)
        run_group(backend, 2, receive_then_send, NULL);
}

/* A storm: in each epoch every pair exchanges messages of all sizes, posted in an order that each
 * rank rolls for itself; then a collective, posted before the messages are through. */
enum { messages = 12, epochs = 6, largest = 40000, storm_ranks = 4 };

struct letter {
    int32_t *data;
    dhole_request *request;
};

static size_t letter_size(int from, int to, int epoch, int i)
{
    unsigned long long seed = (unsigned long long)(from * 1000003 + to * 10007 + epoch * 101 + i);

    return i % 4 == 0 ? 0 : (size_t)(test_random(&seed) % largest);
}

static int32_t letter_word(int from, int to, int epoch, int i, size_t at)
{
    return (int32_t)((size_t)(from + 31 * to + 977 * epoch + 7919 * i) * 2654435761u + at);
}

static void post_letter(struct rank *r, struct letter *letter, int peer, bool sends, int epoch,
                        int i)
{
    int from = sends ? r->rank : peer, to = sends ? peer : r->rank;
    size_t n = letter_size(from, to, epoch, i);

    letter->data = malloc((n + 1) * sizeof *letter->data);
    for (size_t at = 0; at < n; at++)
        letter->data[at] = sends ? letter_word(from, to, epoch, i, at) : 0;
    ASSERT_OK(sends ? dhole_isend(r->group, letter->data, n, DHOLE_I32, peer, &letter->request)
                    : dhole_irecv(r->group, letter->data, n, DHOLE_I32, peer, &letter->request));
}

static void check_letter(struct rank *r, struct letter *letter, int peer, bool sends, int epoch,
                         int i)
{
    size_t n = letter_size(peer, r->rank, epoch, i);

    for (size_t at = 0; !sends && at < n; at++)
        ASSERT_EQ(letter->data[at], letter_word(peer, r->rank, epoch, i, at));
    free(letter->data);
}

/* Each of 2 * size streams has `messages` letters, posted in order within the stream. */
static void post_epoch(struct rank *r, struct letter letter[][messages], int epoch,
                       unsigned long long *dice)
{
    int posted[2 * storm_ranks] = {0}, left = 2 * r->size * messages;

    while (left > 0) {
        int stream = (int)(test_random(dice) % (unsigned)(2 * r->size));
        int i = posted[stream];
        if (i == messages)
            continue;
        post_letter(r, &letter[stream][i], stream / 2, stream % 2, epoch, i);
        posted[stream]++;
        left--;
    }
}

static void storm(struct rank *r)
{
    static struct letter letters[storm_ranks][epochs][2 * storm_ranks][messages];
    struct letter(*letter)[2 * storm_ranks][messages] = letters[r->rank];
    unsigned long long dice = (unsigned long long)r->rank + 77;
    int64_t one[epochs], sum[epochs];
    dhole_request *summed[epochs];

    for (int e = 0; e < epochs; e++) {
        post_epoch(r, letter[e], e, &dice);
        one[e] = (int64_t)(r->rank + 1) << e;
        ASSERT_OK(dhole_iall_sum(r->group, &one[e], &sum[e], 1, DHOLE_I64, &summed[e]));
    }
    for (int e = epochs - 1; e >= 0; e--) {
        ASSERT_OK(finish(summed[e], e % 2));
        ASSERT_EQ(sum[e], (int64_t)(r->size * (r->size + 1) / 2) << e);
        for (int stream = 0; stream < 2 * r->size; stream++) {
            for (int i = 0; i < messages; i++) {
                ASSERT_OK(finish(letter[e][stream][i].request, i % 3 == 0));
                check_letter(r, &letter[e][stream][i], stream / 2, stream % 2, e, i);
            }
        }
    }
    ASSERT_OK(dhole_barrier(r->group));
}

ON_EVERY_BACKEND(a_storm_of_messages_and_sums)
{
    run_group(backend, 3, storm, NULL);
    run_group(backend, storm_ranks, storm, NULL);
}

/* Every non-blocking form does what the blocking one does. */
static void call_all(struct rank *r)
{
    enum { n = 3 };
    int32_t in[ranks_max * n], own[n] = {r->rank, -r->rank, 7}, root[n] = {r->rank, 5, 6};
    int32_t sum[n], max[n], min[n], all[ranks_max * n], part[n], turned[ranks_max * n];
    dhole_request *request[8];
    int last = r->size - 1;

    for (int i = 0; i < r->size * n; i++)
        in[i] = 100 * r->rank + i;
    ASSERT_OK(dhole_iall_sum(r->group, own, sum, n, DHOLE_I32, &request[0]));
    ASSERT_OK(dhole_iall_max(r->group, own, max, n, DHOLE_I32, &request[1]));
    ASSERT_OK(dhole_iall_min(r->group, own, min, n, DHOLE_I32, &request[2]));
    ASSERT_OK(dhole_iall_gather(r->group, own, all, n, DHOLE_I32, &request[3]));
    ASSERT_OK(dhole_isum_scatter(r->group, in, part, n, DHOLE_I32, &request[4]));
    ASSERT_OK(dhole_iall_to_all(r->group, in, turned, n, DHOLE_I32, &request[5]));
    ASSERT_OK(dhole_ibroadcast(r->group, root, n, DHOLE_I32, last, &request[6]));
    ASSERT_OK(dhole_ibarrier(r->group, &request[7]));
    for (int i = 0; i < 8; i++)
        ASSERT_OK(finish(request[i], i % 2));
    ASSERT_EQ(sum[0], last * r->size / 2);
    ASSERT_EQ(max[0], last);
    ASSERT_EQ(min[1], -last);
    ASSERT_EQ(root[0], last);
    for (int rank = 0; rank < r->size; rank++) {
        ASSERT_EQ(all[rank * n], rank);
        ASSERT_EQ(turned[rank * n], 100 * rank + r->rank * n);
    }
    ASSERT_EQ(part[1], 100 * last * r->size / 2 + r->size * (r->rank * n + 1));
}

ON_EVERY_BACKEND(every_non_blocking_form_works)
{
    run_group(backend, 1, call_all, NULL);
    run_group(backend, 2, call_all, NULL);
    run_group(backend, 5, call_all, NULL);
}

static void call_itself(struct rank *r)
{
    int32_t in[2] = {0}, out[2] = {4, 5};
    dhole_request *request[4];

    ASSERT_OK(dhole_irecv(r->group, &in[0], 1, DHOLE_I32, r->rank, &request[0]));
    ASSERT_OK(dhole_irecv(r->group, &in[1], 1, DHOLE_I32, r->rank, &request[1]));
    ASSERT_OK(dhole_isend(r->group, &out[0], 1, DHOLE_I32, r->rank, &request[2]));
    ASSERT_OK(dhole_isend(r->group, &out[1], 1, DHOLE_I32, r->rank, &request[3]));
    for (int i = 0; i < 4; i++)
        ASSERT_OK(dhole_wait(request[i]));
    ASSERT_EQ(in[0], 4);
    ASSERT_EQ(in[1], 5);
}

ON_EVERY_BACKEND(a_rank_may_send_to_itself)
{
    run_group(backend, 2, call_itself, NULL);
}

static void call_wrongly(struct rank *r)
{
    dhole_request *request = NULL;
    int32_t one = 1, sum;

    ASSERT_ERR(dhole_isend(r->group, &one, 1, DHOLE_I32, 9, &request), DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole_irecv(r->group, &one, 1, DHOLE_I32, -1, &request), DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole_iall_sum(r->group, &one, &sum, SIZE_MAX, DHOLE_I32, &request),
               DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole_iall_sum(r->group, &one, &sum, 1, (dhole_dtype)99, &request),
               DHOLE_ERR_INVALID);
    ASSERT(request == NULL);
    ASSERT_OK(dhole_all_sum(r->group, &one, &sum, 1, DHOLE_I32));
    ASSERT_EQ(sum, r->size);
}

ON_EVERY_BACKEND(a_wrong_argument_makes_no_request)
{
    run_group(backend, 2, call_wrongly, NULL);
}

/* The failure of one is that of all, with the same words. */
static void differ(struct rank *r)
{
    int32_t data[8] = {0}, more[8] = {0};
    dhole_request *first, *second;
    char message[1024];
    size_t n = r->rank == 0 ? 5 : 6;
    dhole_err err;

    ASSERT_OK(r->rank == 0 ? dhole_irecv(r->group, data, n, DHOLE_I32, 1, &first)
                           : dhole_isend(r->group, data, n, DHOLE_I32, 0, &first));
    err = dhole_iall_sum(r->group, more, more, 8, DHOLE_I32, &second);
    if (err == DHOLE_OK)
        err = dhole_wait(second);
    ASSERT_ERR(err, DHOLE_ERR_MISMATCH);
    snprintf(message, sizeof message, "%s", dhole_error_message());
    ASSERT_CONTAINS(message, "of 5 int32");
    ASSERT_CONTAINS(message, "of 6 int32");
    err = dhole_wait(first); /* what was sent may have been taken */
    ASSERT(err == DHOLE_ERR_MISMATCH || (err == DHOLE_OK && r->rank == 1));
    if (err)
        ASSERT_STR(dhole_error_message(), message);
    ASSERT_ERR(dhole_barrier(r->group), DHOLE_ERR_MISMATCH);
    ASSERT_STR(dhole_error_message(), message);
    ASSERT_ERR(dhole_ibarrier(r->group, &first), DHOLE_ERR_MISMATCH);
}

ON_EVERY_BACKEND(requests_that_differ_are_a_mismatch)
{
    run_group(backend, 2, differ, NULL);
}

static void order_differs(struct rank *r)
{
    int32_t data[2] = {0};
    dhole_request *first, *second;
    dhole_err err;

    if (r->rank == 0) {
        ASSERT_OK(dhole_irecv(r->group, data, 1, DHOLE_I32, 1, &first));
        err = dhole_iall_sum(r->group, data + 1, data + 1, 1, DHOLE_I32, &second);
    } else {
        ASSERT_OK(dhole_iall_sum(r->group, data + 1, data + 1, 1, DHOLE_I32, &first));
        err = dhole_isend(r->group, data, 1, DHOLE_I32, 0, &second);
    }
    ASSERT(err == DHOLE_OK || err == DHOLE_ERR_MISMATCH); /* the first may have failed by then */
    ASSERT_ERR(dhole_wait(first), DHOLE_ERR_MISMATCH);
    ASSERT_CONTAINS(dhole_error_message(), "send/recv of 1 int32");
    ASSERT_CONTAINS(dhole_error_message(), "all_sum of 1 int32");
    if (err == DHOLE_OK)
        ASSERT_ERR(dhole_wait(second), DHOLE_ERR_MISMATCH);
}

ON_EVERY_BACKEND(requests_in_another_order_are_a_mismatch)
{
    run_group(backend, 2, order_differs, NULL);
}

static void wait_in_vain(struct rank *r)
{
    int32_t data[3];
    dhole_request *request[3];
    int64_t begin = now_ms();

    if (r->rank == 0) {
        ASSERT_OK(dhole_irecv(r->group, &data[0], 1, DHOLE_I32, 1, &request[0]));
        ASSERT_OK(dhole_set_next_timeout(r->group, short_ms));
        ASSERT_OK(dhole_irecv(r->group, &data[1], 1, DHOLE_I32, 2, &request[1]));
        ASSERT_OK(dhole_ibarrier(r->group, &request[2]));
        for (int i = 2; i >= 0; i--) {
            ASSERT_ERR(dhole_wait(request[i]), DHOLE_ERR_TIMEOUT);
            ASSERT_CONTAINS(dhole_error_message(), "rank 2 did not send");
        }
        ASSERT(now_ms() - begin >= short_ms && now_ms() - begin < patient(in_time_ms));
    }
    ranks_meet(r);
    ASSERT_ERR(dhole_barrier(r->group), DHOLE_ERR_TIMEOUT);
    ASSERT_CONTAINS(dhole_error_message(), "rank 2 did not send");
}

ON_EVERY_BACKEND(a_request_has_a_deadline)
{
    run_group(backend, 3, wait_in_vain, NULL);
}

/* The time of a call counts from its turn, not from when it was queued. */
static void queue_behind_a_slow_one(struct rank *r)
{
    struct timespec late = {0, 2 * short_ms * 1000000};
    int32_t data[2] = {0};
    dhole_request *request[2];

    if (r->rank == 0) {
        ASSERT_OK(dhole_irecv(r->group, &data[0], 1, DHOLE_I32, 1, &request[0]));
        ASSERT_OK(dhole_set_next_timeout(r->group, patient(short_ms)));
        ASSERT_OK(dhole_irecv(r->group, &data[1], 1, DHOLE_I32, 1, &request[1]));
        ASSERT_OK(dhole_wait(request[1]));
        ASSERT_OK(dhole_wait(request[0]));
    } else {
        late.tv_sec = patient(2 * short_ms) / 1000;
        late.tv_nsec = patient(2 * short_ms) % 1000 * 1000000;
        nanosleep(&late, NULL);
        ASSERT_OK(dhole_send(r->group, &data[0], 1, DHOLE_I32, 0));
        ASSERT_OK(dhole_send(r->group, &data[1], 1, DHOLE_I32, 0));
    }
}

ON_EVERY_BACKEND(time_counts_from_a_request_s_turn)
{
    run_group(backend, 2, queue_behind_a_slow_one, NULL);
}

static void *abort_group(void *arg)
{
    dhole_abort(arg, "enough");
    return NULL;
}

static void abort_requests(struct rank *r)
{
    int32_t data[2];
    dhole_request *request[2];
    pthread_t thread;

    ASSERT_OK(dhole_irecv(r->group, &data[0], 1, DHOLE_I32, other(r), &request[0]));
    ASSERT_OK(dhole_ibarrier(r->group, &request[1]));
    ranks_meet(r);
    if (r->rank == 1)
        ASSERT(pthread_create(&thread, NULL, abort_group, r->group) == 0);
    for (int i = 0; i < 2; i++) {
        ASSERT_ERR(dhole_wait(request[i]), DHOLE_ERR_ABORTED);
        ASSERT_CONTAINS(dhole_error_message(), "rank 1 aborted the group: enough");
    }
    if (r->rank == 1)
        pthread_join(thread, NULL);
}

ON_EVERY_BACKEND(aborting_ends_requests)
{
    run_group(backend, 2, abort_requests, NULL);
}

/* A group that is freed ends its requests, which can still be waited for. The other rank, which has
 * nothing under way, learns it in its next call. */
static void free_early(struct rank *r)
{
    bool in_collective = *(const bool *)r->arg;
    int32_t data[3];
    dhole_request *request[2];
    int done;
    dhole_err err;

    if (r->rank == 0) {
        ranks_meet(r);
        do /* the barrier of the other rank may have come this far */
            err = dhole_barrier(r->group);
        while (err == DHOLE_OK);
        ASSERT_ERR(err, DHOLE_ERR_PEER_LOST);
        ASSERT_CONTAINS(dhole_error_message(), "rank 1 was lost: it left the group");
        return;
    }
    if (in_collective)
        ASSERT_OK(dhole_ibarrier(r->group, &request[0]));
    else
        ASSERT_OK(dhole_irecv(r->group, &data[0], 1, DHOLE_I32, 0, &request[0]));
    ASSERT_OK(dhole_iall_sum(r->group, &data[1], &data[2], 1, DHOLE_I32, &request[1]));
    dhole_group_free(r->group);
    r->group = NULL;
    ASSERT_ERR(dhole_test(request[0], &done), DHOLE_ERR_CANCELLED);
    ASSERT_EQ(done, 1);
    ASSERT_CONTAINS(dhole_error_message(), "the group was freed");
    ASSERT_ERR(dhole_wait(request[1]), DHOLE_ERR_CANCELLED);
    ranks_meet(r);
}

ON_EVERY_BACKEND(freeing_a_group_ends_its_requests)
{
    static const bool in_collective[] = {false, true};

    for (int i = 0; i < 2; i++)
        run_group(backend, 2, free_early, (void *)&in_collective[i]);
}

/* A request that is done may be waited for after its group is gone, too. */
static void wait_late(struct rank *r)
{
    int32_t one = 1, sum;
    dhole_request *request;

    ASSERT_OK(dhole_iall_sum(r->group, &one, &sum, 1, DHOLE_I32, &request));
    ASSERT_OK(dhole_barrier(r->group));
    dhole_group_free(r->group);
    r->group = NULL;
    ASSERT_OK(dhole_wait(request));
    ASSERT_EQ(sum, r->size);
}

ON_EVERY_BACKEND(a_result_outlives_its_group)
{
    run_group(backend, 3, wait_late, NULL);
}

/* Several groups, each in a thread of its own, over the same ranks. */
enum { threads = 3, thread_rounds = 30 };

struct worker {
    pthread_t id;
    dhole_options options;
    char session[80];
    int number, rank, size;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    int left = (w->rank + w->size - 1) % w->size, right = (w->rank + 1) % w->size;
    dhole_group *group;

    ASSERT_OK(dhole_init(&w->options, &group));
    for (int i = 0; i < thread_rounds; i++) {
        int64_t out = 1000 * w->number + 10 * w->rank + i, in = 0, sum = 0;
        dhole_request *request[3];
        ASSERT_OK(dhole_irecv(group, &in, 1, DHOLE_I64, left, &request[0]));
        ASSERT_OK(dhole_isend(group, &out, 1, DHOLE_I64, right, &request[1]));
        ASSERT_OK(dhole_iall_sum(group, &out, &sum, 1, DHOLE_I64, &request[2]));
        for (int k = 0; k < 3; k++)
            ASSERT_OK(dhole_wait(request[k]));
        ASSERT_EQ(in, 1000 * w->number + 10 * left + i);
        ASSERT_EQ(sum, w->size * (1000 * w->number + i) + 10 * w->size * (w->size - 1) / 2);
    }
    dhole_group_free(group);
    return NULL;
}

static char addresses[threads][ranks_max][32];
static const char *hosts[threads][ranks_max];
static int listeners[threads][ranks_max];

static void run_threads(struct rank *r)
{
    struct worker worker[threads];

    if (r->options.hosts != NULL) {
        for (int t = 0; t < threads; t++) {
            listeners[t][r->rank] = listen_anywhere(addresses[t][r->rank]);
            hosts[t][r->rank] = addresses[t][r->rank];
        }
    }
    ranks_meet(r);
    for (int t = 0; t < threads; t++) {
        struct worker *w = &worker[t];
        *w = (struct worker){.options = r->options, .number = t, .rank = r->rank, .size = r->size};
        snprintf(w->session, sizeof w->session, "%s %d", r->options.session, t);
        w->options.session = w->session;
        if (r->options.hosts != NULL) {
            w->options.hosts = hosts[t];
            w->options.listen_fd = listeners[t][r->rank];
        }
        ASSERT(pthread_create(&w->id, NULL, work, w) == 0);
    }
    for (int t = 0; t < threads; t++)
        pthread_join(worker[t].id, NULL);
}

ON_EVERY_BACKEND(groups_in_several_threads)
{
    run_ranks(backend, 3, run_threads, NULL);
}
