/* One thread a group works off a queue, in order. Messages between two ranks leave it as soon as no
 * collective is before them, and from then on make progress side by side: the first of each peer
 * and direction is under way, those behind it wait for it. A collective leaves it when nothing
 * else is under way, and has the thread to itself.
 *
 * While calls are outstanding the lanes belong to this thread; a blocking call that comes then is
 * queued too. With none outstanding the thread sleeps and touches nothing, and blocking calls
 * run in their caller's thread: one atomic load is all that they notice.
 *
 * The queue outlives its group for as long as there are requests that nobody has waited for. */
#include "group/request.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/os.h"
#include "base/pipe.h"
#include "base/sys.h"
#include "coll/comm.h"

struct dhole_request {
    struct dhole__queue *queue;
    struct dhole_request *next;
    struct dhole__task task;
    struct dhole__message message; /* of a send or receive that has begun */
    dhole__deadline slow_at; /* when it is slow, as nothing has moved in it; 0: to be looked up */
    bool begun, slow, done;
    bool awaited; /* by this thread: */
    pthread_t by;
    dhole_err err;
};

struct fifo {
    struct dhole_request *first, *last;
};

struct dhole__queue {
    dhole_group *group;
    pthread_t thread;
    int pipe[2]; /* wakes the thread */

    /* The thread's own: messages by direction (enum dhole__io_kind) and peer, and the collective
     * that is being made. */
    struct fifo lane[2][dhole__rank_max];
    int under_way;
    struct dhole_request *collective;
    bool told; /* the peers know what this rank waits in */

    pthread_mutex_t lock; /* for what follows */
    pthread_cond_t changed;
    struct fifo waiting;
    bool news;   /* something was queued that the thread has not looked at */
    bool asleep; /* it wants a byte in its pipe then */
    bool slow;   /* a message is: who begins to wait then is news too */
    bool stop;
    int users;     /* the group, and each request */
    dhole_err err; /* of the first call that failed: later ones end with the same */
    char why[dhole__message_max];
};

static void put(struct fifo *fifo, struct dhole_request *request)
{
    request->next = NULL;
    if (fifo->first == NULL)
        fifo->first = request;
    else
        fifo->last->next = request;
    fifo->last = request;
}

static struct dhole_request *take(struct fifo *fifo)
{
    struct dhole_request *request = fifo->first;

    if (request != NULL)
        fifo->first = request->next;
    return request;
}

static bool is_message(const struct dhole_request *request)
{
    return request->task.verb == DHOLE__CALL_SEND || request->task.verb == DHOLE__CALL_RECV;
}

static struct fifo *lane_of(struct dhole__queue *queue, const struct dhole_request *request)
{
    return &queue->lane[request->task.verb == DHOLE__CALL_SEND ? DHOLE__SEND : DHOLE__RECV]
                       [request->task.peer];
}

/* The last user frees the queue. Called with the lock, which is gone afterwards. */
static void release(struct dhole__queue *queue)
{
    bool last = --queue->users == 0;

    pthread_mutex_unlock(&queue->lock);
    if (!last)
        return;
    pthread_cond_destroy(&queue->changed);
    pthread_mutex_destroy(&queue->lock);
    free(queue);
}

/* With this thread's message; the first failure stands, and is that of all later calls. */
static void note_failure(struct dhole__queue *queue, dhole_err err)
{
    pthread_mutex_lock(&queue->lock);
    if (queue->err == DHOLE_OK) {
        if (queue->stop)
            err = dhole__fail(DHOLE_ERR_CANCELLED,
                              "the group was freed before this call on it was done");
        queue->err = err;
        dhole__message_save(queue->why);
    }
    pthread_mutex_unlock(&queue->lock);
}

