/* A link that sends every message back on its channel, for link.py to talk to.
 *
 *   link_echo PIN [NAME=VALUE...]
 *
 * trusts that pin, prints its own, and obeys lines on standard input: "listen ADDRESS" says the
 * address; "accept" and "call ADDRESS" make a link and serve it until each of its channels has
 * failed. What happens is a line each: "up", or an error; then "CHANNEL ERROR" for each as it
 * fails. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dhole/link.h"

enum { channels = 3, patience_ms = 60000 };

static const char *const channel_names[channels] = {"control", "messages", "bulk"};

struct echo {
    dhole_link *link;
    dhole_channel channel;
};

static dhole_err echo_one(const struct echo *echo)
{
    dhole_message message;
    dhole_err err = dhole_link_recv(echo->link, echo->channel, &message, patience_ms);
    size_t size;
    void *data;

    if (err)
        return err;
    size = dhole_message_size(&message);
    data = malloc(size > 0 ? size : 1);
    if (data == NULL)
        return DHOLE_ERR_NOMEM;
    err = dhole_link_recv_data(echo->link, echo->channel, data, patience_ms);
    if (!err)
        err = dhole_link_send(echo->link, echo->channel, &message, data, patience_ms);
    free(data);
    return err;
}

static void *echo_all(void *arg)
{
    const struct echo *echo = arg;
    dhole_err err = DHOLE_OK;

    while (!err)
        err = echo_one(echo);
    printf("%s %s: %s\n", channel_names[echo->channel], dhole_error_name(err),
           dhole_error_message());
    fflush(stdout);
    return NULL;
}

static void serve(dhole_link *link)
{
    struct echo echoes[channels];
    pthread_t threads[channels];

    printf("up\n");
    fflush(stdout);
    for (int i = 0; i < channels; i++) {
        echoes[i] = (struct echo){link, (dhole_channel)i};
        if (pthread_create(&threads[i], NULL, echo_all, &echoes[i]) != 0)
            abort();
    }
    for (int i = 0; i < channels; i++)
        pthread_join(threads[i], NULL);
    dhole_link_free(link);
}

static void made(dhole_err err, dhole_link *link)
{
    if (err)
        printf("%s: %s\n", dhole_error_name(err), dhole_error_message());
    else
        serve(link);
}

static void obey(const dhole_link_options *options, dhole_link_listener **listener,
                 const char *line)
{
    dhole_link *link = NULL;
    dhole_err err;

    if (strncmp(line, "call ", 5) == 0) {
        err = dhole_link_connect(options, line + 5, &link);
        made(err, link);
    } else if (strcmp(line, "accept") == 0) {
        err = dhole_link_accept(*listener, patience_ms, &link);
        made(err, link);
    } else if (strncmp(line, "listen ", 7) == 0 &&
               (err = dhole_link_listen(options, line + 7, listener)) == DHOLE_OK) {
        printf("%s\n", dhole_link_listener_address(*listener));
    } else {
        printf("what is \"%s\"? %s\n", line, dhole_error_message());
    }
    fflush(stdout);
}

static void set(dhole_link_options *options, const char *word)
{
    size_t name = strcspn(word, "=");
    const char *value = word + name + (word[name] == '=');

#define IS(text) (name == sizeof(text) - 1 && memcmp(word, text, name) == 0)
    if (IS("session"))
        options->session = value;
    else if (IS("agreement"))
        options->agreement = value;
    else if (IS("rank"))
        options->rank = atoi(value);
    else if (IS("size"))
        options->size = atoi(value);
    else if (IS("lanes"))
        options->lanes = atoi(value);
    else if (IS("message_max"))
        options->message_max = (size_t)strtoull(value, NULL, 10);
    else
        fprintf(stderr, "link_echo: no option %s\n", word);
#undef IS
}

int main(int argc, char **argv)
{
    dhole_link_options options = DHOLE_LINK_OPTIONS_INIT;
    dhole_link_listener *listener = NULL;
    char text[DHOLE_FINGERPRINT_SIZE], line[300];
    dhole_identity *identity;
    dhole_pin own, pin;

    if (argc < 2 || dhole_fingerprint_parse(argv[1], &pin) || dhole_identity_generate(&identity)) {
        fprintf(stderr, "link_echo: %s\n", argc < 2 ? "whom to trust?" : dhole_error_message());
        return 2;
    }
    options.identity = identity;
    options.pin = &pin;
    for (int i = 2; i < argc; i++)
        set(&options, argv[i]);
    dhole_identity_pin(identity, &own);
    dhole_fingerprint(&own, text);
    printf("%s\n", text);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        obey(&options, &listener, line);
    }
    dhole_link_listener_free(listener);
    dhole_identity_free(identity);
    return 0;
}
