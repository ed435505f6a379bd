#include "cluster/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "base/pipe.h"
#include "base/sys.h"
#include "transport/tcp/tcp.h"

enum {
    waiting_max = 8 << 20, /* bytes of one wire that the session's thread has not got round to */
    body_ms = 10000        /* for the rest of a message whose head has come */
};

struct dhole__letter {
    struct dhole__letter *next;
    enum dhole__note note;
    char *text;
};

/* ---- The mailbox ---- */

dhole_err dhole__mailbox_open(struct dhole__mailbox *box)
{
    dhole_err err;

    *box = (struct dhole__mailbox){.last = &box->first};
    err = dhole__pipe_open(box->pipe, O_NONBLOCK);
    if (err)
        return err;
    pthread_mutex_init(&box->lock, NULL);
    return DHOLE_OK;
}

void dhole__mailbox_close(struct dhole__mailbox *box)
{
    struct dhole__event *event, *next;

    for (event = dhole__mailbox_take(box); event != NULL; event = next) {
        next = event->next;
        dhole__event_free(event);
    }
    dhole__pipe_close(box->pipe);
    pthread_mutex_destroy(&box->lock);
}

void dhole__mailbox_wake(struct dhole__mailbox *box)
{
    ssize_t n = write(box->pipe[1], "", 1);

    (void)n; /* a full pipe wakes as well */
}

struct dhole__event *dhole__mailbox_take(struct dhole__mailbox *box)
{
    struct dhole__event *first;
    char drain[64];

    while (read(box->pipe[0], drain, sizeof drain) > 0)
        ;
    pthread_mutex_lock(&box->lock);
    first = box->first;
    box->first = NULL;
    box->last = &box->first;
    pthread_mutex_unlock(&box->lock);
    return first;
}

void dhole__event_free(struct dhole__event *event)
{
    if (event->lent)
        return;
    dhole__wipe(event->bytes, event->size);
    free(event);
}

size_t dhole__event_cost(const struct dhole__event *event)
{
    return event->lent ? 0 : sizeof *event + event->size;
}

static void post(struct dhole__wire *wire, struct dhole__event *event)
{
    struct dhole__mailbox *box = wire->box;

    event->next = NULL;
    event->wire = wire;
    pthread_mutex_lock(&box->lock);
    *box->last = event;
    box->last = &event->next;
    pthread_mutex_unlock(&box->lock);
    dhole__mailbox_wake(box);
}

/* ---- The thread of a wire ---- */

/* Each address has its part of the time; what went wrong with all of them is told. */
static dhole_err dial_all(struct dhole__wire *wire)
{
    const char *places = wire->call.address;
    dhole_link_options options = wire->call.options;
    dhole__deadline deadline = dhole__deadline_in(options.connect_timeout_ms);
    int count = dhole__tcp_rails(places);
    char why[dhole__message_max] = "";
    dhole_err err = DHOLE_OK;

    for (int i = 0; i < count && err != DHOLE_ERR_CANCELLED; i++) {
        int64_t left = dhole__deadline_ms(deadline) / (count - i);
        char address[dhole__dial_size];
        size_t length, used = strlen(why);
        const char *at = dhole__tcp_rail(places, i, &length);
        snprintf(address, sizeof address, "%.*s", (int)length, at);
        options.connect_timeout_ms = left > 0 ? left : 1;
        err = dhole_link_connect(&options, address, &wire->link);
        if (!err)
            return DHOLE_OK;
        snprintf(why + used, sizeof why - used, "%s%s", used > 0 ? "; " : "",
                 dhole_error_message());
    }
    return dhole__fail(err, "%s", why);
}

static dhole_err dial(struct dhole__wire *wire)
{
    dhole_err err = DHOLE_OK;

    if (wire->call.locate != NULL)
        err = wire->call.locate(wire->call.arg, wire->call.address);
    return err ? err : dial_all(wire);
}

static struct dhole__event *note_make(const dhole_message *message, size_t size)
{
    struct dhole__event *event = dhole__sys.calloc(1, sizeof *event + size + 1);

    if (event == NULL)
        return NULL;
    event->kind = DHOLE__WIRE_NOTE;
    event->note = message->tag;
    event->size = size;
    event->bytes = (char *)(event + 1);
    return event;
}

static dhole_err take_note(struct dhole__wire *wire)
{
    dhole_message message;
    struct dhole__event *event;
    dhole_err err = dhole_link_recv(wire->link, DHOLE_CHANNEL_CONTROL, &message, INT32_MAX);
    size_t size;

    if (err)
        return err == DHOLE_ERR_TIMEOUT ? DHOLE_OK : err;
    size = dhole_message_size(&message);
    if (size > dhole__note_max)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "it sent a message of %zu bytes: at most %d", size,
                           dhole__note_max);
    event = note_make(&message, size);
    if (event == NULL)
        return dhole__fail_nomem(size, "a message of a session");
    if (atomic_fetch_add(&wire->waiting, dhole__event_cost(event)) > waiting_max) {
        dhole__event_free(event);
        return dhole__fail(DHOLE_ERR_LIMIT, "it sends more than is taken");
    }
    err = dhole_link_recv_data(wire->link, DHOLE_CHANNEL_CONTROL, event->bytes, body_ms);
    if (err) {
        dhole__event_free(event);
        return err;
    }
    atomic_store(&wire->heard, dhole__now());
    post(wire, event);
    return DHOLE_OK;
}

