/* What crosses a link that is up. */
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sys.h"
#include "dhole/error.h"
#include "link/link_internal.h"
#include "pair.h"
#include "transport/io.h"

static const dhole_channel channels[] = {DHOLE_CHANNEL_CONTROL, DHOLE_CHANNEL_MESSAGES,
                                         DHOLE_CHANNEL_BULK};

/* A thread that sends a list of messages while another one receives them. */
struct stream {
    pthread_t sender, receiver;
    dhole_link *from, *to;
    dhole_channel channel;
    const size_t *sizes;
    int count;
};

static void *send_all(void *arg)
{
    struct stream *stream = arg;

    for (int i = 0; i < stream->count; i++)
        send_bytes(stream->from, stream->channel, stream->sizes[i], (uint32_t)i, (unsigned)i);
    return NULL;
}

static void *receive_all(void *arg)
{
    struct stream *stream = arg;

    for (int i = 0; i < stream->count; i++)
        expect_bytes(stream->to, stream->channel, stream->sizes[i], (uint32_t)i, (unsigned)i);
    return NULL;
}

static int first_above(size_t most, const size_t *sizes, int count)
{
    int i = 0;

    while (i < count && sizes[i] <= most)
        i++;
    return i;
}

/* All channels both ways at once: twelve threads. */
static void cross(int lanes, const size_t *sizes, int count)
{
    struct stream stream[6];
    struct pair pair;

    pair_open(&pair, lanes);
    for (int i = 0; i < 6; i++) {
        stream[i] = (struct stream){.from = pair.link[i % 2],
                                    .to = pair.link[!(i % 2)],
                                    .channel = channels[i / 2],
                                    .sizes = sizes,
                                    .count = count};
        if (channels[i / 2] == DHOLE_CHANNEL_CONTROL)
            stream[i].count = first_above(dhole__control_max, sizes, count);
        ASSERT(pthread_create(&stream[i].sender, NULL, send_all, &stream[i]) == 0);
        ASSERT(pthread_create(&stream[i].receiver, NULL, receive_all, &stream[i]) == 0);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(stream[i].sender, NULL);
        pthread_join(stream[i].receiver, NULL);
    }
    pair_close(&pair);
}

static void cross_any_size(int lanes)
{
    static const size_t sizes[] = {0,      1,      7,      64,     4096,   16360, 65535,   65536,
                                   131072, 262118, 262144, 262145, 300001, 8,     1048576, 3000000};

    cross(lanes, sizes, sizeof sizes / sizeof sizes[0]);
}

TEST(messages_of_any_size_cross_on_every_channel)
{
    cross_any_size(1);
}

TEST(messages_of_any_size_cross_on_two_lanes)
{
    cross_any_size(2);
}

TEST(messages_of_any_size_cross_on_eight_lanes)
{
    cross_any_size(8);
}

TEST(many_small_messages_keep_their_order)
{
    static size_t sizes[1000];

    for (size_t i = 0; i < 1000; i++)
        sizes[i] = i * 37 % 200;
    cross(2, sizes, 1000);
}

static void send_shape(struct pair *pair, dhole_dtype dtype, int dims, const uint64_t *shape)
{
    dhole_message message = {.tag = 7, .dtype = dtype, .dims = dims}, got = {0};
    uint8_t data[512], back[512];
    size_t size;

    for (int i = 0; i < dims; i++)
        message.shape[i] = shape[i];
    size = dhole_message_size(&message);
    ASSERT(size <= sizeof data);
    fill(data, size, (unsigned)dtype);
    for (int c = 0; c < 3; c++) {
        ASSERT_OK(dhole_link_send(pair->link[client], channels[c], &message, data, 0));
        ASSERT_OK(dhole_link_recv(pair->link[server], channels[c], &got, 0));
        ASSERT(memcmp(&got, &message, sizeof got) == 0);
        ASSERT_OK(dhole_link_recv_data(pair->link[server], channels[c], back, 0));
        ASSERT(memcmp(back, data, size) == 0);
    }
}