/* As soon as the count is 0 the group's next call may be made in another thread. */
static void finish(struct dhole__queue *queue, struct dhole_request *request)
{
    dhole_group *group = queue->group;

    pthread_mutex_lock(&queue->lock);
    request->err = queue->err;
    request->done = true;
    if (atomic_load_explicit(&group->outstanding, memory_order_relaxed) == 1)
        group->backend->set_idle(group, group->idle.run, group->idle.arg);
    atomic_fetch_sub_explicit(&group->outstanding, 1, memory_order_release);
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

static void begin_message(dhole_group *group, struct dhole_request *request)
{
    const struct dhole__task *t = &request->task;
    dhole__deadline deadline = dhole__deadline_in(t->timeout_ms);

    request->begun = true;
    if (t->verb == DHOLE__CALL_SEND)
        group->backend->send_start(group, &request->message, t->in, t->count, t->dtype, t->peer,
                                   deadline);
    else
        group->backend->recv_start(group, &request->message, t->out, t->count, t->dtype, t->peer,
                                   deadline);
}

/* It has moved: what the peers know of it is wrong. */
static void note_move(struct dhole__queue *queue, struct dhole_request *request)
{
    if (request->slow) {
        queue->group->backend->messages_wait(queue->group, NULL, 0);
        queue->told = false;
    }
    request->slow = false;
    request->slow_at = 0;
}

/* Moves what can be moved on one lane in one direction. */
static dhole_err step_lane(struct dhole__queue *queue, struct fifo *lane, bool *moved)
{
    while (lane->first != NULL) {
        struct dhole_request *request = lane->first;
        bool some;
        dhole_err err;
        if (!request->begun)
            begin_message(queue->group, request);
        err = queue->group->backend->message_step(queue->group, &request->message, &some);
        if (err)
            return err;
        *moved |= some;
        if (some)
            note_move(queue, request);
        if (dhole__io_left(&request->message.io) > 0)
            break;
        take(lane);
        queue->under_way--;
        finish(queue, request);
    }
    return DHOLE_OK;
}

static dhole_err step_messages(struct dhole__queue *queue, bool *moved)
{
    dhole_err err = DHOLE_OK;

    *moved = false;
    for (int i = 0; i < 2 * queue->group->size && !err; i++)
        err = step_lane(queue, &queue->lane[i % 2][i / 2], moved);
    return err;
}

static const struct dhole_request *find_awaited(const struct fifo *fifo)
{
    const struct dhole_request *request = fifo->first;

    while (request != NULL && !request->awaited)
        request = request->next;
    return request;
}

/* Messages without which this rank does not go on, of those that are slow: before or in a request
 * that is waited for, or any when a collective is behind them. With the lock held. */
static int find_needed(const struct dhole__queue *queue, const struct dhole__message **needed)
{
    int n = 0;

    for (int i = 0; i < 2 * queue->group->size; i++) {
        const struct fifo *lane = &queue->lane[i % 2][i / 2];
        if (lane->first != NULL && lane->first->slow &&
            (queue->waiting.first != NULL || find_awaited(lane) != NULL))
            needed[n++] = &lane->first->message;
    }
    return n;
}

/* Looks for messages in which nothing has moved for a while, and for when that will be so of the
 * next one. */
static bool find_slow(struct dhole__queue *queue, dhole__deadline *next)
{
    int64_t now = dhole__now();
    bool any = false;

    for (int i = 0; i < 2 * queue->group->size; i++) {
        struct dhole_request *request = queue->lane[i % 2][i / 2].first;
        if (request == NULL)
            continue;
        if (request->slow_at == 0)
            request->slow_at = dhole__io_slow_at(now, request->message.call.deadline);
        if (now < request->slow_at) {
            *next = dhole__deadline_min(*next, request->slow_at);
            continue;
        }
        queue->told &= request->slow;
        any = request->slow = true;
    }
    return any;
}

/* Tells the peers what this rank waits in, if it does. */
static void tell_wait(struct dhole__queue *queue)
{
    const struct dhole__message *needed[2 * dhole__rank_max];
    int n;

    pthread_mutex_lock(&queue->lock);
    queue->slow = true;
    n = find_needed(queue, needed);
    pthread_mutex_unlock(&queue->lock);
    queue->told = n > 0;
    if (n > 0)
        queue->group->backend->messages_wait(queue->group, needed, n);
}

/* What to poll for so that the first message of a lane can go on; false: it can now. */
static bool arm_lane(const struct fifo *lane, struct pollfd *pfds, int *n,
                     dhole__deadline *deadline)
{
    const struct dhole__message *message = &lane->first->message;

    *deadline = dhole__deadline_min(*deadline, message->call.deadline);
    /* From this rank itself nothing comes while it sleeps. */
    return message->io.conn == NULL || dhole__io_arm(&message->io, &pfds[(*n)++]);
}

/* Until a call is queued, a message can go on or its deadline has passed; once messages are slow,
 * also until a request is waited for. A poll that fails is one that was short. */
static void doze(struct dhole__queue *queue)
{
    struct pollfd pfds[2 * dhole__rank_max + 1] = {{.fd = queue->pipe[0], .events = POLLIN}};
    dhole__deadline deadline = INT64_MAX;
    int n = 1;
    bool slow = find_slow(queue, &deadline), ready;

    if (slow && !queue->told)
        tell_wait(queue);
    pthread_mutex_lock(&queue->lock);
    queue->slow = slow;
    ready = queue->news;
    queue->asleep = !ready;
    pthread_mutex_unlock(&queue->lock);
    for (int i = 0; i < 2 * queue->group->size && !ready; i++) {
        const struct fifo *lane = &queue->lane[i % 2][i / 2];
        if (lane->first != NULL)
            ready = !arm_lane(lane, pfds, &n, &deadline);
    }
    if (!ready && dhole__io_poll(pfds, n, deadline) != DHOLE_OK)
        dhole__log(DHOLE__LOG_DEBUG, "%s", dhole_error_message());
}

/* Takes from the queue what may begin: messages, or a collective, which is returned. */
static struct dhole_request *take_turn(struct dhole__queue *queue, bool *stop)
{
    struct dhole_request *collective = NULL;
    char drain[16];

    pthread_mutex_lock(&queue->lock);
    while (read(queue->pipe[0], drain, sizeof drain) > 0)
        ;
    queue->told &= !queue->news;
    queue->news = queue->asleep = false;
    while (queue->waiting.first != NULL && is_message(queue->waiting.first)) {
        struct dhole_request *request = take(&queue->waiting);
        put(lane_of(queue, request), request);
        queue->under_way++;
    }
    if (queue->under_way == 0)
        collective = take(&queue->waiting);
    *stop = queue->stop;
    pthread_mutex_unlock(&queue->lock);
    return collective;
}

static struct dhole_request *take_waiting(struct dhole__queue *queue)
{
    struct dhole_request *request;

    pthread_mutex_lock(&queue->lock);
    request = take(&queue->waiting);
    pthread_mutex_unlock(&queue->lock);
    return request;
}

/* Ends all that is outstanding, after a failure. */
static void end_all(struct dhole__queue *queue)
{
    struct dhole_request *request;

    for (int i = 0; i < 2 * dhole__rank_max; i++)
        while ((request = take(&queue->lane[i % 2][i / 2])) != NULL)
            finish(queue, request);
    queue->under_way = 0;
    while ((request = take_waiting(queue)) != NULL)
        finish(queue, request);
}

static void *work(void *arg)
{
    struct dhole__queue *queue = arg;
    bool stop = false;

    dhole__thread_name("dhole-requests");
    while (!stop) {
        struct dhole_request *collective = take_turn(queue, &stop);
        bool moved = collective != NULL;
        dhole_err err = DHOLE_OK;
        queue->collective = collective;
        if (queue->err == DHOLE_OK)
            err = moved ? dhole__task_run(queue->group, &collective->task)
                        : step_messages(queue, &moved);
        if (err)
            note_failure(queue, err);
        if (collective != NULL)
            finish(queue, collective);
        if (queue->err)
            end_all(queue);
        if (!moved && !stop)
            doze(queue);
    }
    note_failure(queue, DHOLE_ERR_CANCELLED);
    end_all(queue);
    return NULL;
}

static dhole_err open_queue(dhole_group *group)
{
    struct dhole__queue *queue = dhole__sys.calloc(1, sizeof *queue);
    dhole_err err;
    int error;

    if (queue == NULL)
        return dhole__fail_nomem(sizeof *queue, "non-blocking calls");
    queue->group = group;
    queue->users = 1;
    err = dhole__pipe_open(queue->pipe, O_NONBLOCK);
    if (err)
        goto out;
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->changed, NULL);
    error = dhole__sys.thread_create(&queue->thread, NULL, work, queue);
    if (error == 0) {
        group->queue = queue;
        return DHOLE_OK;
    }
    errno = error;
    err = dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot start the thread of the non-blocking calls");
    pthread_cond_destroy(&queue->changed);
    pthread_mutex_destroy(&queue->lock);
    dhole__pipe_close(queue->pipe);
out:
    free(queue);
    return err;
}

