/* Somebody on the wire who changes what crosses it: nothing of it is ever taken for what the other
 * side said. */
#include <sys/socket.h>
#include <unistd.h>

#include "dhole/error.h"
#include "link/link_internal.h"
#include "pair.h"
#include "proxy.h"

/* A short session: on each channel some messages one way, then some the other way. */
struct session {
    struct pair pair;
    struct proxy proxy;
    int cancel[2];
    dhole_err err[2];
};

enum { in_a_row = 2, message_size = 40, proof_size = 32, record_size = 8 + 24 + 8 + 40 + 16 };

static void session_init(struct session *s)
{
    memset(s, 0, sizeof *s);
    pair_init(&s->pair);
    ASSERT(pipe(s->cancel) == 0);
    s->pair.options[client].lanes = 1;
    s->pair.options[server].cancel_fd = s->cancel[0];
}

static void session_free(struct session *s)
{
    close(s->cancel[0]);
    close(s->cancel[1]);
    pair_close(&s->pair);
}

static dhole_err say(dhole_link *link, dhole_channel channel, unsigned seed)
{
    dhole_message message = bytes_of(message_size, seed);
    uint8_t data[message_size];

    fill(data, sizeof data, seed);
    return dhole_link_send(link, channel, &message, data, 0);
}

/* Whatever is released is what was said. */
static dhole_err hear(dhole_link *link, dhole_channel channel, unsigned seed)
{
    dhole_message message;
    uint8_t expected[message_size], got[message_size];
    dhole_err err = dhole_link_recv(link, channel, &message, 0);

    if (err)
        return err;
    ASSERT_EQ(message.tag, seed);
    ASSERT_EQ(dhole_message_size(&message), message_size);
    err = dhole_link_recv_data(link, channel, got, 0);
    if (err)
        return err;
    fill(expected, sizeof expected, seed);
    ASSERT(memcmp(got, expected, sizeof got) == 0);
    return DHOLE_OK;
}

static dhole_err talk(dhole_link *link, int side)
{
    dhole_err err = DHOLE_OK;

    for (unsigned channel = 0; channel < 3; channel++)
        for (unsigned way = 0; way < 2; way++)
            for (unsigned i = 0; i < in_a_row && !err; i++) {
                dhole_err (*act)(dhole_link *, dhole_channel, unsigned) =
                    (int)way == side ? say : hear;
                err = act(link, (dhole_channel)channel, 100 * way + 10 * channel + i);
            }
    return err;
}

static void *serve(void *arg)
{
    struct session *s = arg;
    dhole_err err = dhole_link_accept(s->pair.listener, patient(20000), &s->pair.link[server]);

    if (!err) {
        /* A client that fails closes: what came before that is to be judged first. */
        dhole__link_set_cancel(s->pair.link[server], -1);
        err = talk(s->pair.link[server], server);
        if (err)
            dhole_link_close(s->pair.link[server]);
    }
    s->err[server] = err;
    return NULL;
}

/* Runs it through the proxy; returns whether that came to change something. */
static bool run(struct session *s, struct edit edit)
{
    dhole_link **link = s->pair.link;
    pthread_t thread;
    char byte;

    pair_listen(&s->pair);
    s->proxy.edit = edit;
    proxy_start(&s->proxy, dhole_link_listener_address(s->pair.listener));
    ASSERT(pthread_create(&thread, NULL, serve, s) == 0);
    s->err[client] = dhole_link_connect(&s->pair.options[client], s->proxy.address, &link[client]);
    if (!s->err[client])
        s->err[client] = talk(link[client], client);
    if (s->err[client]) {
        if (link[client] != NULL)
            dhole_link_close(link[client]);
        ASSERT(write(s->cancel[1], "x", 1) == 1);
    }
    pthread_join(thread, NULL);
    if (s->err[client])
        ASSERT(read(s->cancel[0], &byte, 1) == 1);
    proxy_stop(&s->proxy);
    for (int side = 0; side < 2; side++)
        dhole_link_free(link[side]);
    link[client] = link[server] = NULL;
    dhole_link_listener_free(s->pair.listener);
    s->pair.listener = NULL;
    return atomic_load(&s->proxy.edited);
}

static bool went_well(const struct session *s)
{
    return !s->err[client] && !s->err[server];
}

/* The version in the header of a record that is not sealed yet, each side's first: TLS says that it
 * is to be ignored (RFC 8446, 5.1). */
static bool means_nothing(const struct edit *edit)
{
    return edit->kind == 0 && edit->at == (edit->way == 0 ? 32 + 2 : 2);
}

