#include "pair.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <time.h>

#include "dhole/error.h"

enum { slow_factor = 4 };

int64_t patient(int64_t ms)
{
    return getenv("DHOLE_TEST_SLOW") ? ms * slow_factor : ms;
}

int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

void fill(void *data, size_t size, unsigned long long seed)
{
    uint8_t *bytes = data;

    for (size_t i = 0; i < size; i += 8) {
        unsigned long long word = test_random(&seed);
        memcpy(bytes + i, &word, size - i < 8 ? size - i : 8);
    }
}

int dial_port(const char *address)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    in.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    ASSERT(fd >= 0);
    ASSERT(connect(fd, (struct sockaddr *)&in, sizeof in) == 0);
    return fd;
}

void pair_init(struct pair *pair)
{
    memset(pair, 0, sizeof *pair);
    for (int i = 0; i < 2; i++) {
        ASSERT_OK(dhole_identity_generate(&pair->identity[i]));
        dhole_identity_pin(pair->identity[i], &pair->pin[i]);
    }
    for (int i = 0; i < 2; i++)
        pair->options[i] = (dhole_link_options){.identity = pair->identity[i],
                                                .pin = &pair->pin[!i],
                                                .connect_timeout_ms = patient(20000),
                                                .timeout_ms = patient(20000),
                                                .cancel_fd = -1};
    pair->accept_ms = patient(20000);
}

void pair_listen(struct pair *pair)
{
    ASSERT_OK(dhole_link_listen(&pair->options[server], "127.0.0.1:0", &pair->listener));
}

static void note(struct pair *pair, int side, dhole_err err)
{
    pair->err[side] = err;
    snprintf(pair->message[side], sizeof pair->message[side], "%s",
             err ? dhole_error_message() : "");
}

static void *accept_link(void *arg)
{
    struct pair *pair = arg;

    note(pair, server, dhole_link_accept(pair->listener, pair->accept_ms, &pair->link[server]));
    return NULL;
}

void pair_try_at(struct pair *pair, const char *address)
{
    ASSERT(pthread_create(&pair->thread, NULL, accept_link, pair) == 0);
    note(pair, client, dhole_link_connect(&pair->options[client], address, &pair->link[client]));
    pthread_join(pair->thread, NULL);
}

void pair_try(struct pair *pair)
{
    pair_try_at(pair, dhole_link_listener_address(pair->listener));
}

void pair_open(struct pair *pair, int lanes)
{
    pair_init(pair);
    pair->options[client].lanes = lanes;
    pair_listen(pair);
    pair_try(pair);
    for (int i = 0; i < 2; i++)
        ASSERT_MSG(pair->err[i] == DHOLE_OK, "side %d: %s", i, pair->message[i]);
}

void pair_close(struct pair *pair)
{
    dhole_link_listener_free(pair->listener);
    for (int i = 0; i < 2; i++) {
        dhole_link_free(pair->link[i]);
        dhole_identity_free(pair->identity[i]);
    }
}

dhole_message bytes_of(size_t size, uint32_t tag)
{
    return (dhole_message){.tag = tag, .dtype = DHOLE_U8, .dims = 1, .shape = {size}};
}

void send_bytes(dhole_link *link, dhole_channel channel, size_t size, uint32_t tag,
                unsigned long long seed)
{
    dhole_message message = bytes_of(size, tag);
    uint8_t *data = malloc(size + 1);

    fill(data, size, seed);
    ASSERT_OK(dhole_link_send(link, channel, &message, data, 0));
    free(data);
}

void expect_bytes(dhole_link *link, dhole_channel channel, size_t size, uint32_t tag,
                  unsigned long long seed)
{
    dhole_message message;
    uint8_t *got = malloc(size + 1), *expected = malloc(size + 1);

    ASSERT_OK(dhole_link_recv(link, channel, &message, 0));
    ASSERT_EQ(message.tag, tag);
    ASSERT_EQ(message.dtype, DHOLE_U8);
    ASSERT_EQ(message.dims, 1);
    ASSERT_EQ(message.shape[0], size);
    ASSERT_EQ(dhole_message_size(&message), size);
    ASSERT_OK(dhole_link_recv_data(link, channel, got, 0));
    fill(expected, size, seed);
    ASSERT(memcmp(got, expected, size) == 0);
    free(got);
    free(expected);
}