/* Called with the lock held. */
static void wake(struct dhole__queue *queue)
{
    queue->news = true;
    if (queue->asleep && write(queue->pipe[1], "", 1) < 0)
        dhole__log(DHOLE__LOG_ERROR, "cannot wake the thread of the non-blocking calls");
    queue->asleep = false;
}

static dhole_err make_request(dhole_group *group, const struct dhole__task *task,
                              dhole_request **out)
{
    dhole_err err = group->queue != NULL ? DHOLE_OK : open_queue(group);

    if (err)
        return err;
    *out = dhole__sys.calloc(1, sizeof **out);
    if (*out == NULL)
        return dhole__fail_nomem(sizeof **out, "a non-blocking call");
    (*out)->queue = group->queue;
    (*out)->task = *task;
    return DHOLE_OK;
}

dhole_err dhole__post(dhole_group *group, const struct dhole__task *task, dhole_request **out)
{
    dhole_request *request;
    dhole_err err = make_request(group, task, &request);
    struct dhole__queue *queue = group->queue;

    if (err)
        return group->backend->fail(group, err);
    pthread_mutex_lock(&queue->lock);
    queue->users++;
    put(&queue->waiting, request);
    if (atomic_fetch_add_explicit(&group->outstanding, 1, memory_order_relaxed) == 0)
        group->backend->set_idle(group, NULL, NULL);
    wake(queue);
    pthread_mutex_unlock(&queue->lock);
    *out = request;
    return DHOLE_OK;
}