/* Of a byte within a lane's record, other than those of its length, for which the receiver waits.
 */
static bool is_sealed(const struct edit *edit)
{
    size_t begin = edit->way == 0 ? 32 + proof_size : 0;

    return edit->kind > 0 && edit->at >= begin && (edit->at - begin) % record_size >= 4;
}

static void *flip_each(void *arg)
{
    const struct edit *which = arg;
    struct session s;

    session_init(&s);
    for (struct edit edit = *which; run(&s, edit); edit.at += (size_t)patient(1)) {
        ASSERT_MSG(!went_well(&s) || means_nothing(&edit), "kind %u, way %d, byte %zu went through",
                   edit.kind, edit.way, edit.at);
        if (is_sealed(&edit))
            ASSERT_MSG(s.err[!edit.way] == DHOLE_ERR_AUTH, "kind %u, way %d, byte %zu: %s",
                       edit.kind, edit.way, edit.at, dhole_error_name(s.err[!edit.way]));
    }
    ASSERT(went_well(&s));
    session_free(&s);
    return NULL;
}

TEST_LIMIT(each_byte_of_a_session_is_flipped, 300)
{
    struct edit edit[6];
    pthread_t thread[6];

    for (unsigned i = 0; i < 6; i++) {
        edit[i] = (struct edit){.what = EDIT_FLIP, .kind = i / 2, .way = i % 2};
        ASSERT(pthread_create(&thread[i], NULL, flip_each, &edit[i]) == 0);
    }
    for (int i = 0; i < 6; i++)
        pthread_join(thread[i], NULL);
}

static void edit_each(enum edit_kind what)
{
    struct session s;
    bool was_last = false;

    session_init(&s);
    for (unsigned i = 0; i < 6; i++) {
        struct edit edit = {.what = what, .kind = i / 2, .way = i % 2, .stray = i / 2 % 2 + 1};
        for (; run(&s, edit) && !(was_last = went_well(&s)); edit.at++)
            ;
        /* Nobody reads on after the last, so its replay changes nothing. */
        if (was_last) {
            edit.at++;
            ASSERT_MSG(what == EDIT_REPLAY && !run(&s, edit),
                       "kind %u, way %d, record %zu went through", edit.kind, edit.way,
                       edit.at - 1);
        }
        ASSERT_MSG(went_well(&s), "kind %u, way %d, record %zu: %s, %s", edit.kind, edit.way,
                   edit.at, dhole_error_name(s.err[client]), dhole_error_name(s.err[server]));
        ASSERT(edit.at >= in_a_row);
    }
    session_free(&s);
}

TEST(each_record_is_replayed)
{
    edit_each(EDIT_REPLAY);
}

TEST(each_record_is_swapped_with_the_next)
{
    edit_each(EDIT_SWAP);
}

TEST(each_record_is_dropped)
{
    edit_each(EDIT_DROP);
}

TEST(each_record_is_cut)
{
    edit_each(EDIT_CUT);
}

TEST(each_record_grows)
{
    edit_each(EDIT_GROW);
}

TEST(each_record_goes_to_another_lane)
{
    edit_each(EDIT_STRAY);
}

enum { thieves = 6 };

struct theft {
    int fd[3 * thieves];
    int count;
};

/* Calls with the same first bytes before the client's come through: some are silent, some go on
 * with rubbish. */
static void steal(struct proxy *proxy, const uint8_t *preamble)
{
    struct theft *theft = proxy->arg;
    uint8_t rubbish[64] = {16};

    if (preamble[8] == 0)
        return;
    for (int i = 0; i < thieves; i++) {
        int fd = dial_port(proxy->target);
        ASSERT(send(fd, preamble, 32, MSG_NOSIGNAL) == 32);
        if (i % 2)
            ASSERT(send(fd, rubbish, sizeof rubbish, MSG_NOSIGNAL) == sizeof rubbish);
        theft->fd[theft->count++] = fd;
    }
}

TEST(strangers_with_a_lanes_token_do_not_keep_it_from_the_client)
{
    struct session s;
    struct theft theft = {.count = 0};

    session_init(&s);
    s.proxy.on_preamble = steal;
    s.proxy.arg = &theft;
    run(&s, (struct edit){.what = EDIT_NONE});
    for (int side = 0; side < 2; side++)
        ASSERT_EQ(s.err[side], DHOLE_OK);
    ASSERT_EQ(theft.count, 2 * thieves);
    for (int i = 0; i < theft.count; i++)
        close(theft.fd[i]);
    session_free(&s);
}