TEST(types_and_shapes_arrive)
{
    static const uint64_t shape[DHOLE_SHAPE_MAX] = {2, 1, 3, 1, 2, 1, 1, 4}, empty[] = {5, 0, 7};
    struct pair pair;

    pair_open(&pair, 1);
#define EACH(code, value, name, size)                      \
    for (int dims = 0; dims <= DHOLE_SHAPE_MAX; dims += 4) \
        send_shape(&pair, DHOLE_##code, dims, shape);
    DHOLE_DTYPE_MAP(EACH)
#undef EACH
    send_shape(&pair, DHOLE_F16, 3, empty);
    pair_close(&pair);
}

TEST(size_of_a_message)
{
    dhole_message m = {.dtype = DHOLE_F32};

    ASSERT_EQ(dhole_message_size(&m), 4);
    m = (dhole_message){.dtype = DHOLE_C64, .dims = 3, .shape = {2, 3, 5}};
    ASSERT_EQ(dhole_message_size(&m), 240);
    m = (dhole_message){.dtype = DHOLE_U8, .dims = 3, .shape = {UINT64_MAX, UINT64_MAX, 0}};
    ASSERT_EQ(dhole_message_size(&m), 0);
    m = (dhole_message){.dtype = DHOLE_F64, .dims = 2, .shape = {UINT64_C(1) << 40, 1 << 20}};
    ASSERT(dhole_message_size(&m) == SIZE_MAX);
    m = (dhole_message){.dtype = (dhole_dtype)14};
    ASSERT(dhole_message_size(&m) == SIZE_MAX);
    m = (dhole_message){.dtype = DHOLE_U8, .dims = 9};
    ASSERT(dhole_message_size(&m) == SIZE_MAX);
    m.dims = -1;
    ASSERT(dhole_message_size(&m) == SIZE_MAX);
}

static void *send_much(void *arg)
{
    send_bytes(arg, DHOLE_CHANNEL_BULK, 32 << 20, 1, 1);
    return NULL;
}

/* The large one is under way, and stuck, as nobody takes it. */
TEST(small_messages_overtake_a_large_one)
{
    struct pair pair;
    pthread_t thread;

    pair_open(&pair, 2);
    ASSERT(pthread_create(&thread, NULL, send_much, pair.link[client]) == 0);
    for (uint32_t i = 0; i < 20; i++)
        for (int c = 0; c < 2; c++) {
            send_bytes(pair.link[client], channels[c], 100, i, i);
            expect_bytes(pair.link[server], channels[c], 100, i, i);
        }
    expect_bytes(pair.link[server], DHOLE_CHANNEL_BULK, 32 << 20, 1, 1);
    pthread_join(thread, NULL);
    pair_close(&pair);
}

TEST(wrong_calls_are_refused_and_break_nothing)
{
    dhole_message message = bytes_of(4, 1), bad = {.dtype = (dhole_dtype)99};
    struct pair pair;
    char data[4];

    pair_open(&pair, 1);
    ASSERT_ERR(dhole_link_send(pair.link[client], (dhole_channel)3, &message, data, 0),
               DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole_link_send(pair.link[client], DHOLE_CHANNEL_BULK, &bad, data, 0),
               DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole_link_recv_data(pair.link[server], DHOLE_CHANNEL_BULK, data, 0),
               DHOLE_ERR_INVALID);
    send_bytes(pair.link[client], DHOLE_CHANNEL_BULK, 4, 0, 0);
    ASSERT_OK(dhole_link_recv(pair.link[server], DHOLE_CHANNEL_BULK, &message, 0));
    ASSERT_ERR(dhole_link_recv(pair.link[server], DHOLE_CHANNEL_BULK, &message, 0),
               DHOLE_ERR_INVALID);
    ASSERT_OK(dhole_link_recv_data(pair.link[server], DHOLE_CHANNEL_BULK, data, 0));
    ASSERT_ERR(dhole_link_recv_data(pair.link[server], DHOLE_CHANNEL_BULK, data, 0),
               DHOLE_ERR_INVALID);
    send_bytes(pair.link[client], DHOLE_CHANNEL_BULK, 4, 2, 2);
    expect_bytes(pair.link[server], DHOLE_CHANNEL_BULK, 4, 2, 2);
    pair_close(&pair);
}

TEST(without_lanes_there_is_control_alone)
{
    dhole_message message = bytes_of(1, 1);
    struct pair pair;

    pair_open(&pair, 0);
    for (int side = 0; side < 2; side++)
        for (int c = 1; c < 3; c++)
            ASSERT_ERR(dhole_link_send(pair.link[side], channels[c], &message, "x", 0),
                       DHOLE_ERR_INVALID);
    send_bytes(pair.link[server], DHOLE_CHANNEL_CONTROL, 1000, 1, 1);
    expect_bytes(pair.link[client], DHOLE_CHANNEL_CONTROL, 1000, 1, 1);
    pair_close(&pair);
}

TEST(elements_of_an_empty_message_need_not_be_taken)
{
    dhole_message message;
    struct pair pair;

    pair_open(&pair, 1);
    for (uint32_t i = 0; i < 3; i++) {
        send_bytes(pair.link[client], DHOLE_CHANNEL_MESSAGES, 0, i, 0);
        ASSERT_OK(dhole_link_recv(pair.link[server], DHOLE_CHANNEL_MESSAGES, &message, 0));
        ASSERT_EQ(message.tag, i);
    }
    pair_close(&pair);
}

TEST(a_message_beyond_the_limit_is_refused_by_its_sender)
{
    dhole_message message = bytes_of(1001, 1);
    uint8_t *data = calloc(1, dhole__control_max + 1);
    struct pair pair;

    pair_init(&pair);
    pair.options[client].lanes = 2;
    pair.options[server].message_max = 1000;
    pair_listen(&pair);
    pair_try(&pair);
    ASSERT_OK(pair.err[client]);
    for (int c = 0; c < 3; c++) {
        ASSERT_ERR(dhole_link_send(pair.link[client], channels[c], &message, data, 0),
                   DHOLE_ERR_LIMIT);
        ASSERT_CONTAINS(dhole_error_message(), "1000");
        send_bytes(pair.link[client], channels[c], 1000, 3, 3);
        expect_bytes(pair.link[server], channels[c], 1000, 3, 3);
    }
    message = bytes_of(dhole__control_max + 1, 1);
    ASSERT_ERR(dhole_link_send(pair.link[server], DHOLE_CHANNEL_CONTROL, &message, data, 0),
               DHOLE_ERR_LIMIT);
    pair_close(&pair);
    free(data);
}

/* A pair whose client does not care what the server takes. */
static void open_careless(struct pair *pair)
{
    pair_init(pair);
    pair->options[client].lanes = 2;
    pair->options[server].message_max = 1000;
    pair_listen(pair);
    pair_try(pair);
    ASSERT_OK(pair->err[client]);
    ASSERT_OK(pair->err[server]);
    pair->link[client]->peer_message_max = SIZE_MAX;
}

/* The receiver refuses what has come on the channel, and then everything. */
static void expect_refusal(dhole_link *link, dhole_channel channel)
{
    dhole_message message;

    ASSERT_ERR(dhole_link_recv(link, channel, &message, 0), DHOLE_ERR_LIMIT);
    ASSERT_CONTAINS(dhole_error_message(), "at most 1000");
    message = bytes_of(1, 1);
    for (int c = 0; c < 3; c++)
        ASSERT_ERR(dhole_link_send(link, channels[c], &message, "x", 0), DHOLE_ERR_LIMIT);
}

/* The sender's next call on any channel says what was refused, and so does every later one. */
static void expect_told(dhole_link *link, dhole_channel first, const char *what)
{
    for (int i = 0; i < 6; i++) {
        dhole_message message = bytes_of(1, 1);
        dhole_channel channel = (dhole_channel)(((int)first + i) % 3);
        dhole_err err = DHOLE_OK;
        while (!err) /* what is sent is lost only after a while */
            err = i % 2 ? dhole_link_recv(link, channel, &message, 0)
                        : dhole_link_send(link, channel, &message, "x", 0);
        ASSERT_MSG(err == DHOLE_ERR_LIMIT, "%s", dhole_error_message());
        ASSERT_CONTAINS(dhole_error_message(), what);
        ASSERT_CONTAINS(dhole_error_message(), "takes at most 1000");
    }
}

TEST(a_message_beyond_the_limit_is_refused_before_it_is_taken_and_its_sender_is_told)
{
    static const char *const what[] = {"1001 bytes on CONTROL", "1001 bytes on MESSAGES",
                                       "1001 bytes on BULK"};
    dhole_message message = bytes_of(1001, 1);
    uint8_t data[1001] = {0};

    for (int c = 0; c < 3; c++)
        for (int asks = 0; asks < 3; asks++) {
            struct pair pair;
            open_careless(&pair);
            ASSERT_OK(dhole_link_send(pair.link[client], channels[c], &message, data, 0));
            expect_refusal(pair.link[server], channels[c]);
            expect_told(pair.link[client], channels[asks], what[c]);
            pair_close(&pair);
        }
}

TEST(a_size_beyond_all_bounds_is_told_too)
{
    dhole_message message = {.dtype = DHOLE_U64, .dims = 2, .shape = {UINT64_C(1) << 63, 2}};
    uint8_t head[dhole__frame_max];
    struct pair pair;
    struct dhole__io io;

    open_careless(&pair);
    io = dhole__io_send(pair.link[client]->channel[DHOLE_CHANNEL_BULK], head,
                        dhole__frame_encode(&message, DHOLE_CHANNEL_BULK, 0, head), NULL, 0);
    ASSERT_OK(dhole__io_run_one(io, dhole__deadline_in(patient(20000))));
    expect_refusal(pair.link[server], DHOLE_CHANNEL_BULK);
    expect_told(pair.link[client], DHOLE_CHANNEL_BULK, "more bytes than can be addressed on BULK");
    pair_close(&pair);
}

/* One that is stuck in the message that is refused. */
struct stuck {
    pthread_t thread;
    dhole_link *link;
    dhole_err err;
    char message[1024];
};

static void *send_too_much(void *arg)
{
    struct stuck *stuck = arg;
    dhole_message message = bytes_of(64 << 20, 1);
    uint8_t *data = calloc(1, 64 << 20);

    stuck->err = dhole_link_send(stuck->link, DHOLE_CHANNEL_BULK, &message, data, 0);
    snprintf(stuck->message, sizeof stuck->message, "%s", dhole_error_message());
    free(data);
    return NULL;
}

static void *wait_on_control(void *arg)
{
    struct stuck *stuck = arg;
    dhole_message message;

    stuck->err = dhole_link_recv(stuck->link, DHOLE_CHANNEL_CONTROL, &message, 0);
    snprintf(stuck->message, sizeof stuck->message, "%s", dhole_error_message());
    return NULL;
}

/* With words on CONTROL before the refusal that nobody has read, or with one who reads them. */
static void refuse_one_that_is_stuck(bool reads)
{
    void *(*const act[])(void *) = {send_too_much, wait_on_control};
    struct stuck stuck[2];
    struct pair pair;

    open_careless(&pair);
    for (int i = 0; i < 1 + reads; i++) {
        stuck[i].link = pair.link[client];
        ASSERT(pthread_create(&stuck[i].thread, NULL, act[i], &stuck[i]) == 0);
    }
    for (uint32_t i = 0; i < 10 && !reads; i++)
        send_bytes(pair.link[server], DHOLE_CHANNEL_CONTROL, 5000 * i, i, i);
    expect_refusal(pair.link[server], DHOLE_CHANNEL_BULK);
    for (int i = 0; i < 1 + reads; i++) {
        pthread_join(stuck[i].thread, NULL);
        ASSERT_MSG(stuck[i].err == DHOLE_ERR_LIMIT, "%s", stuck[i].message);
        ASSERT_CONTAINS(stuck[i].message, "67108864 bytes on BULK: it takes at most 1000");
    }
    pair_close(&pair);
}

TEST(a_sender_that_is_stuck_in_what_is_refused_is_told)
{
    refuse_one_that_is_stuck(false);
}

TEST(a_sender_is_told_of_a_refusal_also_when_another_thread_reads_control)
{
    refuse_one_that_is_stuck(true);
}

TEST(a_malformed_refusal_is_not_believed)
{
    static const struct {
        int at;
        uint8_t value;
    } bad[] = {{2, 3}, {3, 1}, {7, 1}, {8, 5}};
    dhole_message message;
    uint8_t bytes[dhole__frame_head];

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct pair pair;
        struct dhole__io io;
        pair_open(&pair, 0);
        dhole__refusal_encode(DHOLE_CHANNEL_BULK, 11, 10, bytes);
        bytes[bad[i].at] = bad[i].value;
        io = dhole__io_send(pair.link[client]->channel[DHOLE_CHANNEL_CONTROL], bytes, sizeof bytes,
                            NULL, 0);
        ASSERT_OK(dhole__io_run_one(io, dhole__deadline_in(patient(20000))));
        ASSERT_ERR(dhole_link_recv(pair.link[server], DHOLE_CHANNEL_CONTROL, &message, 0),
                   DHOLE_ERR_PROTOCOL);
        pair_close(&pair);
    }
}