/* Called with the lock, which is gone afterwards, as is the request. */
static dhole_err take_result(dhole_request *request)
{
    struct dhole__queue *queue = request->queue;
    dhole_err err = request->err;

    if (err)
        err = dhole__fail(err, "%s", queue->why);
    release(queue);
    free(request);
    return err;
}

/* This thread begins to wait for a request that is not done. With the lock held. */
static void await(dhole_request *request)
{
    struct dhole__queue *queue = request->queue;

    request->awaited = true;
    request->by = pthread_self();
    atomic_store(&queue->group->thread, request->by);
    if (queue->slow)
        wake(queue);
}

dhole_err dhole_wait(dhole_request *request)
{
    struct dhole__queue *queue = request->queue;

    pthread_mutex_lock(&queue->lock);
    if (!request->done)
        await(request);
    while (!request->done)
        pthread_cond_wait(&queue->changed, &queue->lock);
    return take_result(request);
}

dhole_err dhole_test(dhole_request *request, int *done)
{
    struct dhole__queue *queue = request->queue;

    pthread_mutex_lock(&queue->lock);
    *done = request->done;
    if (request->done)
        return take_result(request);
    pthread_mutex_unlock(&queue->lock);
    return DHOLE_OK;
}

dhole_err dhole__post_and_wait(dhole_group *group, const struct dhole__task *task)
{
    dhole_request *request;
    dhole_err err = dhole__post(group, task, &request);

    return err ? err : dhole_wait(request);
}

bool dhole__queue_waits_for(dhole_group *group, int peer, pthread_t *thread)
{
    struct dhole__queue *queue = group->queue;
    const struct dhole_request *request;

    pthread_mutex_lock(&queue->lock);
    request = find_awaited(&queue->lane[DHOLE__SEND][peer]);
    if (request == NULL)
        request = find_awaited(&queue->lane[DHOLE__RECV][peer]);
    if (request == NULL)
        request = find_awaited(&queue->waiting);
    if (request == NULL && queue->collective != NULL && queue->collective->awaited)
        request = queue->collective;
    if (request != NULL)
        *thread = request->by;
    pthread_mutex_unlock(&queue->lock);
    return request != NULL;
}

void dhole__queue_set_idle(dhole_group *group, int (*run)(void *arg), void *arg)
{
    struct dhole__queue *queue = group->queue;

    if (queue != NULL)
        pthread_mutex_lock(&queue->lock);
    group->idle = (struct dhole__idle){.run = run, .arg = arg};
    if (!dhole__busy(group))
        group->backend->set_idle(group, run, arg);
    if (queue != NULL)
        pthread_mutex_unlock(&queue->lock);
}

void dhole__queue_close(dhole_group *group)
{
    struct dhole__queue *queue = group->queue;
    int outstanding = atomic_load(&group->outstanding);
    dhole_err err = DHOLE_ERR_PEER_LOST;

    if (queue == NULL)
        return;
    pthread_mutex_lock(&queue->lock);
    queue->stop = true;
    wake(queue);
    pthread_mutex_unlock(&queue->lock);
    /* What the thread waits for would not come, and what the peers wait for neither. */
    if (outstanding > 0)
        err = group->backend->fail(
            group, dhole__fail(err, "rank %d was lost: it left the group with %d calls outstanding",
                               group->rank, outstanding));
    pthread_join(queue->thread, NULL);
    dhole__pipe_close(queue->pipe);
    pthread_mutex_lock(&queue->lock);
    queue->group = NULL;
    release(queue);
    (void)err;
}
