/* Short sessions between two links of one process, for hostile.py, which stands between them and
 * changes what passes.
 *
 *   link_sessions LANES STEP...
 *
 * A STEP is CHANNEL:SIZE:COUNT, a channel being c, m or b: the client sends so many messages of so
 * many bytes, the server answers each with one of its own. Prints the address at which the server
 * listens; then each line on standard input is an address, at which the client calls for one
 * session, and the answer is a line: for the client, then for the server, the messages that it has
 * released, whether all of these were those that were sent, and how the session ended. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dhole/link.h"

enum { client, server, steps_max = 16, untouched = 0xee, patience_ms = 30000 };

struct step {
    dhole_channel channel;
    size_t size;
    int count;
};

static struct step steps[steps_max];
static int step_count;

struct side {
    int which;
    dhole_link *link;
    int released;
    bool forged; /* something was released that nobody sent */
    dhole_err err;
    char message[400];
};

static dhole_link_listener *listener;
static atomic_bool accepting;
static int cancel[2];

/* The content of a message: of step `step`, number `i`, sent by `sender`. */
static uint8_t byte_of(int sender, int step, int i, size_t at)
{
    return (uint8_t)(at * 7 + (at >> 8) + (size_t)(sender * 101 + step * 31 + i * 13) + 1);
}

static dhole_message message_of(int sender, int step, int i)
{
    return (dhole_message){
        (uint32_t)(step * 100 + i * 2 + sender), DHOLE_U8, 1, {steps[step].size}};
}

static bool same(const dhole_message *a, const dhole_message *b)
{
    return a->tag == b->tag && a->dtype == b->dtype && a->dims == b->dims &&
           a->shape[0] == b->shape[0];
}

static dhole_err send_step(struct side *side, int step)
{
    size_t size = steps[step].size;
    uint8_t *data = malloc(size + 1);
    dhole_err err = DHOLE_OK;

    for (int i = 0; i < steps[step].count && !err; i++) {
        dhole_message message = message_of(side->which, step, i);
        for (size_t at = 0; at < size; at++)
            data[at] = byte_of(side->which, step, i, at);
        err = dhole_link_send(side->link, steps[step].channel, &message, data, patience_ms);
    }
    free(data);
    return err;
}

/* A failed call may leave parts that are authentic, or wiped, but no others. */
static bool clean(const struct side *side, int step, int i, const uint8_t *data, bool whole)
{
    for (size_t at = 0; at < steps[step].size; at++)
        if (data[at] != byte_of(!side->which, step, i, at) &&
            (whole || (data[at] != untouched && data[at] != 0)))
            return false;
    return true;
}

static dhole_err recv_one(struct side *side, int step, int i, uint8_t *data)
{
    dhole_message got, want = message_of(!side->which, step, i);
    dhole_err err = dhole_link_recv(side->link, steps[step].channel, &got, patience_ms);

    if (err)
        return err;
    if (!same(&got, &want)) {
        side->forged = true;
        return DHOLE_ERR_INVALID;
    }
    memset(data, untouched, steps[step].size);
    err = dhole_link_recv_data(side->link, steps[step].channel, data, patience_ms);
    if (!clean(side, step, i, data, err == DHOLE_OK))
        side->forged = true;
    if (!err)
        side->released++;
    return err;
}

static dhole_err recv_step(struct side *side, int step)
{
    uint8_t *data = malloc(steps[step].size + 1);
    dhole_err err = DHOLE_OK;

    for (int i = 0; i < steps[step].count && !err; i++)
        err = recv_one(side, step, i, data);
    free(data);
    return err;
}

static dhole_err run_steps(struct side *side)
{
    dhole_err err = DHOLE_OK;

    for (int step = 0; step < step_count && !err; step++) {
        err = side->which == client ? send_step(side, step) : recv_step(side, step);
        if (!err)
            err = side->which == client ? recv_step(side, step) : send_step(side, step);
    }
    return err;
}

static void end(struct side *side, dhole_err err)
{
    side->err = err;
    snprintf(side->message, sizeof side->message, "%s", err ? dhole_error_message() : "");
    dhole_link_free(side->link);
}

/* After the last step the server listens for the client's goodbye. */
static void *serve(void *arg)
{
    struct side *side = arg;
    dhole_err err = dhole_link_accept(listener, patience_ms, &side->link);
    dhole_message message;

    atomic_store(&accepting, false);
    if (!err)
        err = run_steps(side);
    if (!err && side->link != NULL) {
        err = dhole_link_recv(side->link, DHOLE_CHANNEL_CONTROL, &message, patience_ms);
        side->forged |= err == DHOLE_OK;
    }
    end(side, err);
    return NULL;
}

static void print(const struct side *side, const char *separator)
{
    printf("%d|%s|%s|%s%s", side->released, side->forged ? "forged" : "true",
           dhole_error_name(side->err), side->message, separator);
}

/* A server that still waits for a client that gave up is told that nobody comes. */
static void session(const dhole_link_options *options, const char *address)
{
    struct side sides[] = {{.which = client}, {.which = server}};
    pthread_t thread;
    dhole_err err;
    bool nobody_comes;
    char byte = 0;

    atomic_store(&accepting, true);
    if (pthread_create(&thread, NULL, serve, &sides[server]) != 0)
        abort();
    err = dhole_link_connect(options, address, &sides[client].link);
    if (!err)
        err = run_steps(&sides[client]);
    end(&sides[client], err);
    nobody_comes = err && atomic_load(&accepting);
    if (nobody_comes && write(cancel[1], &byte, 1) != 1)
        abort();
    pthread_join(thread, NULL);
    if (nobody_comes && read(cancel[0], &byte, 1) != 1)
        abort();
    print(&sides[client], "|");
    print(&sides[server], "\n");
    fflush(stdout);
}

static bool parse_step(const char *text, struct step *step)
{
    const char *letters = "cmb", *letter = text[0] != '\0' ? strchr(letters, text[0]) : NULL;

    if (letter == NULL || sscanf(text + 1, ":%zu:%d", &step->size, &step->count) != 2)
        return false;
    step->channel = (dhole_channel)(letter - letters);
    return true;
}

static void fail(const char *what)
{
    fprintf(stderr, "link_sessions: %s: %s\n", what, dhole_error_message());
    exit(2);
}

int main(int argc, char **argv)
{
    dhole_link_options options[] = {DHOLE_LINK_OPTIONS_INIT, DHOLE_LINK_OPTIONS_INIT};
    dhole_identity *identity[2];
    dhole_pin pin[2];
    char line[300];

    for (int i = 2; i < argc && step_count < steps_max; i++)
        if (!parse_step(argv[i], &steps[step_count++]))
            fail(argv[i]);
    for (int i = 0; i < 2; i++) {
        if (dhole_identity_generate(&identity[i]))
            fail("no identity");
        dhole_identity_pin(identity[i], &pin[i]);
    }
    if (pipe(cancel) != 0)
        fail("no pipe");
    for (int i = 0; i < 2; i++) {
        options[i].identity = identity[i];
        options[i].pin = &pin[!i];
        options[i].session = "hostile";
    }
    options[client].lanes = argc > 1 ? atoi(argv[1]) : 0;
    options[server].cancel_fd = cancel[0];
    if (dhole_link_listen(&options[server], "127.0.0.1:0", &listener))
        fail("cannot listen");
    printf("%s\n", dhole_link_listener_address(listener));
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        session(&options[client], line);
    }
    dhole_link_listener_free(listener);
    for (int i = 0; i < 2; i++)
        dhole_identity_free(identity[i]);
    return 0;
}