TEST(a_receive_that_nothing_came_for_can_be_tried_again)
{
    dhole_message message;
    struct pair pair;

    pair_open(&pair, 2);
    for (int c = 0; c < 3; c++)
        for (uint32_t i = 0; i < 2; i++) {
            ASSERT_ERR(dhole_link_recv(pair.link[server], channels[c], &message, 10),
                       DHOLE_ERR_TIMEOUT);
            send_bytes(pair.link[client], channels[c], 1000, i, i);
            expect_bytes(pair.link[server], channels[c], 1000, i, i);
        }
    pair_close(&pair);
}

/* Half of a message, and no more. */
TEST(a_deadline_within_a_message_breaks_its_channel_alone)
{
    const size_t much = 64 << 20;
    dhole_message message = bytes_of(much, 1);
    uint8_t *data = calloc(1, much);
    struct pair pair;

    pair_open(&pair, 2);
    ASSERT_ERR(dhole_link_send(pair.link[client], DHOLE_CHANNEL_BULK, &message, data, 300),
               DHOLE_ERR_TIMEOUT);
    ASSERT_CONTAINS(dhole_error_message(), "BULK");
    ASSERT_ERR(dhole_link_send(pair.link[client], DHOLE_CHANNEL_BULK, &message, data, 0),
               DHOLE_ERR_TIMEOUT);
    ASSERT_OK(dhole_link_recv(pair.link[server], DHOLE_CHANNEL_BULK, &message, 0));
    for (int again = 0; again < 2; again++)
        ASSERT_ERR(dhole_link_recv_data(pair.link[server], DHOLE_CHANNEL_BULK, data, 50),
                   DHOLE_ERR_TIMEOUT);
    for (int side = 0; side < 2; side++)
        for (int c = 0; c < 2; c++) {
            send_bytes(pair.link[side], channels[c], 100, 1, 1);
            expect_bytes(pair.link[!side], channels[c], 100, 1, 1);
        }
    pair_close(&pair);
    free(data);
}