/* What a failed send said is the cause of what the reader saw. */
static void post_end(struct dhole__wire *wire, dhole_err err)
{
    struct dhole__event *event = &wire->down_event;

    pthread_mutex_lock(&wire->sending);
    if (wire->failure[0] == '\0')
        dhole__message_save(wire->failure);
    pthread_mutex_unlock(&wire->sending);
    event->kind = DHOLE__WIRE_DOWN;
    event->err = err;
    event->bytes = wire->failure;
    event->lent = true;
    post(wire, event);
}

static void *carry(void *arg)
{
    struct dhole__wire *wire = arg;
    dhole_err err = DHOLE_OK;

    dhole__thread_name("dhole-wire");
    if (wire->link == NULL)
        err = dial(wire);
    if (!err) {
        atomic_store(&wire->heard, dhole__now());
        wire->up_event.kind = DHOLE__WIRE_UP;
        wire->up_event.lent = true;
        post(wire, &wire->up_event);
    }
    while (!err)
        err = take_note(wire);
    post_end(wire, err);
    return NULL;
}

/* ---- Its owner ---- */

static dhole_err wire_start(struct dhole__mailbox *box, const struct dhole__dial *call,
                            dhole_link *link, struct dhole__wire **out)
{
    struct dhole__wire *wire = dhole__sys.calloc(1, sizeof *wire);
    int error;

    if (wire == NULL)
        return dhole__fail_nomem(sizeof *wire, "a link of a session");
    wire->box = box;
    wire->link = link;
    wire->rank = -1;
    wire->last = &wire->first;
    if (call != NULL)
        wire->call = *call;
    if (call != NULL && call->options.pin != NULL) {
        wire->pin = *call->options.pin;
        wire->call.options.pin = &wire->pin;
    }
    pthread_mutex_init(&wire->sending, NULL);
    if (out != NULL)
        *out = wire;
    wire->called = call != NULL;
    atomic_fetch_add(&box->wires, 1);
    pthread_mutex_lock(&box->lock); /* nothing comes of it before its thread's name is known */
    error = dhole__sys.thread_create(&wire->thread, NULL, carry, wire);
    pthread_mutex_unlock(&box->lock);
    if (error) {
        atomic_fetch_sub(&box->wires, 1);
        pthread_mutex_destroy(&wire->sending);
        free(wire);
        errno = error;
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot start a thread for a link");
    }
    return DHOLE_OK;
}

dhole_err dhole__wire_call(struct dhole__mailbox *box, const struct dhole__dial *call,
                           struct dhole__wire **out)
{
    return wire_start(box, call, NULL, out);
}

dhole_err dhole__wire_adopt(struct dhole__mailbox *box, dhole_link *link)
{
    return wire_start(box, NULL, link, NULL);
}

bool dhole__wire_say(struct dhole__wire *wire, enum dhole__note note, json_t *json)
{
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    struct dhole__letter *letter = dhole__sys.malloc(sizeof *letter);

    json_decref(json);
    if (text == NULL || letter == NULL) {
        free(text);
        free(letter);
        return false;
    }
    *letter = (struct dhole__letter){.note = note, .text = text};
    *wire->last = letter;
    wire->last = &letter->next;
    return true;
}

static void discard_first(struct dhole__wire *wire)
{
    struct dhole__letter *letter = wire->first;

    wire->first = letter->next;
    if (wire->first == NULL)
        wire->last = &wire->first;
    free(letter->text);
    free(letter);
}

/* With `sending` held. */
static dhole_err send_note(struct dhole__wire *wire, enum dhole__note note, const void *data,
                           size_t size, int64_t timeout_ms)
{
    dhole_message message = {.tag = note, .dtype = DHOLE_U8, .dims = 1, .shape = {size}};
    dhole_err err = dhole_link_send(wire->link, DHOLE_CHANNEL_CONTROL, &message, data, timeout_ms);

    if (err && wire->failure[0] == '\0') {
        dhole__message_save(wire->failure);
        dhole_link_close(wire->link); /* which wakes its thread */
    }
    return err;
}

bool dhole__wire_flush(struct dhole__wire *wire, int64_t timeout_ms)
{
    dhole_err err = DHOLE_OK;

    if (wire->first == NULL || !wire->up || wire->down)
        return true;
    if (pthread_mutex_trylock(&wire->sending) != 0)
        return false;
    while (wire->first != NULL) {
        if (!err)
            err = send_note(wire, wire->first->note, wire->first->text, strlen(wire->first->text),
                            timeout_ms);
        discard_first(wire);
    }
    pthread_mutex_unlock(&wire->sending);
    return true;
}

dhole_err dhole__wire_send(struct dhole__wire *wire, enum dhole__note note, const void *data,
                           size_t size, int64_t timeout_ms)
{
    dhole_err err;

    pthread_mutex_lock(&wire->sending);
    err = send_note(wire, note, data, size, timeout_ms);
    pthread_mutex_unlock(&wire->sending);
    return err;
}

void dhole__wire_hang_up(struct dhole__wire *wire)
{
    wire->dropped = true;
    if (wire->up)
        dhole_link_close(wire->link);
}

void dhole__wire_free(struct dhole__wire *wire)
{
    pthread_join(wire->thread, NULL);
    while (wire->first != NULL)
        discard_first(wire);
    dhole_link_free(wire->link);
    atomic_fetch_sub(&wire->box->wires, 1);
    pthread_mutex_destroy(&wire->sending);
    free(wire);
}