TEST(a_call_can_be_cancelled)
{
    dhole_message message = bytes_of(64 << 20, 1);
    uint8_t *data = calloc(1, 64 << 20);
    struct pair pair;
    int fd[2];
    char byte;

    ASSERT(pipe(fd) == 0);
    pair_init(&pair);
    pair.options[client].lanes = 2;
    pair_listen(&pair);
    pair.options[client].cancel_fd = fd[0];
    pair_try(&pair);
    ASSERT_OK(pair.err[client]);
    ASSERT(write(fd[1], "x", 1) == 1);
    for (int c = 0; c < 3; c++)
        ASSERT_ERR(dhole_link_recv(pair.link[client], channels[c], &message, 0),
                   DHOLE_ERR_CANCELLED);
    ASSERT_ERR(dhole_link_send(pair.link[client], DHOLE_CHANNEL_BULK, &message, data, 0),
               DHOLE_ERR_CANCELLED);
    ASSERT(read(fd[0], &byte, 1) == 1);
    for (int c = 0; c < 2; c++) {
        send_bytes(pair.link[server], channels[c], 100, 1, 1);
        expect_bytes(pair.link[client], channels[c], 100, 1, 1);
    }
    ASSERT_ERR(dhole_link_recv(pair.link[client], DHOLE_CHANNEL_BULK, &message, 0),
               DHOLE_ERR_CANCELLED);
    pair_close(&pair);
    close(fd[0]);
    close(fd[1]);
    free(data);
}

/* One that waits while the link is closed under it. */
struct waiter {
    pthread_t thread;
    dhole_link *link;
    dhole_channel channel;
    bool sends;
    dhole_err err;
};

static void *wait_for_end(void *arg)
{
    struct waiter *waiter = arg;
    size_t size = waiter->channel == DHOLE_CHANNEL_CONTROL ? dhole__control_max : 16 << 20;
    dhole_message message = bytes_of(size, 1);
    uint8_t *data = calloc(1, size);

    do
        waiter->err = waiter->sends
                          ? dhole_link_send(waiter->link, waiter->channel, &message, data, 0)
                          : dhole_link_recv(waiter->link, waiter->channel, &message, 0);
    while (waiter->err == DHOLE_OK);
    free(data);
    return NULL;
}

/* Six threads wait on each side: nobody receives on the other side what is sent on this one. */
TEST(close_from_any_thread_ends_all_waits)
{
    struct waiter waiter[6];
    struct pair pair;
    dhole_message message;
    int64_t begin;

    pair_open(&pair, 2);
    for (int i = 0; i < 6; i++) {
        waiter[i] =
            (struct waiter){.link = pair.link[client], .channel = channels[i / 2], .sends = i % 2};
        ASSERT(pthread_create(&waiter[i].thread, NULL, wait_for_end, &waiter[i]) == 0);
    }
    ASSERT_OK(dhole_link_recv(pair.link[server], DHOLE_CHANNEL_BULK, &message, 0));
    begin = now_ms();
    dhole_link_close(pair.link[client]);
    for (int i = 0; i < 6; i++) {
        pthread_join(waiter[i].thread, NULL);
        ASSERT_EQ(waiter[i].err, DHOLE_ERR_CANCELLED);
    }
    ASSERT(now_ms() - begin < patient(5000));
    ASSERT_ERR(dhole_link_recv(pair.link[client], DHOLE_CHANNEL_CONTROL, &message, 0),
               DHOLE_ERR_CANCELLED);
    dhole_link_close(pair.link[client]);
    waiter[0].link = pair.link[server];
    for (int c = 0; c < 3; c++) {
        waiter[0].sends = true;
        waiter[0].channel = channels[c];
        wait_for_end(&waiter[0]);
        ASSERT_EQ(waiter[0].err, DHOLE_ERR_PEER_LOST);
    }
    pair_close(&pair);
}

TEST(what_was_sent_before_the_end_arrives)
{
    dhole_message message;
    struct pair pair;

    pair_open(&pair, 2);
    for (int c = 0; c < 3; c++)
        send_bytes(pair.link[client], channels[c], 50000, 5, 5);
    dhole_link_free(pair.link[client]);
    pair.link[client] = NULL;
    for (int c = 0; c < 3; c++)
        expect_bytes(pair.link[server], channels[c], 50000, 5, 5);
    for (int c = 0; c < 3; c++)
        ASSERT_ERR(dhole_link_recv(pair.link[server], channels[c], &message, 0),
                   DHOLE_ERR_PEER_LOST);
    ASSERT_CONTAINS(dhole_error_message(), dhole_link_address(pair.link[server]));
    pair_close(&pair);
}

static struct dhole__sys real;
static atomic_int sends, receipts;

static ssize_t count_send(int fd, const void *data, size_t size, int flags)
{
    atomic_fetch_add(&sends, 1);
    return real.send(fd, data, size, flags);
}

static ssize_t count_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    atomic_fetch_add(&sends, 1);
    return real.sendmsg(fd, msg, flags);
}

static ssize_t count_recv(int fd, void *data, size_t size, int flags)
{
    ssize_t got = real.recv(fd, data, size, flags);

    atomic_fetch_add(&receipts, got > 0);
    return got;
}

static ssize_t count_recvmsg(int fd, struct msghdr *msg, int flags)
{
    ssize_t got = real.recvmsg(fd, msg, flags);

    atomic_fetch_add(&receipts, got > 0);
    return got;
}

TEST(a_small_message_is_one_system_call_each_way)
{
    struct pair pair;

    pair_open(&pair, 1);
    real = dhole__sys;
    dhole__sys.send = count_send;
    dhole__sys.sendmsg = count_sendmsg;
    dhole__sys.recv = count_recv;
    dhole__sys.recvmsg = count_recvmsg;
    for (uint32_t i = 0; i < 10; i++) {
        send_bytes(pair.link[i % 2], DHOLE_CHANNEL_MESSAGES, 64, i, i);
        expect_bytes(pair.link[!(i % 2)], DHOLE_CHANNEL_MESSAGES, 64, i, i);
    }
    dhole__sys = real;
    ASSERT_EQ(sends, 10);
    ASSERT_EQ(receipts, 10);
    pair_close(&pair);
}

TEST(statistics_count_elements_messages_and_wire)
{
    dhole_link_stats stats[2];
    struct pair pair;

    pair_open(&pair, 2);
    for (int c = 0; c < 3; c++) {
        send_bytes(pair.link[client], channels[c], 1000, 1, 1);
        expect_bytes(pair.link[server], channels[c], 1000, 1, 1);
    }
    for (int side = 0; side < 2; side++)
        dhole_link_get_stats(pair.link[side], &stats[side]);
    ASSERT_EQ(stats[client].sent_bytes, 3000);
    ASSERT_EQ(stats[client].sent_messages, 3);
    ASSERT_EQ(stats[client].received_messages, 0);
    ASSERT_EQ(stats[server].received_bytes, 3000);
    ASSERT_EQ(stats[server].received_messages, 3);
    ASSERT(stats[client].wire_bytes > 3000 + 3 * 24);
    ASSERT_EQ(stats[client].wire_bytes, stats[server].wire_bytes);
    pair_close(&pair);
}
